"""What a recycled sandbox's server knows of the tests before: nothing, on a real server.

Each test of a project leaves something in the server, and the next one, in the same container,
looks for it. What is loaded into the server is in `agents/`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.sandbox.agent_server import SERVER_SETTINGS
from pytest_agent_sandbox.sandbox.recycle import SERVER_FOLDERS
from tests.support.project import Project

PROGRAMS = Path(__file__).parent / "agents"

HEAD = f"""
import json, time
from pathlib import Path
import pytest
from pytest_agent_sandbox import LLM, Agent, Skill, Tool, say, tool
from pytest_agent_sandbox.client.conversation_request import conversation_request
from pytest_agent_sandbox.errors import SandboxError

PROGRAMS = Path({str(PROGRAMS)!r})
PYTHON = "/agent-server/.venv/bin/python"

@pytest.fixture(autouse=True)
def shown(agent_workspace):
    container = getattr(agent_workspace, "container", None)
    print("container", container and container.id)

def begin(workspace, *, tools=(), **more):
    '''Begins a conversation, with whatever its request may have.'''
    agent = Agent(llm=LLM(model="openai/any", api_key="none"), tools=list(tools))
    body = conversation_request(workspace.connection, agent, working_dir="/workspace/project")
    return workspace.connection.request("POST", "/api/conversations", json={{**body, **more}})

def load(workspace, name, text):
    '''Loads a module into the server.'''
    workspace.write_text(f"/tmp/{{name}}.py", text)
    begin(workspace, tool_module_qualnames={{name: name}})

def asked(agent_llm, agent_conversation, *replies, **given):
    '''Runs a conversation; returns the requests that its LLM got, and it.'''
    requests = []
    def noting(reply):
        def answer(request):
            requests.append(request.body)
            return reply
        return answer
    agent_llm.script([noting(reply) for reply in replies])
    conversation = agent_conversation(**given)
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    return requests, conversation
"""

RECYCLED = (
    HEAD
    + """
pytestmark = pytest.mark.agent_sandbox(
    isolation="recycled", forward_env=["OH_EXTRA_PYTHON_PATH"]
)

# Prompts: templates are cached by their path, and compiled ones in the home folder.

def prompt(file):
    return Agent(llm=LLM(model="openai/any"), tools=[], system_prompt_filename=file)

@pytest.mark.parametrize("name, text", [("p", "ALPHA PROMPT"), ("p", "BETA PROMPT"),
                                        ("q", "GAMMA PROMPT"), ("p", None)])
def test_prompts(agent_workspace, agent_llm, agent_conversation, name, text):
    file = f"/workspace/project/{name}.j2"
    if text is None:
        with pytest.raises(SandboxError, match="not found"):
            asked(agent_llm, agent_conversation, agent=prompt(file))
        return
    agent_workspace.write_text(file, text)
    (first,), _ = asked(agent_llm, agent_conversation, say("Hello."), agent=prompt(file))
    assert text in json.dumps(first["messages"][0])

# Sub-agents, of the project and of the user.

SUB_AGENT = '''---
name: basher
description: Says the word.
tools: []
---
The word is {}.
'''

@pytest.mark.parametrize("place, word", [("/workspace/project/.agents", "OWL"),
                                         ("/workspace/project/.agents", "FOX"),
                                         ("/workspace/project/.agents", None),
                                         ("~/.agents", "BAT"), ("~/.agents", None)])
def test_sub_agents(agent_workspace, agent_llm, agent_conversation, place, word):
    if word:
        folder = agent_workspace.execute_command(
            f"mkdir -p {place}/agents && cd {place}/agents && pwd").stdout.strip()
        agent_workspace.write_text(f"{folder}/basher.md", SUB_AGENT.format(word))
    agent = Agent(llm=LLM(model="openai/any"), tools=[Tool(name="task_tool_set")])
    call = tool("task", prompt="Say the word.", subagent_type="basher")
    replies = [call, say("The word."), say("Done.")] if word else [call, say("Done.")]
    requests, conversation = asked(agent_llm, agent_conversation, *replies, agent=agent)
    (done,) = conversation.events.tool_calls("task")
    assert ("basher" in json.dumps(requests[0]["tools"])) == bool(word)
    if word:
        assert f"The word is {word}." in json.dumps(requests[1]["messages"][0])
    else:
        assert done.is_error
        assert "basher" in done.result

# Tools: of a module that is loaded into the server, and of the test itself.

TOOL = '''
from openhands.sdk.tool import Action, ToolDefinition, register_tool

class PokeAction(Action):
    WORD: str

class PokeTool(ToolDefinition):
    name = "poke"
    @classmethod
    def create(cls, state=None, **params):
        return [cls(description="WORD it is.", action_type=PokeAction)]

register_tool("poke", PokeTool)
'''

