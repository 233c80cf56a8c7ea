"""Runs in the container: upstream's workspace goes up and down as its standard input says.

Arguments: the server's image and its platform. Each line, `up` or `down`, is answered by a line of
JSON: the seconds that it took. The first line says what there is to know beforehand.
"""

import json
import os
import subprocess
import sys
import time

# The answers' own: upstream prints the log of its container to standard output.
answers, sys.stdout = sys.stdout, sys.stderr

from openhands.workspace import DockerWorkspace  # noqa: E402 - it may print, too

WITHOUT_ULIMIT = "/opt/benchmark/without-ulimit"


def may_set_ulimits(image: str) -> bool:
    """Whether the engine starts containers with the limit that upstream asks for."""
    probe = ["docker", "run", "--rm", "--ulimit=nofile=65536:65536", "--entrypoint=true", image]
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0


def answer(message: object) -> None:
    print(json.dumps(message), file=answers, flush=True)


def main(image: str, platform: str) -> None:
    has_ulimit = may_set_ulimits(image)
    if not has_ulimit:
        os.environ["PATH"] = f"{WITHOUT_ULIMIT}:{os.environ['PATH']}"
    answer({"ulimit": "kept" if has_ulimit else "refused by the engine, left out"})
    workspace = None
    try:
        for command in sys.stdin:
            began = time.perf_counter()
            if command.strip() == "up":
                workspace = DockerWorkspace(server_image=image, platform=platform)
            else:
                workspace.cleanup()
            answer({"seconds": time.perf_counter() - began})
    finally:  # also when the benchmark was interrupted, which ends the input
        if workspace is not None:
            workspace.cleanup()


if __name__ == "__main__":
    main(*sys.argv[1:])
