"""Running pytest, as a user would, in a project of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.host.ci import VARIABLES

RUN_TIMEOUT = 240
#: Plugins by the beginning of the option without which they do nothing, but for being imported:
#: that is half of what pytest needs to start, of which there are hundreds.
IDLE_WITHOUT = {"--html": ("html", "html_fixtures", "metadata"), "--alluredir": ("allure_pytest",)}


class Project:
    """A user's project: a folder with tests, and what pytest says about them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # A folder of its own for temporary files: its sandboxes are told apart by it, and tests of
        # several projects may run side by side.
        self.scratch = folder.parent / f"{folder.name}-scratch"
        self.scratch.mkdir()
        #: Plugins that it is run without. pytest-asyncio (1.5) warns every project that has not
        #: heard of it, syrupy (7.0) changes the exit code of a run that was interrupted. To import
        #: the last two takes longer than the rest of pytest's start, of which there are hundreds;
        #: test_everywhere.py runs beside them.
        self.blocked = ["cacheprovider", "asyncio", "syrupy", "anyio", "hypothesispytest"]
        self.environment = {
            name: value
            for name, value in os.environ.items()
            # The outer run's own settings and LLM must not decide, nor that it is in CI.
            if not name.startswith(("PYTEST_", "LLM_", "COV_", "CI", "GITHUB_"))
            and name not in VARIABLES
        }
        if "PYTEST_SANDBOX_IMAGE" in os.environ:
            self.environment["PYTEST_SANDBOX_IMAGE"] = os.environ["PYTEST_SANDBOX_IMAGE"]
        self.environment |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(self.scratch))

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def install(self, name: str, *engines: str) -> None:
        """Installs a distribution with these entry points beside the project."""
        information = f"installed/{name}-1.0.dist-info"
        head = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        self.write(f"{information}/METADATA", head)
        lines = ["[pytest_agent_sandbox.engines]", *engines]
        self.write(f"{information}/entry_points.txt", "\n".join(lines))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pytest",
                *(f"-pno:{name}" for name in (*self.blocked, *_idle(arguments))),
                *arguments,
            ],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def run(self, *arguments: str, timeout: float = RUN_TIMEOUT) -> tuple[int, str]:
        with self.start(*arguments) as process:
            try:
                output, _ = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
        print(output)
        return process.returncode, output

    @property
    def results(self) -> list[Path]:
        return sorted(path for path in (self.folder / "agent-results").glob("*") if path.is_dir())

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The lines of the run's table."""
        lines = (self.folder / "agent-results" / "results.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]

    @property
    def index_rows(self) -> list[dict[str, Any]]:
        """What the run's page shows."""
        return list(_story(self.folder / "agent-results" / "index.html")["rows"])

    @property
    def story(self) -> dict[str, Any]:
        """What the page of the only failed test shows."""
        (folder,) = self.results
        return _story(folder / "transcript.html")


def _idle(arguments: Sequence[str]) -> Iterator[str]:
    """The plugins that a run with these arguments has no use for."""
    for option, names in IDLE_WITHOUT.items():
        if not any(argument.startswith(option) for argument in arguments):
            yield from names


def _story(page: Path) -> dict[str, Any]:
    """The data in a page."""
    found = re.search(r'<script[^>]*id="story"[^>]*>(.*?)</script>', page.read_text("utf-8"), re.S)
    assert found is not None
    return dict(json.loads(found[1]))


def outcomes(output: str) -> dict[str, str]:
    """The outcome of each test, by its name, out of what pytest prints with ``-v``."""
    return dict(re.findall(r"^test_it\.py::(\S+) ([A-Z]+)\b", output, re.MULTILINE))