@pytest.mark.parametrize("word", ["alpha", "beta", None])
def test_tools_that_are_loaded(agent_workspace, word):
    assert "poke" not in agent_workspace.connection.get_json("/api/tools/")
    if word:
        agent_workspace.write_text("/tmp/poking.py", TOOL.replace("WORD", word))
    started = []
    try:
        begin(agent_workspace, tools=[Tool(name="poke")], tool_module_qualnames={"poke": "poking"})
        started.append(word)
    except SandboxError as error:
        assert "poking" in str(error)
    assert bool(started) == bool(word)
    if word:
        info = agent_workspace.connection.get_json("/openapi.json")
        assert "poke" in agent_workspace.connection.get_json("/api/tools/")
    load(agent_workspace, "looking", '''
import sys
word = getattr(sys.modules.get("poking"), "PokeAction", None)
with open("/tmp/word", "w") as file:
    file.write(" ".join(word.__annotations__) if word else "none")
''')
    assert agent_workspace.read_text("/tmp/word") == (word or "none")

# Skills, and what comes with plugins.

@pytest.mark.parametrize("word", ["OWLS", "FOXES", None])
def test_skills_of_the_project(agent_workspace, agent_llm, agent_conversation, word):
    if word:
        agent_workspace.write_text(
            ".agents/skills/birds/SKILL.md",
            f"---\\nname: birds\\ndescription: Of {word}.\\n---\\nCount the {word}.")
    found = agent_workspace.connection.request("POST", "/api/skills", json={
        "load_public": False, "project_dir": "/workspace/project"}).json()
    assert ("birds" in json.dumps(found)) == bool(word)
    assert not word or f"Of {word}." in json.dumps(found)

@pytest.mark.parametrize("word", ["OWLS", "FOXES", None])
def test_plugins(agent_workspace, word):
    folder = "/workspace/project/plug"
    if word:
        agent_workspace.write_text(f"{folder}/.plugin/plugin.json",
                                   json.dumps({"name": "plug", "version": "1.0.0"}))
        agent_workspace.write_text(f"{folder}/agents/basher.md", SUB_AGENT.format(word))
    try:
        begin(agent_workspace, plugins=[{"source": folder}])
    except SandboxError:
        assert not word
    load(agent_workspace, "looking", '''
import json
import openhands.sdk.subagent.registry as agents
with open("/tmp/word", "w") as file:
    json.dump(sorted(agents._agent_factories), file)
''')
    assert "plug" not in agent_workspace.read_text("/tmp/word")

# MCP servers: one that counts its calls would go on counting.

MCP = '''
from mcp.server.fastmcp import FastMCP
server = FastMCP("counter")
calls = []
@server.tool()
def call() -> str:
    "Counts WORD."
    calls.append(1)
    return f"call {len(calls)} of WORD"
server.run()
'''

@pytest.mark.parametrize("word", ["owls", "foxes"])
def test_mcp_servers(agent_workspace, agent_llm, agent_conversation, word):
    agent_workspace.write_text("/tmp/counter.py", MCP.replace("WORD", word))
    requests, conversation = asked(
        agent_llm, agent_conversation, tool("call"), say("Done."),
        mcp_servers={"counter": {"command": PYTHON, "args": ["/tmp/counter.py"]}})
    assert f"Counts {word}." in json.dumps(requests[0]["tools"])
    (call,) = conversation.events.tool_calls("call")
    assert f"call 1 of {word}" in call.result

# Settings, profiles, secrets, variables, clocks.

@pytest.mark.parametrize("number", range(2))
def test_settings(agent_workspace, number):
    connection = agent_workspace.connection
    def seen():
        settings = connection.get_json("/api/settings")
        settings["agent_settings"]["agent_context"].pop("current_datetime", None)
        return [settings, connection.get_json("/api/settings/secrets"),
                connection.get_json("/api/profiles"), connection.get_json("/api/tools/")]
    first = Path("settings.json")
    if number == 0:
        first.write_text(json.dumps(seen()))
    assert seen() == json.loads(first.read_text())
    connection.request("PATCH", "/api/settings",
                       json={"agent_settings_diff": {"llm": {"model": "left"}}})
    connection.request("PUT", "/api/settings/secrets", json={"name": "LEFT", "value": "left"})
    connection.request("POST", "/api/profiles/left", json={"llm": {"model": "openai/left"}})
    assert "left" in json.dumps(connection.get_json("/api/profiles"))
    assert seen() != json.loads(first.read_text())

@pytest.mark.parametrize("number", range(2))
def test_clocks_begin_with_the_test(agent_workspace, number):
    info = agent_workspace.server_info()
    assert info["uptime"] < 5, info
    assert info["idle_time"] < 5, info
    time.sleep(5 * (1 - number))  # of the first test

@pytest.mark.parametrize("number", range(2))
def test_costs_begin_with_the_test(agent_workspace, agent_llm, agent_conversation, number):
    _, conversation = asked(agent_llm, agent_conversation, say("Hello."))
    info = agent_workspace.connection.get_json(f"/api/conversations/{conversation.id}")
    costs = info["stats"]["usage_to_metrics"].values()
    assert sum(len(one["token_usages"]) for one in costs) == 1
