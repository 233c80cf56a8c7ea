"""A server that means harm: clear errors, in time, and nothing written where it does not belong."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import random
import socket
import socketserver
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_agent_sandbox.client import (
    answers,
    command_wrapper,
    commands,
    conversation_feed,
    event_socket,
    pages,
    response_bodies,
    sockets,
    stream,
    transport,
)
from pytest_agent_sandbox.client.agents import LLM, default_agent
from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import SandboxError, ServerError
from tests.support.hostile import events as hostile
from tests.support.timing import eventually

from .fake_server import STATE, FakeServer, Following, fact

KEY = "the-session-key-of-this-test"


def test_events_and_frames() -> None:
    """For longer: scripts/fuzz events."""
    hostile.run(seed=0, count=20_000)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(st.sampled_from(hostile.FIELDS), json_values), max_size=5))
def test_any_json_is_an_event(events: list[dict[str, Any]]) -> None:
    client = hostile.Client()
    for event in events:
        client.take({**event, "kind": "ActionEvent"})
        client.take(event)
    client.ask()


@given(st.binary() | st.text())
def test_any_bytes_are_json_or_no_json(data: bytes | str) -> None:
    with contextlib.suppress(ValueError):
        json.dumps(answers.decode(data), ensure_ascii=False).encode()


class HostileServer:
    """Answers every request with the next of some bytes, the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[bytes | Callable[[socket.socket], None]] = [b""]
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                received = b""
                while b"\r\n\r\n" not in received:
                    data = self.request.recv(65536)
                    if not data:
                        return
                    received += data
                answer = outer.answers[0]
                if len(outer.answers) > 1:
                    outer.answers.pop(0)
                with contextlib.suppress(OSError):
                    answer(self.request) if callable(answer) else self.request.sendall(answer)
                    self.request.shutdown(socket.SHUT_WR)
                    while self.request.recv(65536):
                        pass

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.host = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HostileServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileServer]:
    monkeypatch.setattr(transport, "_RETRY_DELAYS", (0.0,))
    monkeypatch.setattr(conversation_feed, "_READY_TIMEOUT", 1.0)  # it asks again for that long
    with HostileServer() as server:
        yield server


@pytest.fixture
def workspace(server: HostileServer) -> Iterator[RemoteWorkspace]:
    with RemoteWorkspace(server.host, KEY, "/workspace/project") as workspace:
        yield workspace


def http(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*head, *headers, "", ""]).encode() + body


def as_json(value: object) -> bytes:
    return http(json.dumps(value).encode(), "Content-Type: application/json")


def calls(workspace: RemoteWorkspace, folder: Path) -> dict[str, Callable[[], object]]:
    """All that a test asks of a server."""
    agent = default_agent(LLM(model="x"))
    return {
        "server_info": workspace.server_info,
        "execute_command": lambda: workspace.execute_command("ls", timeout=0.2),
        "read_bytes": lambda: workspace.read_bytes("a"),
        "write_text": lambda: workspace.write_text("a", "x"),
        "download": lambda: workspace.download("a", folder / "down"),
        "upload": lambda: workspace.upload(folder, "up"),
        "git_changes": workspace.git_changes,
        "git_diff": lambda: workspace.git_diff("a"),
        "snapshot": workspace.snapshot,
        "changes_as_diff": workspace.changes_as_diff,
        "alive": workspace.alive,
        "conversation": lambda: RemoteConversation(workspace, agent).close(),
        "attach": lambda: RemoteConversation.attach(workspace, "x").close(),
    }


def error_of(call: Callable[[], object]) -> str:
    try:
        call()
    except (SandboxError, OSError, AssertionError) as error:
        return str(error)
    return ""


