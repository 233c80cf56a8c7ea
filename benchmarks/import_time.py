"""Import time: what the plugin costs a pytest run that has no sandbox tests.

Runs pytest on one empty test, with the plugin and without it, in turn; with the plugin of anyio
too, a dependency of httpx and so of ours: an installation brings both; and with peers instead of
it. testcontainers is no plugin: what is loaded is the module that its users import. Timed is
`pytest.main()`, for starting Python and importing pytest is the same for all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from measuring import Report, read_arguments

# What only the comparison needs; what these need in turn is here already.
_PEERS = [
    *("pytest-docker", "pytest-playwright", "pytest-base-url", "python-slugify", "text-unidecode"),
    *("testcontainers", "wrapt"),
]
# The names of the plugins, by which each run leaves out all but its own.
_PLUGINS = ("agent_sandbox", "anyio", "docker", "playwright", "base_url")
_RUN_PYTEST = """
import sys, time, pytest
sys.path.append(sys.argv.pop(1))
began = time.perf_counter()
code = pytest.main(sys.argv[1:])
print(time.perf_counter() - began)
sys.exit(code)
"""


def measure(rounds: int) -> Report:
    report = Report("Import time", pytest=version("pytest"), rounds=str(rounds))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        project = folder / "project"
        project.mkdir()
        (project / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (project / "test_empty.py").write_text("def test_empty(): pass\n", encoding="utf-8")
        _install_peers(folder / "peers")
        contenders = {
            "without": _only(),
            "with": _only("agent_sandbox"),
            "with, and anyio": _only("agent_sandbox", "anyio"),
            "pytest-docker": _only("docker"),
            "pytest-playwright": _only("playwright", "base_url"),
            "testcontainers": [*_only(), "-p", "testcontainers.core.container"],
        }
        for options in contenders.values():  # compiles everything
            _run_pytest(folder, *options)
        for number in range(rounds):
            for name in list(contenders)[:: -1 if number % 2 else 1]:
                report.add(name, _run_pytest(folder, *contenders[name]))
    report.difference("the plugin (ms)", "with", "without")
    report.difference("anyio's plugin (ms)", "with, and anyio", "with")
    for peer in ("pytest-docker", "pytest-playwright", "testcontainers"):
        report.difference(f"{peer} (ms)", peer, "without")
    return report


def _only(*plugins: str) -> list[str]:
    """The options of a run with these plugins and none of the others."""
    return [f"-pno:{name}" for name in _PLUGINS if name not in plugins]


def _install_peers(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", f"--target={folder}"]
    subprocess.run([*command, *options, *_PEERS], check=True)


def _run_pytest(folder: Path, *options: str) -> float:
    """Runs pytest on the folder's project; how many seconds it takes."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    # Some machines never keep compiled modules, which would be what is measured.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    arguments = [str(folder / "peers"), "-p", "no:cacheprovider", "-q", *options]
    output = subprocess.run(
        [sys.executable, "-c", _RUN_PYTEST, *arguments],
        cwd=folder / "project",
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
