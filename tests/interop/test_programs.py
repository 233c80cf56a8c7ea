"""Programs written for openhands-sdk, as they stand but for what docs/interop.md names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.replies import Reply, say, tool
from pytest_agent_sandbox.llm.script import Script
from tests.support.ports import free_ports

from . import programs

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a program, whose LLM answers with these replies; it is to be told to end."""
    kept = {name: os.environ[name] for name in os.environ if not name.startswith("LLM_")}

    def run(program: str, image: str, *replies: Reply) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "program.py"
        file.write_text(programs.ours(program, image=image, host_port=free_ports(3)), "utf-8")
        with Gateway() as gateway:
            provider = gateway.open_lane(Script(replies))
            result = subprocess.run(
                [sys.executable, str(file)],
                env=kept
                | {
                    "LLM_MODEL": "openai/gpt-4o-mini",
                    "LLM_API_KEY": provider.token,
                    "LLM_BASE_URL": provider.base_url("127.0.0.1"),
                },
                input="what?\ny\n",
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            print(result.stdout, result.stderr)
            assert result.returncode == 0
            provider.verify()
            assert provider.token not in result.stdout + result.stderr
        return result

    return run


def test_basic(run: Run, agent_server_image: str) -> None:
    result = run(
        programs.BASIC,
        agent_server_image,
        tool("terminal", command="seq 3 > FACTS.txt"),
        say("Written."),
        tool("terminal", command="rm FACTS.txt"),
        say("Deleted."),
    )
    assert "ended with 0: Hello!\n/workspace/project" in result.stderr
    assert "status: finished" in result.stderr
    assert "ObservationEvent" in result.stderr
    assert re.search(r"COST: 0\.0*[1-9]", result.stdout)


def test_vs_code(run: Run, full_image: str) -> None:
    """The address is empty, as the server wants its key: a line says which call gives it."""
    result = run(programs.VSCODE, full_image, tool("terminal", command="true"), say("Done."))
    assert result.stdout.count("VS Code: \n") == 2
    assert "workspace.vscode_url()" in result.stderr


def test_a_browser(run: Run, full_image: str) -> None:
    """The link that the program makes by hand has no token: the same line says so."""
    result = run(
        programs.BROWSER,
        full_image,
        tool("browser_navigate", url="data:text/html,<h1>Bridges</h1>"),
        tool("browser_get_content"),
        say("It is about bridges."),
    )
    assert "browser_get_content: <url> data:text/html,<h1>Bridges</h1>" in result.stderr
    assert "workspace.vnc_url()" in result.stderr
    assert re.search(r"COST: 0\.0*[1-9]", result.stdout)


def test_nothing_else_is_changed() -> None:
    """Names in the programs that are upstream's own and no import are left as they are."""
    for program in (programs.BASIC, programs.VSCODE, programs.BROWSER):
        lines = programs.ours(program, image="an-image", host_port=1).splitlines()
        changed = [
            line for line, before in zip(lines, program.splitlines(), strict=True) if line != before
        ]
        assert {re.split(r" import |=", line.strip())[0] for line in changed} == {
            "from pytest_agent_sandbox",
            "server_image",
            "host_port",
        }
