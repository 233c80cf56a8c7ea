"""Engines without containers load nothing of Docker's, so that they need no Docker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pytest_agent_sandbox

PACKAGE = Path(pytest_agent_sandbox.__file__).parent
BLOCKED = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "docker":
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + program, *arguments],
        check=False,
        capture_output=True,
        text=True,
    )


def modules(folder: str) -> list[str]:
    """The modules of a folder, but for those that run in a sandbox."""
    files = sorted((PACKAGE / folder).rglob("*.py"))
    assert files
    names = [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in files]
    return [name for name in names if not name.endswith("_inside")]


def test_no_module_of_these_engines_or_of_the_plugin_needs_it() -> None:
    folders = ["engines/kubernetes", "engines/process", "engines/remote", "sandbox", "plugin"]
    names = [name for folder in folders for name in modules(folder)]
    # Docker's alone, loaded where services start; what tests say of them is not.
    services = "pytest_agent_sandbox.sandbox.services."
    said = {f"{services}{name}" for name in ("service", "services", "readiness", "log_stamps")}
    names = [name for name in names if not name.startswith(services) or name in said]
    assert said <= set(names)
    wanted = "pytest_agent_sandbox.containers.container_spec"
    assert run(f"importlib.import_module({wanted!r})").returncode
    program = "for name in sys.argv[1:]: importlib.import_module(name)"
    ended = run(program, *names)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("command", [["doctor"], ["prune", "--dry-run"]])
def test_the_commands_for_a_cluster_do_not_need_it(command: list[str]) -> None:
    program = """
from pytest_agent_sandbox.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
    arguments = [*command, "--engine", "kubernetes", "--kube-context", "nowhere"]
    ended = run(program, *arguments)
    assert ended.returncode == 1
    assert "blocked" not in ended.stderr + ended.stdout
    assert "nowhere" in ended.stderr + ended.stdout