"""
)


def containers(output: str) -> list[str]:
    return re.findall(r"^container (\w+)", output, re.MULTILINE)


@pytest.fixture(autouse=True)
def _loading(project: Project, agent_server_image: str) -> None:
    """What is in that folder can be loaded into the project's servers."""
    project.environment["OH_EXTRA_PYTHON_PATH"] = "/tmp"


def test_what_one_test_leaves_in_the_server_the_next_does_not_find(project: Project) -> None:
    project.write("test_it.py", RECYCLED)
    code, output = project.run("--sandbox-pool-size=0", "-v", "-rP")
    assert code == 0
    assert len(containers(output)) > 20
    assert len(set(containers(output))) == 1
    assert "thrown away" not in output


PROBED = (
    HEAD
    + """
PROBE = (PROGRAMS / "server_probe.py").read_text()
WRECK = (PROGRAMS / "server_wreck.py").read_text()

def probe(workspace, name):
    '''Writes down what the server holds.'''
    load(workspace, f"probe_{name}", PROBE)
    Path(f"{name}.json").write_text(workspace.read_text(f"/tmp/probe_{name}.json"))
"""
)


def probed(project: Project, name: str) -> dict[str, Any]:
    return dict(json.loads((project.folder / f"{name}.json").read_text("utf-8")))


def test_the_tenth_server_is_what_the_first_was(project: Project) -> None:
    project.write(
        "test_it.py",
        PROBED
        + """
pytestmark = pytest.mark.agent_sandbox(isolation="recycled", forward_env=["OH_EXTRA_PYTHON_PATH"])

@pytest.mark.parametrize("number", range(10))
def test_a_server(agent_workspace, agent_conversation, number):
    if number in (0, 9):
        probe(agent_workspace, number)
        return
    conversation = agent_conversation(
        script=[tool("terminal", command="export LEFT=here; echo $LEFT"), say("Done.")])
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    load(agent_workspace, "wreck", WRECK)
    if number == 8:
        probe(agent_workspace, "wrecked")

@pytest.mark.agent_sandbox(isolation="fresh")
def test_a_fresh_server(agent_workspace):
    probe(agent_workspace, "fresh")
""",
    )
    code, output = project.run("--sandbox-pool-size=0", "-rP")
    assert code == 0
    assert len(set(containers(output)[:10])) == 1
    first, tenth, fresh = (probed(project, name) for name in ("0", "9", "fresh"))
    wrecked = probed(project, "wrecked")
    for section, was in first.items():
        assert tenth[section] == was, section
        assert wrecked[section] != was, f"nothing was wrecked that {section} shows"
    assert first["environment"] == fresh["environment"] | SERVER_FOLDERS


def test_a_server_holds_what_one_without_us_holds(
    project: Project, engine: ContainerEngine, agent_server_image: str
) -> None:
    project.write(
        "test_it.py",
        PROBED
        + """
def test_a_server(agent_workspace, request):
    probe(agent_workspace, request.config.getoption("sandbox_isolation") or "plain")
""",
    )
    code, _ = project.run(
        "--sandbox-isolation=recycled", "--sandbox-forward-env=OH_EXTRA_PYTHON_PATH"
    )
    assert code == 0
    key = "a-key"
    container = engine.client.containers.run(
        agent_server_image,
        environment={
            **SERVER_SETTINGS,
            "OH_EXTRA_PYTHON_PATH": "/tmp",
            "OH_SESSION_API_KEYS_0": key,
        },
        ports={"8000/tcp": ("127.0.0.1", None)},
        detach=True,
    )
    try:
        container.reload()
        port = container.ports["8000/tcp"][0]["HostPort"]
        project.environment |= {
            "PYTEST_SANDBOX_URL": f"http://127.0.0.1:{port}",
            "SANDBOX_API_KEY": key,
        }
        code, _ = project.run()
        assert code == 0
    finally:
        container.remove(force=True)
    plain, ours = probed(project, "plain"), probed(project, "recycled")
    lacking = set(plain.pop("modules")) - set(ours.pop("modules"))
    assert not lacking, "what it has loaded at its start, ours has loaded too"
    sizes, of_ours = plain.pop("sizes"), ours.pop("sizes")
    different = _differences(sizes, {place: of_ours.get(place) for place in sizes})
    assert different.keys() <= OF_WHAT_IS_LOADED, different
    for each in (plain, ours):  # a module of it puts itself there, sooner or later
        each["interpreter"]["path"].sort()
    for section in plain.keys() - {"environment"}:
        assert _differences(plain[section], ours[section]) == {}, section


#: Ours has loaded more: these know what kinds of tools and events there are.
OF_WHAT_IS_LOADED = {
    f"openhands.sdk.utils.models.{name}_cache" for name in ("_checked", "_concrete")
}


def _differences(one: Any, other: Any) -> Any:
    if one == other:
        return {}
    if isinstance(one, dict):
        keys = sorted({*one, *other})
        return {
            key: [one.get(key), other.get(key)] for key in keys if one.get(key) != other.get(key)
        }
    return [one, other]
