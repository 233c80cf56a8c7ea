"""The providers' own SDKs as clients, a provider behind the gateway: live, recorded, replayed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from pydantic import SecretStr

from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
from pytest_agent_sandbox.llm.cassettes.player import CassettePlayer
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.live import LiveSource
from pytest_agent_sandbox.llm.replies import say, tool
from tests.support.provider import Provider, serving

REPLY = say("A text of several pieces: grüße, 你好, 🎉.", tool("terminal", command="ls -l " * 8))
HELLO: Any = [{"role": "user", "content": "hello"}]
Connect = Callable[..., Any]
#: What an SDK makes of an answer: its text, and the arguments of its tool call.
Said = tuple[str, Any]
Ask = Callable[[Any, bool], Said]


def ask_chat(client: openai.OpenAI, streamed: bool) -> Said:
    asked: Any = {"model": "gpt-4o", "messages": HELLO}
    if streamed:
        with client.chat.completions.stream(**asked) as stream:
            message: Any = stream.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(**asked).choices[0].message
    return message.content, message.tool_calls[0].function.arguments


def ask_responses(client: openai.OpenAI, streamed: bool) -> Said:
    asked: Any = {"model": "gpt-5", "input": HELLO}
    if streamed:
        with client.responses.stream(**asked) as stream:
            response: Any = stream.get_final_response()
    else:
        response = client.responses.create(**asked)
    return response.output_text, response.output[-1].arguments


def ask_messages(client: anthropic.Anthropic, streamed: bool) -> Said:
    asked: Any = {"model": "claude-sonnet-5", "max_tokens": 99, "messages": HELLO}
    if streamed:
        with client.messages.stream(**asked) as stream:
            message: Any = stream.get_final_message()
    else:
        message = client.messages.create(**asked)
    return message.content[0].text, message.content[1].input


ASK: dict[str, Ask] = {"chat": ask_chat, "responses": ask_responses, "messages": ask_messages}


@pytest.fixture
def client_of(connect: Connect, connect_anthropic: Connect) -> Callable[[str, Lane], Any]:
    return lambda kind, lane: (connect_anthropic if kind == "messages" else connect)(lane)


def upstream_of(provider: Lane) -> LiveSource:
    return LiveSource(provider.base_url("127.0.0.1"), SecretStr(provider.token))


def new_player(file: Path, mode: Any) -> CassettePlayer:
    return CassettePlayer(file, test="t", mode=mode, match="strict", normalise=Normaliser())


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", ASK)
def test_the_sdk_cannot_tell_the_difference(
    gateway: Gateway,
    client_of: Callable[[str, Lane], Any],
    tmp_path: Path,
    kind: str,
    streamed: bool,
) -> None:
    ask, file = ASK[kind], tmp_path / "cassette.json"
    with serving(Provider(lambda _: REPLY, pause=0.001)) as provider:
        direct = ask(client_of(kind, provider), streamed)
        live = gateway.open_lane(upstream_of(provider))
        assert ask(client_of(kind, live), streamed) == direct
        player = new_player(file, "once")
        recorded = gateway.open_lane(player.source("1", upstream_of(provider)))
        assert ask(client_of(kind, recorded), streamed) == direct
        assert player.save("m") == ""
    player = new_player(file, "none")
    replayed = gateway.open_lane(player.source("1", None))
    assert ask(client_of(kind, replayed), streamed) == direct
    player.verify()
    lanes = (live, recorded, replayed)
    assert [lane.calls[0].origin for lane in lanes] == ["live", "recorded", "replayed"]
    usages = [lane.calls[0].usage for lane in lanes]
    assert usages[0] == usages[1] == usages[2]
    # OpenAI's chat streams say what they cost only where they are asked to.
    assert (usages[0] is None) == (kind == "chat" and streamed)
    # The SDK's own form of an error, for what was not recorded.
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError), match="used up"):
        ask(client_of(kind, replayed), streamed)


def test_what_is_no_completion_is_passed_on_recorded_and_replayed(
    gateway: Gateway, connect: Connect, connect_anthropic: Connect, tmp_path: Path
) -> None:
    def ask(lane: Lane) -> list[Any]:
        client = connect(lane)
        embedding = client.embeddings.create(model="text-embedding-3-small", input="x")
        counted = connect_anthropic(lane).messages.count_tokens(
            model="claude-sonnet-5", messages=HELLO
        )
        models = [model.id for model in client.models.list()]
        return [embedding.data[0].embedding, counted.input_tokens, models]

    file = tmp_path / "cassette.json"
    with serving(Provider(lambda _: REPLY)) as provider:
        assert ask(gateway.open_lane(upstream_of(provider))) == [[0.5, 0.25], 42, ["gpt-4o"]]
        player = new_player(file, "once")
        assert ask(gateway.open_lane(player.source("1", upstream_of(provider))))[1] == 42
        assert player.save("m") == ""
    player = new_player(file, "none")
    assert ask(gateway.open_lane(player.source("1", None))) == [[0.5, 0.25], 42, ["gpt-4o"]]
    player.verify()
