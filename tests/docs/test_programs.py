"""The package without pytest: the example program, as a user runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.replies import say, tool
from pytest_agent_sandbox.llm.script import Script

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(environment, program="basic_docker_sandbox.py", *arguments):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LLM_")}
    return subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / program), *arguments],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.usefixtures("agent_server_image")
def test_two_messages_and_two_runs():
    script = Script(
        [
            tool("terminal", command="printf '1\\n2\\n3\\n' > FACTS.txt"),
            say("Written."),
            tool("terminal", command="rm FACTS.txt"),
            say("Deleted."),
        ]
    )
    with Gateway() as gateway:
        provider = gateway.open_lane(script)
        result = run(
            {
                "LLM_MODEL": "openai/gpt-4o-mini",
                "LLM_API_KEY": provider.token,
                "LLM_BASE_URL": provider.base_url("127.0.0.1"),
            }
        )
        print(result.stdout, result.stderr)
        assert result.returncode == 0
        assert result.stderr == ""
        provider.verify()
    assert "Hello from the sandbox!\n/workspace/project" in result.stdout
    assert result.stdout.count("status: finished") == 2
    assert "agent    terminal  rm FACTS.txt" in result.stdout
    found = re.search(r"(\d+) events, cost: ([\d.]+) US dollars", result.stdout)
    assert found is not None
    assert int(found[1]) > 10
    assert float(found[2]) > 0
    assert provider.token not in result.stdout


def test_vs_code(full_image):
    script = Script([tool("terminal", command="echo 'print(1)' > hello.py"), say("Written.")])
    with Gateway() as gateway:
        provider = gateway.open_lane(script)
        result = run(of(provider, full_image), "vscode_in_sandbox.py")
        print(result.stdout, result.stderr)
        assert (result.returncode, result.stderr) == (0, "")
        provider.verify()
    assert re.search(
        r"^VS Code: http://127\.0\.0\.1:\d+/\?tkn=[\w-]+&folder=/workspace/project$",
        result.stdout,
        re.MULTILINE,
    )


def test_a_browser(full_image):
    page = "data:text/html,<h1>It is about bridges</h1>"
    script = Script(
        [
            tool("browser_navigate", url=page),
            tool("browser_get_content"),
            say("It is about bridges."),
        ]
    )
    with Gateway() as gateway:
        provider = gateway.open_lane(script)
        result = run(of(provider, full_image), "browser_in_sandbox.py", f"Look at {page}")
        print(result.stdout, result.stderr)
        assert (result.returncode, result.stderr) == (0, "")
        provider.verify()
    assert re.search(r"Watch the agent's browser: http://127\.0\.0\.1:\d+/vnc", result.stdout)
    assert "# It is about bridges" in result.stdout
    assert re.search(r"^cost: 0\.\d+ US dollars$", result.stdout, re.MULTILINE)


def of(provider, image):
    return {
        "LLM_MODEL": "openai/gpt-4o-mini",
        "LLM_API_KEY": provider.token,
        "LLM_BASE_URL": provider.base_url("127.0.0.1"),
        "SANDBOX_IMAGE": image,
    }


@pytest.mark.parametrize(
    "program", ["basic_docker_sandbox.py", "vscode_in_sandbox.py", "browser_in_sandbox.py"]
)
def test_a_missing_key_is_a_clear_message(program):
    result = run({"LLM_MODEL": "openai/gpt-4o-mini"}, program)
    assert result.returncode == 1
    assert result.stderr == "LLM_API_KEY is not set: it says which LLM the agent is to use.\n"
