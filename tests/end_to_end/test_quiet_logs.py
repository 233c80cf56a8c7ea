"""Logs of a user's test: records of the plugin's own HTTP stay out, those of the user's stay in."""

import re

import pytest

LOGGING = """
import logging
from collections import Counter

import httpx
import pytest

from pytest_agent_sandbox import DockerWorkspace, client_tool, say, tool

log = logging.getLogger("user")

@pytest.fixture(autouse=True)
def everything(caplog, request):
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "websockets", "uvicorn", "docker", "urllib3"):
        caplog.set_level(logging.DEBUG, name)
    yield
    for when in ("setup", "call"):
        seen = Counter(record.name for record in caplog.get_records(when))
        print("SEEN", request.node.name, when, *sorted(seen.items()))

def count_words(text: str) -> int:
    "Counts words."
    return len(text.split())

def test_an_agent(agent_workspace, agent_llm, agent_conversation):
    log.info("mine")
    agent_llm.script([tool("count_words", text="a b"), tool("terminal", command="ls"), say("Hi.")])
    conversation = agent_conversation(client_tools=[count_words])
    conversation.send_message("Hello?")
    conversation.run(timeout=60)
    agent_workspace.execute_command("ls")

def asks(address):
    httpx.get(address + "/alive", trust_env=False)

def test_own_requests(agent_workspace):
    asks(agent_workspace.host)

def test_own_requests_in_a_callback(agent_workspace, agent_llm, agent_conversation):
    agent_llm.script([say("Hi.")])
    def ask(event):
        asks(agent_workspace.host)
    conversation = agent_conversation(callbacks=[ask])
    conversation.send_message("Hello?")
    conversation.run(timeout=60)

async def in_a_loop(workspace):
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.get(workspace.host + "/alive")
        await workspace.aexecute_command("ls")

def test_own_requests_in_a_loop(agent_workspace):
    import asyncio
    asyncio.run(in_a_loop(agent_workspace))

def test_fails(agent_workspace):
    agent_workspace.execute_command("ls")
    log.warning("before the end")
    assert 1 == 2
"""


@pytest.mark.usefixtures("recycled")
def test_records_of_ours_stay_out_and_those_of_the_user_stay_in(project):
    project.write("test_it.py", LOGGING)
    project.write(
        "pytest.ini", "[pytest]\nlog_level = DEBUG\nlog_file = all.log\nlog_file_level = DEBUG\n"
    )
    _, output = project.run("-v", "-rP", "-p", "no:randomly", "--no-sandbox-live")
    assert "4 passed" in output
    seen = re.findall(r"^SEEN (\w+) (\w+) ?(.*)$", output, re.MULTILINE)
    assert {names for _, when, names in seen if when == "setup"} == {""}
    calls = {
        test: dict(re.findall(r"\('([\w.]+)', (\d+)\)", names))
        for test, when, names in seen
        if when == "call"
    }
    assert len(calls) == 5
    assert calls["test_an_agent"] == calls["test_fails"] == {"user": "1"}
    own, in_a_loop = calls["test_own_requests"], calls["test_own_requests_in_a_loop"]
    assert own.keys() == {"httpx", "httpcore.connection", "httpcore.http11"}
    assert own["httpx"] == in_a_loop["httpx"] == "1"
    assert own.keys() == calls["test_own_requests_in_a_callback"].keys()
    # Its own event loop is the user's too.
    assert in_a_loop["asyncio"] == "1"
    captured = output.partition("Captured log call")[2]
    assert "before the end" in captured
    assert "connect_tcp" not in captured.partition("=====")[0]
    # The file is for those who look for what the plugin itself does.
    assert "httpcore" in (project.folder / "all.log").read_text("utf-8")


@pytest.mark.usefixtures("served")
def test_nothing_of_ours_is_in_live_logs(project):
    project.write("test_it.py", "def test_it(agent_workspace):\n    agent_workspace.alive()\n")
    _, output = project.run("--log-cli-level=DEBUG", "-p", "no:randomly")
    assert "1 passed" in output
    assert not re.findall("httpx|httpcore|urllib3|docker", output.partition("test_it.py")[2])
