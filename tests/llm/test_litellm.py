"""LiteLLM, by which most agents call their LLM, as a client of the scripted gateway.

It works in a process of its own, which is what this file is when it is run as a program: it leaves
threads, sockets and an event loop behind, and warns of what it does itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from pytest_agent_sandbox.llm import models
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
from pytest_agent_sandbox.llm.cassettes.player import CassettePlayer
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.live import LiveSource
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, Usage, error, say
from pytest_agent_sandbox.llm.script import Script
from tests.support.unchecked import tool

#: Calls one of LiteLLM's functions; what came of it.
Ask = Callable[..., Any]

CHAT, ANTHROPIC = "openai/gpt-4o", "anthropic/claude-sonnet-4-5"
PATHS = {CHAT: "/chat/completions", ANTHROPIC: "/messages"}
HELLO = {"role": "user", "content": "hello"}
TEXT = "A text that is longer than one chunk: grüße, 你好, 🎉."
REASONING = "I think about it. " * 5
ARGUMENTS = {"command": "ls " * 20}
EVERYTHING = say(
    TEXT, tool("terminal", **ARGUMENTS), tool("b"), reasoning=REASONING, usage=Usage(90, 30, 60)
)
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "terminal", "parameters": SCHEMA}}


class LiteLLMError(Exception):
    """The name of the exception that LiteLLM raised, its status and what it says."""


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    # By default it gets its prices, and the betas of Anthropic, from the internet.
    offline = ("LITELLM_LOCAL_MODEL_COST_MAP", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS")
    with subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | dict.fromkeys(offline, "True"),
    ) as process:
        assert process.stdin
        assert process.stdout
        wishes, answers = process.stdin, process.stdout

        def ask(function: str, lane: Lane, model: str, **arguments: Any) -> Any:
            to = {"api_base": lane.base_url("127.0.0.1", model), "api_key": lane.token}
            common = {"model": model, "timeout": 20, "max_retries": 0, **to}
            wishes.write(json.dumps([function, common | arguments]) + "\n")
            wishes.flush()
            answer = json.loads(answers.readline())
            assert answer["strangers"] == [], "LiteLLM must not reach for the internet"
            if "raised" in answer:
                raise LiteLLMError(*answer["raised"])
            return answer["returned"]

        yield ask


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", PATHS)
def test_completions(gateway: Gateway, ask: Ask, model: str, stream: bool) -> None:
    lane = gateway.open_lane(Script([EVERYTHING]))
    more = {"stream_options": {"include_usage": True}} if stream else {}

    answer = ask("completion", lane, model, messages=[HELLO], tools=[TOOL], stream=stream, **more)

    choice, usage = answer["choices"][0], answer["usage"]
    message = choice["message"]
    assert (message["content"], message["reasoning_content"]) == (TEXT, REASONING)
    assert choice["finish_reason"] == "tool_calls"
    one, two = message["tool_calls"]
    assert (one["function"]["name"], two["function"]["name"]) == ("terminal", "b")
    assert json.loads(one["function"]["arguments"]) == ARGUMENTS
    assert json.loads(two["function"]["arguments"]) == {}
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (90, 30)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 60
    call = lane.calls[0]
    assert (call.path, call.status, call.streamed) == (PATHS[model], 200, stream)
    assert call.usage == Usage(90, 30, 60)
    lane.verify()


@pytest.mark.parametrize("stream", [False, True])
def test_responses(gateway: Gateway, ask: Ask, stream: bool) -> None:
    lane = gateway.open_lane(Script([EVERYTHING]))
    given = {"type": "function", "name": "terminal", "parameters": SCHEMA}

    answer = ask("responses", lane, "openai/gpt-5", input="hello", tools=[given], stream=stream)

    reasoning, message, one, two = answer["output"]
    assert reasoning["summary"] == [{"type": "summary_text", "text": REASONING}]
    assert message["content"][0]["text"] == TEXT
    assert (one["name"], json.loads(one["arguments"])) == ("terminal", ARGUMENTS)
    assert (two["name"], json.loads(two["arguments"])) == ("b", {})
    assert answer["status"] == "completed"
    call = lane.calls[0]
    assert (call.path, call.status, call.streamed) == ("/responses", 200, stream)
    assert call.usage == Usage(90, 30, 60)
    lane.verify()


def test_every_prefix_that_is_let_through_comes_here(gateway: Gateway, ask: Ask) -> None:
    prefixes = sorted(models._AS_OPENAI - {"openhands"})  # which is the agent server's own
    strays = []
    for prefix in prefixes:
        model = f"{prefix}/some-model"
        lane = gateway.open_lane(Script([say("Hello.")]))
        try:
            answer = ask("completion", lane, model, messages=[HELLO])
            said = answer["choices"][0]["message"]["content"]
        except LiteLLMError as problem:
            # It does not read the answer of a Groq that leaves out a field.
            said = "Hello." if "service_tier" in str(problem) else str(problem)
        if said != "Hello." or [call.path for call in lane.calls] != ["/chat/completions"]:
            strays.append((prefix, said, lane.calls))
    assert strays == []
    assert len(prefixes) > 50


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", PATHS)
def test_a_provider_behind_the_gateway(
    gateway: Gateway, ask: Ask, tmp_path: Path, model: str, stream: bool
) -> None:
    from tests.support.provider import Provider, serving  # not when this file is run as a program

    def said(lane: Lane) -> Any:
        answer = ask("completion", lane, model, messages=[HELLO], tools=[TOOL], stream=stream)
        message = answer["choices"][0]["message"]
        return message["content"], message["tool_calls"][0]["function"]["arguments"]

    def player(mode: Any) -> CassettePlayer:
        file = tmp_path / "cassette.json"
        return CassettePlayer(file, test="t", mode=mode, match="strict", normalise=Normaliser())

    with serving(Provider(lambda _: EVERYTHING)) as provider:
        upstream = LiveSource(provider.base_url("127.0.0.1"), SecretStr(provider.token))
        live, recording = gateway.open_lane(upstream), player("once")
        recorded = gateway.open_lane(recording.source("1", upstream))
        assert said(live) == said(recorded) == (TEXT, json.dumps(ARGUMENTS))
        assert recording.save(model) == ""
    playing = player("none")
    assert said(gateway.open_lane(playing.source("1", None))) == (TEXT, json.dumps(ARGUMENTS))
    playing.verify()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", PATHS)
def test_a_tool_call_goes_there_and_back(
    gateway: Gateway, ask: Ask, model: str, stream: bool
) -> None:
    def repeat(request: LLMRequest) -> Reply:
        return say(f"It printed {request.last_message}")

    call = say("", tool("terminal", command="ls"), reasoning=REASONING)
    lane = gateway.open_lane(Script([call, repeat]))
    first = ask("completion", lane, model, messages=[HELLO], tools=[TOOL], stream=stream)
    message = first["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "a.txt"}
    turns = [HELLO, message, result]
    second = ask("completion", lane, model, messages=turns, tools=[TOOL], stream=stream)
    assert second["choices"][0]["message"]["content"] == "It printed a.txt"
    assert second["choices"][0]["finish_reason"] == "stop"
    lane.verify()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", PATHS)
def test_an_answer_that_is_cut_off(gateway: Gateway, ask: Ask, model: str, stream: bool) -> None:
    lane = gateway.open_lane(Script([say("Cut o", finish_reason="length")]))
    answer = ask("completion", lane, model, messages=[HELLO], stream=stream)
    assert answer["choices"][0]["finish_reason"] == "length"


ERRORS = [
    (400, "BadRequestError"),
    (401, "AuthenticationError"),
    (404, "NotFoundError"),
    (429, "RateLimitError"),
    (500, "InternalServerError"),
    (503, "ServiceUnavailableError"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("function", "model", "asked"),
    [
        ("completion", CHAT, {"messages": [HELLO]}),
        ("completion", ANTHROPIC, {"messages": [HELLO]}),
        ("responses", "openai/gpt-5", {"input": "hello"}),
    ],
)
def test_errors(
    gateway: Gateway, ask: Ask, function: str, model: str, asked: dict[str, Any], stream: bool
) -> None:
    lane = gateway.open_lane(Script([error(status, f"not {status}") for status, _ in ERRORS]))
    for status, name in ERRORS:
        with pytest.raises(LiteLLMError, match=f"not {status}") as failed:
            ask(function, lane, model, **asked, stream=stream)
        assert failed.value.args[:2] == (name, status)
    lane.verify()


def serve() -> None:
    """Make the calls that come in, and tell what came of each."""
    strangers: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            note(arguments[0])
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            note(arguments[1][0])

    def note(host: Any) -> None:
        if host not in {"127.0.0.1", b"127.0.0.1"}:
            strangers.append(str(host))

    sys.addaudithook(watch)
    answers, sys.stdout = sys.stdout, sys.stderr  # LiteLLM prints
    for line in sys.stdin:
        answer = attempt(*json.loads(line)) | {"strangers": strangers}
        print(json.dumps(answer), file=answers, flush=True)


def attempt(function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    import litellm

    try:
        answer = getattr(litellm, function)(**arguments)
        if arguments.get("stream"):
            parts = list(answer)
            is_chat = function == "completion"
            answer = litellm.stream_chunk_builder(parts) if is_chat else parts[-1].response
    except Exception as failure:  # noqa: BLE001 - the test looks at it
        status = getattr(failure, "status_code", None)
        return {"raised": [type(failure).__name__, status, str(failure)]}
    return {"returned": answer.model_dump(mode="json")}


if __name__ == "__main__":
    serve()