DEEP = b"[" * 100_000 + b"]" * 100_000
WRONG = [
    None,
    [],
    "text",
    7,
    {},
    {"id": None},
    {"id": "../../x"},
    {"id": "a\r\nb: c"},
    {"id": {"id": "x"}},
    {"items": 7},
    {"items": None, "next_page_id": []},
    {"id": "x", "items": ["text"], "next_page_id": {}},
    {"id": "x", "items": [{"exit_code": "0", "order": 1}]},
    {"id": "x", "items": [{"exit_code": 0, "order": "first"}]},
    {"id": "x", "items": [{"exit_code": 0, "order": None, "stdout": {"a": 1}}]},
    {"id": "x", "items": [{"exit_code": 0, "order": 1, "stdout": "é-\ud800- . .\n"}]},
    {"id": "x", "items": [{"exit_code": 0, "order": 1, "stdout": "--x .\n"}]},
    {"id": "x", "items": [{"exit_code": 0, "order": 1, "stdout": "-- 99999999999999999 .\n"}]},
    {"id": "x", "items": [{"exit_code": 0, "order": 0, "stderr": "Error executing command:"}]},
    {"id": "x", "items": [], "next_page_id": "x"},
    {"id": "x", "execution_status": {"a": []}, "stats": [1]},
    {"detail": [{"loc": 7}, "x", {"loc": ["a", {}], "msg": None}], "exception": 7},
]
ANSWERS = {
    **{json.dumps(value)[:60]: as_json(value) for value in WRONG},
    "deep": http(DEEP),
    "no HTTP": b"\x00\xff" * 1000,
    "nothing": b"",
    "half": http(b"{", length=1000),
    "no JSON": http(b"<html>"),
    "no UTF-8": http(b'{"id": "\xff\xfe"}'),
    "a long number": http(b'{"id": ' + b"9" * 10_000 + b"}"),
    "no gzip": http(b"\x00\x01", "Content-Encoding: gzip"),
    "large head": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
    "elsewhere": http(b"", "Location: file:///etc/passwd", status="302 Found"),
    "error": http(json.dumps(WRONG[-1]).encode(), status="500 x"),
    "key": http(f'{{"detail": "{KEY}"}}'.encode(), status="422 x"),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_what_is_no_answer_is_an_error_of_the_server(
    server: HostileServer, workspace: RemoteWorkspace, tmp_path: Path, answer: bytes
) -> None:
    before = threading.active_count()
    server.answers = [answer]
    for name, call in calls(workspace, tmp_path).items():
        began = time.monotonic()
        assert KEY not in error_of(call), name
        assert time.monotonic() - began < 5, name
    assert set(tmp_path.rglob("*")) <= {tmp_path / "down"}
    eventually(lambda: threading.active_count() <= before + 2, timeout=5)


def test_a_server_that_makes_things_up(
    server: HostileServer, workspace: RemoteWorkspace, tmp_path: Path
) -> None:
    source = random.Random(3)
    server.answers = [as_json(hostile.value(source, depth=4)) for _ in range(3000)]
    for _ in range(40):
        for name, call in calls(workspace, tmp_path).items():
            if name not in ("conversation", "attach"):
                with contextlib.suppress(SandboxError, OSError, AssertionError):
                    call()
    assert set(tmp_path.rglob("*")) <= {tmp_path / "down"}


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")


def dripping(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


def test_an_answer_without_end(
    server: HostileServer, workspace: RemoteWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_bodies, "_LARGEST_BODY", 10_000_000)
    server.answers = [endless]
    with pytest.raises(ServerError, match="was answered with over 10,000,000 bytes"):
        workspace.read_bytes("a")
    server.answers = [http(gzip.compress(bytes(200_000_000), 6), "Content-Encoding: gzip")]
    for call in (lambda: workspace.read_bytes("a"), lambda: workspace.download("a", Path("b"))):
        with pytest.raises(ServerError, match="in the encoding 'gzip', which was not asked for"):
            call()
    monkeypatch.setattr(response_bodies, "_LARGEST_JSON", 1000)
    server.answers = [http(b" " * 2000)]
    with pytest.raises(ServerError, match="was answered with 2,000 bytes of JSON"):
        workspace.server_info()
    monkeypatch.setattr(response_bodies, "_LONGEST_ANSWER", 0.5)
    server.answers = [dripping]
    began = time.monotonic()
    with pytest.raises(ServerError, match=r"was still answering after 0\.5 s"):
        workspace.server_info()
    assert time.monotonic() - began < 3


def test_heads_without_end(
    server: HostileServer, workspace: RemoteWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def informing(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            time.sleep(0.01)

    asked = []
    monkeypatch.setattr(workspace.connection, "_guard", lambda: asked.append(1))
    monkeypatch.setattr(sockets, "LONGEST_REQUEST", 1.0)
    server.answers = [informing]
    began = time.monotonic()
    with pytest.raises(ServerError, match="it took over 1 s"):
        workspace.connection.request("GET", "/server_info")
    assert time.monotonic() - began < 5
    assert len(asked) >= 3, "the container may be gone meanwhile"


def test_pages_without_end(
    server: HostileServer, workspace: RemoteWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_MOST_PAGES", 50)
    started = as_json({"id": "x"})
    info = as_json({"version": "1.58.0"})
    endless = [as_json({"items": [], "next_page_id": f"{number}"}) for number in range(200)]
    server.answers = [info, started, *endless]
    with pytest.raises(ServerError, match="was answered with over 50 pages"):
        workspace.execute_command("ls")
    server.answers = [started, as_json({"items": [], "next_page_id": "again"})]
    with pytest.raises(ServerError, match="pages that do not end"):
        workspace.execute_command("ls")


def command(stdout: bytes = b"", exit_code: int = 0) -> list[bytes]:
    """The answers to a command's start and to the question for its output."""
    kept = b"<" + stdout + b">" + b"<" + b"!"
    printed = f"{base64.b64encode(kept).decode()}\n- {exit_code} .\n"
    output = {"exit_code": 0, "order": 0, "stdout": printed}
    return [as_json({"id": "x"}), as_json({"items": [output]})]


def member(name: str, **fields: Any) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(found, field, value)
    return found


def test_an_archive_that_leads_elsewhere(
    server: HostileServer,
    workspace: RemoteWorkspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole way of a download; which members are left out is tested with `files`."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for hostile_member in (
            member("../outside"),
            member("/outside"),
            member("a/../../outside"),
            member("link", type=tarfile.SYMTYPE, linkname="../.."),
            member("link/outside"),
            member("hard", type=tarfile.LNKTYPE, linkname="../../outside"),
            member("device", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
            member("fifo", type=tarfile.FIFOTYPE),
            member("suid", mode=0o6777),
            member("good"),
        ):
            tar.addfile(hostile_member, io.BytesIO(b""))
    marked = partial(command_wrapper.Wrapper, first="<", last=">", last_of_errors="!")
    monkeypatch.setattr(commands, "Wrapper", marked)
    info = as_json({"version": "1.58.0"})
    a_folder = command(b"41ed\nreadable\n")
    ready = [*command(), *command()]  # a place for the archive, and the archive
    server.answers = [info, *a_folder, *ready, http(archive.getvalue()), *command()]
    folder = tmp_path / "inside" / "down"
    workspace.download("a", folder)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "down",
        "good",
        "inside",
        "link",
        "outside",
        "suid",
    ]
    assert (folder / "link").is_dir()
    assert not (folder / "link").is_symlink()
    assert (folder / "suid").stat().st_mode & 0o7000 == 0


@pytest.mark.parametrize("text", ["", "one", "1 2 3", "x\ny\n", "\x00"])
def test_something_in_the_place_of_git(
    server: HostileServer, workspace: RemoteWorkspace, text: str
) -> None:
    answer = command(text.encode())
    for call in (workspace.git_changes, workspace.snapshot, workspace.changes_as_diff):
        server.answers = answer * 60
        with contextlib.suppress(SandboxError):
            call()


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


def test_a_frame_of_100_megabytes(fake: FakeServer) -> None:
    fake.frames = [[STATE | {"value": {"text": "x" * 100_000_000}}, fact(0)]]
    with Following(fake) as following:
        eventually(lambda: "e0" in following.ids, timeout=60)
    assert fake.connections == 1


def test_a_frame_that_is_too_large_is_not_read(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_socket, "_MAX_FRAME", 1_000_000)
    fake.frames = [[STATE, "x" * 5_000_000], [STATE, fact(0)]]
    with Following(fake) as following:
        eventually(lambda: "e0" in following.ids)
    assert fake.connections == 2


def test_a_server_that_sends_without_end(fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_MOST_BYTES", 1_000_000)
    flood = [{"kind": "StreamingDeltaEvent", "content": "x" * 10_000} for _ in range(1000)]
    fake.frames = [[STATE, *flood]]
    with Following(fake) as following:
        eventually(lambda: not following.stream._thread.is_alive())
        with pytest.raises(SandboxError, match="has sent over 1,000,000 bytes of events"):
            following.stream.check()
    assert len(following.received) < 110


@pytest.mark.parametrize("seed", range(3))
def test_frames_of_any_kind(fake: FakeServer, seed: int) -> None:
    source = random.Random(seed)
    frames: list[Any] = [STATE]
    for _ in range(300):
        frame = json.dumps(hostile.event(source))
        frames.append(
            frame[: source.randrange(len(frame) + 1)] if source.randrange(3) == 0 else frame
        )
    deep = "[" * 100_000
    fake.frames = [[*frames, deep, fact(0)]]
    with Following(fake) as following:
        eventually(lambda: "e0" in following.ids, timeout=20)
    assert fake.connections == 1
