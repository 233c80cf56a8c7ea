"""Upstream's names for what is here, on a real server."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pydantic import BaseModel

from pytest_agent_sandbox import (
    Conversation,
    RemoteConversation,
    default_agent,
    get_default_agent,
    get_logger,
)
from pytest_agent_sandbox.client.agents import LLM
from pytest_agent_sandbox.client.upstream_arguments import in_our_words
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import ServerError

from .scripted_llm import ScriptedLLM, say


class Source(BaseModel):
    source: str
    ref: str | None = None


class Visualizer:
    def __init__(self) -> None:
        self.seen: list[object] = []

    def on_event(self, event: object) -> None:
        self.seen.append(event)


def test_the_default_agent() -> None:
    llm = LLM(model="openai/any")
    assert get_default_agent(llm=llm, cli_mode=True) == default_agent(llm)
    assert get_default_agent(llm) == default_agent(llm, browser=True)


def test_a_logger(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logger = get_logger("a.program.of.a.user")
    get_logger("a.program.of.a.user").info("It runs.")
    assert capsys.readouterr().err.count("It runs.") == 1
    logger.handlers.clear()
    monkeypatch.undo()
    assert get_logger("another.program").handlers == [], "somebody has set up logging"


def test_arguments_in_our_words() -> None:
    visualizer = Visualizer()
    ours, callbacks = in_our_words(
        {
            "max_iteration_per_run": 3,
            "hook_config": {"stop": "true"},
            "visualizer": visualizer,
            "plugins": [Source(source="x")],
            "user_id": "me",
            "observability_tags": ["nightly"],
            "request": {"tags": {"a": "b"}},
            "secrets": {"A": "b"},
        }
    )
    assert ours == {
        "max_iterations": 3,
        "hooks": {"stop": "true"},
        "secrets": {"A": "b"},
        "request": {
            "plugins": [{"source": "x"}],
            "user_id": "me",
            "observability_tags": ["nightly"],
            "tags": {"a": "b"},
        },
    }
    assert callbacks == [visualizer.on_event]
    assert in_our_words({"visualizer": None, "token_callbacks": None}) == ({}, [])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"persistence_dir": "x"}, "docs/restarts.md"),
        ({"visualizer": Visualizer}, "visualize=True"),
        ({"hook_config": {}, "hooks": {}}, "give only one"),
    ],
)
def test_what_is_different_says_so(given: dict[str, object], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        in_our_words(given)


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        (RemoteWorkspace, "register_cost", r"has no register_cost: conversation\.cost tells it"),
        (RemoteWorkspace, "get_secrets", r"server\.secrets"),
        (RemoteWorkspace, "stop_command", r"its stop\(\)"),
        (RemoteConversation, "generate_title", r"set_title\(…\)"),
        (RemoteConversation, "reject_pending_actions", r"reject\(…\)"),
        (RemoteConversation, "agent_final_response", r"final_response\(\)"),
    ],
)
def test_attributes_that_are_elsewhere(kind: type, name: str, said: str) -> None:
    one = kind.__new__(kind)
    with pytest.raises(AttributeError, match=said):
        getattr(one, name)
    assert not hasattr(one, name)
    with pytest.raises(AttributeError, match="has no attribute"):
        one.no_such_thing  # noqa: B018


def test_a_workspace(workspace: RemoteWorkspace, tmp_path: Path) -> None:
    result = workspace.execute_command("pwd; sleep 5", "/tmp", 1.0)
    assert (result.stdout, result.timeout_occurred) == ("/tmp\n", True)
    (tmp_path / "there").write_text("ö")
    sent = workspace.file_upload(tmp_path / "there", "here")
    assert (sent.success, sent.file_size, sent.error) == (True, 2, None)
    assert workspace.read_text("here") == "ö"
    assert workspace.file_upload(b"in memory", "there").file_size == 9
    assert workspace.read_text("there") == "in memory"
    assert workspace.file_download("here", tmp_path / "back").success
    assert (tmp_path / "back").read_text() == "ö"
    assert not workspace.file_upload(tmp_path / "none", "x").success
    lost = workspace.file_download("none", tmp_path / "x")
    assert not lost.success
    assert "none" in str(lost.error)


def test_a_conversation_that_is_forgotten(workspace: RemoteWorkspace, llm: ScriptedLLM) -> None:
    llm.script(say("Hello."))
    visualizer = Visualizer()
    conversation = Conversation(
        default_agent(llm.llm()),
        workspace,
        visualizer=visualizer,
        max_iteration_per_run=5,
        tags={"of": "upstream"},
        delete_on_close=True,
    )
    conversation.send_message("Hello?")
    conversation.run(timeout=60)
    assert conversation.state.tags == {"of": "upstream"}
    assert conversation.state.max_iterations == 5
    conversation.close()
    assert visualizer.seen
    with pytest.raises(ServerError, match="404"):
        workspace.server.conversations.get(conversation.id)
    workspace.cleanup()
