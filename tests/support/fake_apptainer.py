"""Stands in for Apptainer: does what was seen of version 1.4.5, without any image.

`run` starts the server of the Python that runs this. It has lost its own environment, as Apptainer
has that writes over it; what it starts gets the variables that were given for it, and no others.
The name of an image, or of its file, says what goes wrong.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

GIVE = "APPTAINERENV_"


def main() -> int:
    """Do what Apptainer does."""
    command, *arguments = sys.argv[1:]
    calls = os.environ.get("APPTAINER_CALLS")
    if calls:
        with Path(calls).open("a", encoding="utf-8") as file:
            file.write(json.dumps(sys.argv[1:]) + "\n")
    if command == "pull":
        return _pull(*arguments[-2:])
    if command == "run":
        given = {
            name.removeprefix(GIVE): value
            for name, value in os.environ.items()
            if name.startswith(GIVE)
        }
        inside = {"PATH": os.environ["PATH"], "HOME": "/tmp", **given}
        again = [sys.executable, __file__, "inside", json.dumps(inside), *arguments]
        os.execve(sys.executable, again, {})
    return _inside(json.loads(arguments[0]), arguments[1:])


def _pull(file: str, image: str) -> int:
    if "missing" in image:
        print("FATAL: Unable to handle docker uri: manifest unknown", file=sys.stderr)
        return 255
    if "endless" in image:
        time.sleep(600)
    Path(file).write_text(image, encoding="utf-8")
    return 0


def _inside(environment: dict[str, str], arguments: list[str]) -> int:
    (image,) = (one for one in arguments if one.endswith(".sif"))
    if "broken" in image:
        print("FATAL: no fakeroot", file=sys.stderr)
        return 255
    server = [sys.executable, "-m", "openhands.agent_server", *arguments[-4:]]
    if "silent" in image:
        server = [sys.executable, "-c", "import time; time.sleep(600)"]
    return subprocess.run(server, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
