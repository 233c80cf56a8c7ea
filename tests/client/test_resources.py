"""What a server keeps, asked of a real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from pytest_agent_sandbox.client.agents import LLM
from pytest_agent_sandbox.client.resources.resource import given
from pytest_agent_sandbox.client.resources.server import AgentServer
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import ServerError

from .conversing import Converse
from .fake_server import FakeServer

PYTHON = "/agent-server/.venv/bin/python"
SKILL = "---\nname: owls\ndescription: What owls eat.\n---\nOwls eat mice.\n"
MCP = '''
from mcp.server.fastmcp import FastMCP
server = FastMCP("owls")

@server.tool()
def hoot() -> str:
    """Hoots."""
    return "hoot"

server.run()
'''


@pytest.fixture
def at(workspace: RemoteWorkspace) -> AgentServer:
    return workspace.server


def test_settings(at: AgentServer) -> None:
    before = at.settings.get()
    assert before["agent_settings"]
    assert at.settings.agent_schema()["sections"]
    assert at.settings.conversation_schema()["sections"]
    limit = before["conversation_settings"].get("max_iterations", 500)
    at.settings.update(conversation={"max_iterations": 77})
    assert at.settings.get()["conversation_settings"]["max_iterations"] == 77
    at.settings.update(conversation={"max_iterations": limit})


def test_mcp_servers(at: AgentServer, workspace: RemoteWorkspace) -> None:
    workspace.write_text("owls.py", MCP)
    server = {"command": PYTHON, "args": [workspace.path("owls.py")]}
    tried = at.mcp.test(server, name="owls")
    assert tried["ok"], tried
    assert "hoot" in str(tried["tools"])
    assert not at.mcp.test({"command": "/no/such/program"})["ok"]
    assert "owls" in str(at.settings.add_mcp_server("owls", server))
    at.settings.update_mcp_server("owls", {"description": "Owls hoot."})
    assert "Owls hoot." in str(at.settings.get())
    at.settings.delete_mcp_server("owls")
    assert "owls" not in str(at.settings.get()["agent_settings"].get("mcp_config"))


def test_secrets(at: AgentServer) -> None:
    at.secrets.set("A_TOKEN", "hush-hush", description="of a test")
    assert {"name": "A_TOKEN", "description": "of a test"} in at.secrets.list()
    assert at.secrets.value("A_TOKEN").get_secret_value() == "hush-hush"
    assert "hush" not in repr(at.secrets.value("A_TOKEN"))
    at.secrets.delete("A_TOKEN")
    assert at.secrets.list() == []
    with pytest.raises(ServerError, match="404"):
        at.secrets.value("A_TOKEN")


def test_what_is_secret_is_told_before_it_is_sent(workspace: RemoteWorkspace) -> None:
    told: list[str] = []
    workspace.on_secret = told.append
    at = workspace.server
    at.secrets.set("A_TOKEN", SecretStr("of a secret"))
    at.secrets.delete("A_TOKEN")
    at.profiles.save("told", LLM(model="openai/small", api_key="of a profile"))
    at.profiles.delete("told")
    added = at.provider_connections.add("Mine", "of a connection", provider="openai")
    at.provider_connections.delete(added["id"])
    server = {"command": "/no/such/program", "env": {"KEY": SecretStr("of a variable")}}
    at.settings.add_mcp_server("told", server)
    at.settings.update_mcp_server("told", {"env": {"KEY": "of a change"}})
    at.settings.update(agent={"llm": {"api_key": "of the settings"}})
    at.mcp.test({"url": "http://127.0.0.1:9/mcp", "headers": {"X-Key": "of a header"}}, timeout=5)
    at.settings.delete_mcp_server("told")
    at.settings.update(agent={"llm": {"api_key": None}})
    assert told == [
        "of a secret",
        "of a profile",
        "of a connection",
        "of a variable",
        "of a change",
        "of the settings",
        "of a header",
    ]


def test_profiles(at: AgentServer) -> None:
    at.profiles.save("small", LLM(model="openai/small", api_key="hush-hush"))
    assert "small" in str(at.profiles.list())
    saved = at.profiles.get("small")
    assert saved["config"]["model"] == "openai/small"
    assert saved["api_key_set"]
    assert "hush-hush" not in str(saved)
    at.profiles.rename("small", "tiny")
    at.profiles.activate("tiny")
    at.profiles.delete("tiny")
    assert "tiny" not in str(at.profiles.list())
    wrong = LLM(model="no-provider/none", api_key="x", num_retries=0)
    assert not at.profiles.validate("tiny", wrong)["valid"]


def test_agent_and_meta_profiles(at: AgentServer) -> None:
    at.profiles.save("for-agents", LLM(model="openai/small", api_key="hush-hush"))
    profile = {"agent_kind": "openhands", "name": "helper", "llm_profile_ref": "for-agents"}
    at.agent_profiles.save("helper", profile)
    assert "helper" in str(at.agent_profiles.list())
    identity = at.agent_profiles.get("helper")["profile"]["id"]
    assert at.agent_profiles.materialize("helper")["llm_profile_resolved"]
    at.agent_profiles.activate(identity)
    at.agent_profiles.rename("helper", "assistant")
    at.agent_profiles.delete("assistant")
    assert "assistant" not in str(at.agent_profiles.list())
    rule = {"name": "all", "description": "Everything.", "model": "for-agents"}
    at.meta_profiles.save("chooser", {"classifier_model": "for-agents", "classes": [rule]})
    assert "chooser" in str(at.meta_profiles.list())
    assert at.meta_profiles.get("chooser")["config"]["classifier_model"] == "for-agents"
    at.meta_profiles.activate("chooser")
    at.meta_profiles.delete("chooser")
    at.profiles.delete("for-agents")


def test_provider_connections(at: AgentServer) -> None:
    added = at.provider_connections.add("Mine", "hush-hush", provider="openai")
    assert "hush-hush" not in str(added)
    changed = at.provider_connections.update(added["id"], name="Ours", api_key="hush")
    assert changed["display_name"] == "Ours"
    assert [one["id"] for one in at.provider_connections.list()] == [added["id"]]
    at.provider_connections.delete(added["id"])
    assert at.provider_connections.list() == []


def test_skills(at: AgentServer, workspace: RemoteWorkspace) -> None:
    workspace.write_text(".agents/skills/owls/SKILL.md", SKILL)
    found = at.skills.find(workspace.working_dir, load_public=False)
    assert "owls" in [skill["name"] for skill in found]
    workspace.write_text("mine/owls/SKILL.md", SKILL)
    installed = at.skills.install(workspace.path("mine/owls"))
    assert installed["name"] == "owls"
    assert at.skills.get("owls")["enabled"]
    at.skills.enable("owls", False)
    assert [(one["name"], one["enabled"]) for one in at.skills.installed()] == [("owls", False)]
    at.skills.refresh("owls")
    at.skills.uninstall("owls")
    assert at.skills.installed() == []
    assert isinstance(at.skills.catalog(), list)


def test_plugins(at: AgentServer, workspace: RemoteWorkspace) -> None:
    manifest = '{"name": "birds", "version": "1.0.0", "description": "Of birds."}'
    workspace.write_text("birds/.plugin/plugin.json", manifest)
    workspace.write_text("birds/skills/owls/SKILL.md", SKILL)
    assert "birds" in str(at.plugins.fetch(workspace.path("birds"))["manifest"])
    assert at.plugins.install(workspace.path("birds"))["name"] == "birds"
    assert at.plugins.get("birds")["version"] == "1.0.0"
    at.plugins.enable("birds", False)
    assert [one["enabled"] for one in at.plugins.installed()] == [False]
    at.plugins.refresh("birds")
    at.plugins.uninstall("birds")
    assert at.plugins.installed() == []
    assert isinstance(at.plugins.find(workspace.working_dir), list)


def test_sub_agents_and_hooks(at: AgentServer, workspace: RemoteWorkspace) -> None:
    text = "---\nname: owl\ndescription: Watches.\n---\nYou are an owl.\n"
    workspace.write_text(".agents/agents/owl.md", text)
    found = at.sub_agents.find(workspace.working_dir)
    assert "owl" in [agent["name"] for agent in found]
    assert at.hooks.find(workspace.working_dir) == {}
    hook = '{"stop": [{"hooks": [{"type": "command", "command": "true"}]}]}'
    workspace.write_text(".openhands/hooks.json", hook)
    assert "true" in str(at.hooks.find(workspace.working_dir))


def test_tools_and_models(at: AgentServer) -> None:
    assert "terminal" in at.tools.names()
    assert "terminal" in str(at.tools.catalog())
    assert "openai" in at.models.providers()
    assert any("gpt" in name for name in at.models.list("openai"))
    assert at.models.verified()


def test_conversations(at: AgentServer, converse: Converse) -> None:
    before = at.conversations.count()
    ours = {converse().id for _ in range(3)}
    assert at.conversations.count() == before + 3
    found = {one["id"] for one in at.conversations.search(sort_order="CREATED_AT_DESC")}
    assert ours <= found
    assert at.conversations.count(status="running") == 0
    gone = ours.pop()
    at.conversations.delete(gone)
    assert gone not in {one["id"] for one in at.conversations.search()}


def test_folders(at: AgentServer, workspace: RemoteWorkspace) -> None:
    workspace.write_text("deep/file", "")
    assert at.folders.home()["home"].startswith("/")
    assert [one["name"] for one in at.folders.inside(workspace.working_dir)] == ["deep"]
    at.folders.add([{"id": "w", "name": "work", "path": workspace.working_dir}])
    assert workspace.working_dir in str(at.folders.list())
    at.folders.delete(workspace.working_dir)
    assert workspace.working_dir not in str(at.folders.list())


@pytest.fixture
def nobody() -> Iterator[AgentServer]:
    with FakeServer() as fake, RemoteWorkspace(fake.host) as workspace:
        yield workspace.server


def test_a_server_that_has_none_of_it(nobody: AgentServer) -> None:
    asked = [
        nobody.settings.get,
        nobody.secrets.list,
        lambda: nobody.profiles.get("../../x"),
        nobody.skills.find,
        nobody.conversations.count,
        lambda: list(nobody.conversations.search()),
        nobody.models.list,
        nobody.folders.home,
    ]
    for ask in asked:
        with pytest.raises(ServerError, match="404"):
            ask()


def test_only_what_is_given_is_sent() -> None:
    assert given(a=1, b=None, c="", d=False) == {"a": 1, "c": "", "d": False}
