"""Files in the place of cassettes that no recording has made."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from pytest_agent_sandbox.errors import CassetteError, SandboxError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.llm.cassettes.cassette import FORMAT, VERSION, Cassette
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
from pytest_agent_sandbox.llm.cassettes.player import CassettePlayer
from pytest_agent_sandbox.llm.gateway import Gateway
from tests.support.hostile.archives import Watched, damaged
from tests.support.hostile.requests import LONG, VALUES, FailureLog
from tests.support.hostile.search import search

ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello."}]}
_LONGEST = 2000
_HEAD = {"status": 200, "headers": {"content-type": "application/json"}, "cost": 0.1, "ms": 5}
_STREAM = {**_HEAD, "headers": {"content-type": "text/event-stream"}}
_PLACE = {"dialect": "openai-chat", "method": "POST", "path": "/chat/completions"}
_SAID = {"choices": [{"message": {"role": "assistant", "content": "Hi."}}], "usage": {}}
_TURN = {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "e"}}]}
_MARK = {"at": [1, 0], "is": {"type": "ephemeral"}}
#: Interactions of each form that there is.
_INTERACTIONS = [
    {"request": {**_PLACE, "body": ASKED}, "answer": {**_HEAD, "body": _SAID}},
    {
        "request": {**_PLACE, "continues": 1, "new": {"messages": [_TURN]}, "marks": [_MARK]},
        "answer": {**_STREAM, "events": [{"ms": 1, "event": "a", "data": _SAID}]},
    },
    {
        "request": {**_PLACE, "body": "no JSON"},
        "answer": {**_HEAD, "base64": "/wA=", "status": 429},
    },
    {
        "request": {**_PLACE, "method": "GET", "path": "/models", "body": ""},
        "answer": {**_HEAD, "body": {"$lines": ["a", "b"]}},
    },
]
WHOLE = {
    "format": FORMAT,
    "version": VERSION,
    "test": "tests/test_x.py::test_y",
    "model": "openai/gpt-4o",
    "lanes": {"1": _INTERACTIONS},
}

_ODD = VALUES | st.sampled_from(
    [
        -1,
        0,
        2,
        99,
        1000,
        2**70,
        1e308,
        float("nan"),
        float("inf"),
        "\r\nA: b",
        "a\nb",
        "�",
        {"a\r\nb": "c"},
        {"content-length": "5"},
        {"transfer-encoding": "chunked"},
        {"": ""},
        {"content-type": "é€"},
        {"content-length": "-1"},
        {"content-encoding": "gzip"},
        "/" * 9000,
        "../../../../a",
        "\x00",
        {"$lines": [1]},
        {"$lines": "ab"},
        {"at": [], "is": 1},
        [[]],
        {},
        {"messages": []},
        {"input": [1]},
        {"messages": [], "input": []},
        {"connection": "close"},
    ]
)


@st.composite
def _files(draw: st.DrawFn) -> bytes:
    """A cassette with something wrong in it, or anything."""
    if draw(st.integers(0, 19)) == 0:
        return draw(
            st.binary()
            | st.sampled_from(
                [
                    b"[" * 100000,
                    b'{"a":' * 100000,
                    b"9" * 5000,
                    b"\xef\xbb\xbf{}",
                    b"\xff\xfe{\x00",
                    b"<<<<<<< HEAD\n",
                    b"version https://git-lfs.github.com/spec/v1",
                    b"\x00" * 100,
                ]
            )
        )
    content: Any = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(1, 3))):
        _spoil(draw, content)
    text = json.dumps(content, ensure_ascii=draw(st.booleans()))
    data = text.encode("utf-8", "surrogatepass")
    return damaged(data, draw(st.just([]) | st.lists(st.tuples(st.integers(0, 3000), st.binary()))))


def _spoil(draw: st.DrawFn, content: Any) -> None:
    """Change one thing at a random depth."""
    while content:
        names = list(content) if isinstance(content, dict) else range(len(content))
        name = draw(st.sampled_from(names))
        inner = content[name]
        if not (isinstance(inner, dict | list) and inner) or draw(st.integers(0, 4)) == 0:
            break
        content = inner
    else:
        return
    change = draw(st.integers(0, 5))
    if change == 0:
        del content[name]
    elif change == 1 and isinstance(content, list):
        content.extend(copy.deepcopy(content))
    else:
        content[name] = copy.deepcopy(draw(_ODD))


#: The file, the mode of the player, and how it finds recordings.
CASES = st.tuples(
    _files(), st.sampled_from(["none", "new_episodes"]), st.sampled_from(["strict", "lenient"])
)


class Shelf:
    """A gateway that replays files, all of whose failures are seen."""

    def __init__(self, gateway: Gateway, log: FailureLog) -> None:
        self._gateway = gateway
        self._log = log

    def check(self, case: tuple[bytes, Any, Any]) -> None:
        """A file is a clear error or replayed, and nothing else is written."""
        seldom.begin_anew()
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            watched = Watched(Path(folder))
            file = watched.target / "test_y.json"
            file.write_bytes(case[0])
            try:
                self._play(file, *case[1:])
            except CassetteError as error:
                told = len(str(error))
                assert told < _LONGEST + len(str(file))
            watched.check()
            assert {path.name for path in watched.target.iterdir()} == {file.name}
        assert not self._log.failures, self._log.failures
        assert time.process_time() - began < LONG

    def _play(self, file: Path, mode: Any, match: Any) -> None:
        player = CassettePlayer(file, test="t", mode=mode, match=match, normalise=Normaliser())
        with self._gateway.open_lane(player.source("1", None)) as lane:
            turns = [*ASKED["messages"], _TURN]
            for body in (ASKED, {**ASKED, "messages": turns}, {"model": "other"}):
                data = json.dumps(body).encode()
                self._ask(lane.token, b"POST /v1/chat/completions", data)
            self._ask(lane.token, b"GET /v1/models", b"")
        with contextlib.suppress(CassetteError):
            player.check()
        with contextlib.suppress(SandboxError):
            player.verify()
        assert isinstance(player.drift, list)
        player.save("openai/gpt-4o")
        Cassette.load(file)

    def _ask(self, token: str, line: bytes, body: bytes) -> None:
        head = b"%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Api-Key: %s\r\nContent-Length: %d"
        received = b""
        with socket.create_connection(("127.0.0.1", self._gateway.port), timeout=10) as end:
            end.sendall(head % (line, token.encode(), len(body)) + b"\r\n\r\n" + body)
            with contextlib.suppress(ConnectionError):
                while data := end.recv(65536):
                    received += data
        assert received.startswith(b"HTTP/1.1 ")


@contextlib.contextmanager
def opened() -> Iterator[Shelf]:
    log = FailureLog()
    logging.getLogger().addHandler(log)
    try:
        with Gateway() as gateway:
            yield Shelf(gateway, log)
    finally:
        logging.getLogger().removeHandler(log)


def run(seed: int, count: int) -> None:
    """Load and replay so many."""
    with opened() as shelf:
        search(CASES, shelf.check, seed=seed, count=count)
