"""What objects say of themselves, as pytest shows them in a failure: useful, and no secret."""

import pytest
from pydantic import SecretStr

from pytest_agent_sandbox import SandboxSettings
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.plugin.conversation_factory import ConversationFactory
from pytest_agent_sandbox.plugin.workspace_factory import WorkspaceFactory
from pytest_agent_sandbox.sandbox.workspace import Workspace

SECRET = "a-secret-that-nobody-sees"
TESTS = f"""
import os
from pytest_agent_sandbox import DockerWorkspace, say

def test_it(agent_workspace, agent_llm, agent_conversation, agent_workspace_factory):
    print("REPR", agent_llm)
    agent_llm.script([say("Hello.")])
    conversation = agent_conversation(secrets={{"KEY": "{SECRET}"}})
    print("REPR", conversation)
    conversation.send_message("Hello?")
    conversation.run()
    print("REPR", conversation)
    print("REPR", agent_workspace)
    print("REPR", agent_llm)
    print("REPR", agent_conversation)
    print("REPR", agent_workspace_factory)
    print("KEY", agent_workspace.api_key.get_secret_value())
    conversation.close()
    print("REPR", conversation)
"""


def test_settings_name_what_differs_from_the_defaults():
    assert repr(SandboxSettings()) == "SandboxSettings()"
    settings = SandboxSettings(memory="1g", allow=("github.com:443",), isolation="fresh")
    assert repr(settings) == "SandboxSettings(memory='1g', allow=('github.com:443',))"


@pytest.mark.parametrize("where", ["https://me:{}@sandboxes.example", "//{}@host/x"])
def test_settings_show_no_password(where):
    shown = repr(SandboxSettings(url=where.format(SECRET), volumes=(where.format(SECRET),)))
    assert SECRET not in shown
    assert "sandboxes.example" in shown or "@host/x" in shown


@pytest.mark.parametrize("kind", [RemoteWorkspace, Workspace])
def test_workspaces(kind):
    with kind(f"http://me:{SECRET}@127.0.0.1:9", SecretStr(SECRET)) as workspace:
        shown = repr(workspace)
    assert shown.startswith(f"<{kind.__name__} ")
    assert "/workspace/project" in shown
    assert SECRET not in shown
    assert "closed" in repr(workspace) or kind is RemoteWorkspace


def test_factories_have_one_of_their_own():
    for kind in (ConversationFactory, WorkspaceFactory):
        assert kind.__repr__ is not object.__repr__
