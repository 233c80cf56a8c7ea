"""Import time: what the plugin costs a pytest run that has no sandbox tests.

Runs pytest on one empty test, with the plugin and without it (`-p no:agent_sandbox`), in turn; and
with the plugin of anyio too, a dependency of httpx and so of ours: an installation brings both.
Timed is `pytest.main()`, for starting Python and importing pytest is the same for all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from measuring import Report, read_arguments

_RUN_PYTEST = """
import sys, time, pytest
began = time.perf_counter()
code = pytest.main(sys.argv[1:])
print(time.perf_counter() - began)
sys.exit(code)
"""


def measure(rounds: int) -> Report:
    report = Report("Import time", pytest=version("pytest"), rounds=str(rounds))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (folder / "test_empty.py").write_text("def test_empty(): pass\n", encoding="utf-8")
        _run_pytest(folder)  # compiles everything
        contenders = {
            "without": ["-p", "no:anyio", "-p", "no:agent_sandbox"],
            "with": ["-p", "no:anyio"],
            "with, and anyio": [],
        }
        for number in range(rounds):
            for name in list(contenders)[:: 1 if number % 2 else -1]:
                report.add(name, _run_pytest(folder, *contenders[name]))
    report.difference("the plugin (ms)", "with", "without")
    report.difference("anyio's plugin (ms)", "with, and anyio", "with")
    return report


def _run_pytest(folder: Path, *options: str) -> float:
    """Runs pytest in the folder; how many seconds it takes."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    # Some machines never keep compiled modules, which would be what is measured.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    output = subprocess.run(
        [sys.executable, "-c", _RUN_PYTEST, "-p", "no:cacheprovider", "-q", *options],
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return float(output.splitlines()[-1])


def main() -> None:
    arguments = read_arguments(__doc__, rounds=40)
    measure(arguments.rounds).finish(arguments.json)


if __name__ == "__main__":
    main()
