"""Token callbacks; tests/interop/test_scenarios.py has the pieces of a real server's stream."""

from __future__ import annotations

from typing import cast

import pytest

from pytest_agent_sandbox import Conversation
from pytest_agent_sandbox.client.acp import acp_agent
from pytest_agent_sandbox.client.agents import LLM, default_agent
from pytest_agent_sandbox.client.events import parse_event
from pytest_agent_sandbox.client.token_callbacks import StreamChunk, check_streams
from pytest_agent_sandbox.client.upstream_arguments import in_our_words
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import SettingsError


def test_they_get_the_pieces_and_nothing_else() -> None:
    got: list[StreamChunk] = []
    ours, (callback,) = in_our_words({"token_callbacks": [got.append]})
    assert ours == {}
    callback(parse_event({"kind": "PauseEvent"}))
    callback(parse_event({"kind": "StreamingDeltaEvent", "id": "e", "content": "He"}))
    callback(parse_event({"kind": "StreamingDeltaEvent", "reasoning_content": "hm"}))
    assert [
        (one.choices[0].delta.content, one.choices[0].delta.reasoning_content) for one in got
    ] == [
        ("He", None),
        (None, "hm"),
    ]
    assert got[0].id == "e"


def test_an_llm_that_answers_in_one_piece_is_an_error() -> None:
    agent = default_agent(LLM(model="openai/any"))
    nowhere = cast(RemoteWorkspace, None)
    with pytest.raises(SettingsError, match=r"stream=True"):
        Conversation(agent, nowhere, token_callbacks=[print])
    check_streams(default_agent(LLM(model="openai/any", stream=True)))
    check_streams(acp_agent(["any"]))
