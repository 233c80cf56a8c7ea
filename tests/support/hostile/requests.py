"""Requests to a running gateway as no client sends them: bytes, paths, headers and bodies."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.llm.budgets import Budget, Limits
from pytest_agent_sandbox.llm.calls import LLMCall
from pytest_agent_sandbox.llm.cassettes.canonical import canonical
from pytest_agent_sandbox.llm.cassettes.cassette import Interaction, Interactions, RecordedAnswer
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
from pytest_agent_sandbox.llm.cassettes.source import CassetteSource, PlayerState
from pytest_agent_sandbox.llm.dialects import DIALECTS
from pytest_agent_sandbox.llm.exchange import Source
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.observer import News
from pytest_agent_sandbox.llm.pipeline import Policy
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, say, tool, unchecked
from pytest_agent_sandbox.llm.script import Script
from pytest_agent_sandbox.llm.strict_json import read_object
from tests.llm.at_the_door import KEY, Door, opened
from tests.support.hostile import events
from tests.support.hostile.search import search

COMPLETIONS = [dialect.path for dialect in DIALECTS]
COUNTS = ["/messages/count_tokens", "/responses/input_tokens"]
PAID = {f"/api/v1{path}" for path in [*COMPLETIONS, "/embeddings", "/responses/compact"]}
FREE = {f"/api/v1{path}" for path in COUNTS}
_MODELS = re.compile(r"/api/v1/models(/[A-Za-z0-9._~:@+=,-]+){0,2}")

#: Seconds that no request takes.
LONG = 10.0
#: Seconds after which nothing more is expected.
_SILENCE = 0.3

_SIGNS = ["/v1", "/", "#", "?", "%2f", "%", "..", ".", "\\", ";", "\t", "é", "x", "v1", "//", "*"]
_PATHS = st.sampled_from([f"/v1{path}" for path in [*COMPLETIONS, *COUNTS, "/models"]])
_TARGETS = _PATHS | st.lists(
    st.sampled_from([*_SIGNS, *COMPLETIONS, *COUNTS, "/embeddings", "/models", "/files"])
    | st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=4),
    max_size=6,
).map("".join).map(lambda path: path or "/")
_METHODS = st.sampled_from(["POST"] * 6 + ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT"])

#: Names that a body of some dialect has, at any depth, to be met with values of the wrong types.
_FIELDS = [
    "model",
    "messages",
    "input",
    "system",
    "instructions",
    "tools",
    "stream",
    "content",
    "role",
    "type",
    "text",
    "function",
    "name",
    "arguments",
    "tool_calls",
    "id",
    "call_id",
    "output",
    "tool_choice",
    "metadata",
    "cache_control",
    "image_url",
    "url",
    "source",
    "data",
    "schema",
    "parameters",
    "properties",
    "required",
    "stream_options",
    "max_tokens",
    "n",
    "user",
    "$lines",
    "input_schema",
    "thinking",
    "reasoning",
    "web_search_options",
    "mcp_servers",
    "include",
    "media_type",
    "created_at",
    "headers",
    "authorization",
    "previous_response_id",
    "events",
]
_TEXTS = [
    "user",
    "assistant",
    "tool",
    "system",
    "text",
    "function",
    "m",
    "tool_result",
    "tool_use",
    "",
    "data:image/png;base64,AAAA",
    "base64",
    "image/png",
    "mcp",
    "web_search",
    "2024-01-01",
    *events.TEXTS,
]
_LEAVES = (
    st.sampled_from(_TEXTS)
    | st.sampled_from([0, 1, -1, 1.5, True, False, None, 10**30, 1_750_000_000])
    | st.text(max_size=5)
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=6)
    ),
    max_leaves=25,
)


@st.composite
def _bodies(draw: st.DrawFn) -> bytes:
    """Something like a request of a dialect, with something wrong in it; or anything."""
    body: Any = {
        "model": "gpt-4o",
        draw(st.sampled_from(["messages", "input"])): [
            {"role": "user", "content": "Hello."},
            {"role": draw(st.sampled_from(_TEXTS)), "content": draw(VALUES)},
        ],
        **draw(st.dictionaries(st.sampled_from(_FIELDS), VALUES, max_size=5)),
    }
    if draw(st.integers(0, 9)) == 0:
        body = draw(VALUES)
    text = json.dumps(body, ensure_ascii=draw(st.booleans()), default=str)
    odd = draw(
        st.sampled_from([""] * 6 + ['"model": 1, "model": 2, ', '"a": NaN, ', '"a": 1e999, '])
    )
    if odd:
        text = text.replace("{", "{" + odd, 1)
    if draw(st.integers(0, 19)) == 0:
        depth = draw(st.sampled_from([150, 250, 1500]))
        text = f'{{"messages": {"[" * depth}{"]" * depth}}}'
    data = text.encode("utf-8", "surrogatepass")
    for place, piece in draw(
        st.just([]) | st.lists(st.tuples(st.integers(0, 999), st.binary(max_size=3)), max_size=3)
    ):
        start = place % (len(data) + 1)
        data = data[:start] + piece + data[start + len(piece) :]
    return data


_HEADERS = st.sampled_from(
    [
        "Content-Type: application/json",
        "Content-Encoding: gzip",
        "Transfer-Encoding: chunked",
        "Content-Length: 0",
        "Content-Length: -5",
        "Content-Length: 99999999999",
        "Host: y",
        "Expect: 100-continue",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "X-Api-Key: other",
        "Authorization: Bearer x",
        "Authorization: Basic eA==",
        "anthropic-version: 2023-06-01",
        "X-Goog-Api-Key: x",
        "X-HTTP-Method-Override: DELETE",
        "X-Original-URL: /v1/files",
        ": x",
        " folded",
        "Name\x00: x",
        "A: ÿ",
        "Cookie: a=b",
        "Content-Type: multipart/form-data",
        "X",
        "Accept: text/event-stream",
        "TE: trailers",
        "Proxy-Authorization: x",
        "X: " + "y" * 70000,
    ]
)
_SOURCES = ("live", "script", "cassette")


@st.composite
def _requests(draw: st.DrawFn) -> bytes:
    """The bytes of a request; TOKEN stands for a lane's."""
    body = draw(_bodies())
    lines = [f"{draw(_METHODS)} {draw(_TARGETS)} HTTP/1.1"]
    lines += draw(st.sampled_from([["Host: x"]] * 5 + [[]]))
    lines += draw(
        st.sampled_from([["X-Api-Key: TOKEN"], ["Authorization: Bearer TOKEN"]] * 4 + [[]])
    )
    lines += draw(st.just([]) | st.lists(_HEADERS, max_size=3))
    lines.append("Connection: close")
    if draw(st.integers(0, 9)):
        lines.append(f"Content-Length: {len(body)}")
    request = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
    if draw(st.integers(0, 9)) == 0:
        for place, piece in draw(st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=3)))):
            start = place % (len(request) + 1)
            request = request[:start] + piece + request[start + len(piece) :]
    return request


