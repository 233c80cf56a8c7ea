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

PROGRAM = Path(__file__).parent.parent / "examples" / "basic_docker_sandbox.py"


def run(environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LLM_")}
    return subprocess.run(
        [sys.executable, "-W", "error", str(PROGRAM)],
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


def test_a_missing_key_is_a_clear_message():
    result = run({"LLM_MODEL": "openai/gpt-4o-mini"})
    assert result.returncode == 1
    assert result.stderr == "LLM_API_KEY is not set: it says which LLM the agent is to use.\n"