#: By which lane, what is sent in one connection, and after how many bytes the answer is awaited.
CASES = st.tuples(st.sampled_from(_SOURCES), _requests(), st.just(0) | st.integers(0, 300))


class _Observer:
    """Writes down what it is told, as the evidence does."""

    def asked(self, call: LLMCall, news: News) -> None:
        json.dumps([call.path, call.model, news.messages, news.tools])

    def answered(self, call: LLMCall, answer: bytes) -> None:
        json.dumps([call.status, call.problem, call.duration])


class FailureLog(logging.Handler):
    """Keeps what is logged of failures."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.failures: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.levelno >= logging.ERROR:
            self.failures.append(logging.Formatter().format(record))


class Attack:
    """A running gateway with a lane of each kind, all of whose failures are seen."""

    def __init__(self, door: Door, log: FailureLog) -> None:
        self._door = door
        self._log = log
        self.script = Script([_reply] * 1_000_000)
        self._lanes = {
            "live": self._open(door.lane.source),
            "script": self._open(self.script),
            "cassette": self._open(_cassette()),
        }

    def _open(self, source: Source) -> Lane:
        policy = Policy(Budget("test", Limits(calls=10**9), self._door.ledger))
        return self._door._gateway.open_lane(source, policy=policy, observer=_Observer())

    def check(self, case: tuple[str, bytes, int]) -> None:
        """It answers without failing, and what reaches the provider was checked and paid for."""
        kind, request, pause = case
        seldom.begin_anew()
        lane = self._lanes[kind]
        upstream, paid = self._door._upstream, self._door.paid
        before, began = len(upstream.requests), time.process_time()
        answer = self._send(request.replace(b"TOKEN", lane.token.encode()), pause)
        assert time.process_time() - began < LONG
        assert not self._log.failures, self._log.failures
        self.script.check()
        statuses = [int(found) for found in re.findall(rb"(?m)^HTTP/1\.1 (\d{3})", answer)]
        assert all(status < 500 for status in statuses), answer
        reached = upstream.requests[before:]
        assert kind == "live" or not reached
        for method, target, headers, body in reached:
            self._check_reached(method, target, body)
            assert lane.token not in str(headers)
            assert KEY in (headers.get("authorization", "")[7:], headers.get("x-api-key"))
        assert self._door.paid - paid >= sum(target in PAID for _, target, _, _ in reached)
        del upstream.requests[:]

    def _check_reached(self, method: str, target: str, body: bytes) -> None:
        path = target.partition("?")[0]
        if method == "GET":
            assert _MODELS.fullmatch(path)
            assert body == b""
        else:
            assert method == "POST"
            assert path in PAID | FREE
            assert read_object(body)[1] == body
            assert not self._door.lane.policy.provider_tools

    def _send(self, request: bytes, pause: int) -> bytes:
        answer = b""
        where = ("127.0.0.1", self._door._gateway.port)
        with contextlib.suppress(OSError), socket.create_connection(where, timeout=_SILENCE) as end:
            if pause:
                end.sendall(request[:pause])
                end.settimeout(_SILENCE / 10)
                with contextlib.suppress(TimeoutError):
                    answer += end.recv(65536)
                end.settimeout(_SILENCE)
            end.sendall(request[pause:])
            while data := end.recv(65536):
                answer += data
        return answer


def _reply(request: LLMRequest) -> Reply:
    """Read all that a test's function may read."""
    assert isinstance(request.last_message + request.system_prompt + request.model, str)
    assert request.length
    return say("Hello.", unchecked(tool("terminal", command="ls")))


def _cassette() -> CassetteSource:
    """Two recordings to compare everything with."""
    turns = [{"role": "user", "content": "Hello."}, {"role": "tool", "content": [{"text": "x"}]}]
    body = {"model": "gpt-4o", "messages": turns}
    request = canonical("openai-chat", "POST", "/chat/completions", body, Normaliser())
    answer = RecordedAnswer(200, {"content-type": "application/json"}, None, 1, {"ok": True})
    recorded = Interactions([Interaction(request, answer)] * 2)
    state = PlayerState("x.json", True, 1, False, "lenient", Normaliser(), "pytest")
    return CassetteSource(state, "1", recorded.stored, None)


@contextlib.contextmanager
def attacked() -> Iterator[Attack]:
    log = FailureLog()
    logging.getLogger().addHandler(log)
    try:
        with opened() as door:
            yield Attack(door, log)
        assert not log.failures, log.failures
    finally:
        logging.getLogger().removeHandler(log)


def run(seed: int, count: int) -> None:
    """Send so many."""
    with attacked() as attack:
        search(CASES, attack.check, seed=seed, count=count)
