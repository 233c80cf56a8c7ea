"""Engines whose published ports are out of reach."""

from __future__ import annotations

import asyncio
import platform
import socket
import time
from pathlib import Path

import pytest

from pytest_agent_sandbox.containers import engine as engine_module
from pytest_agent_sandbox.containers import surroundings
from pytest_agent_sandbox.containers.endpoints import Endpoint
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.host.multiplexer import Ends
from tests.support.fake_engine import VERSION, reply, serving

from .starting import Start

ID = "c39a8659951e1a412ecbbb68864d39ca5aa295719aff917f011f77e5f18ea5c0"
DOCKER = f"446 420 254:0 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/vda"
PODMAN = f"9 4 0:24 /containers/overlay-containers/{ID}/userdata/hosts /etc/hosts rw - tmpfs tmpfs"
BESIDE = f"9 4 0:24 /var/lib/docker/containers/{ID}/mounts/shm /dev/shm rw - tmpfs shm"


@pytest.mark.parametrize(("mounts", "found"), [(DOCKER, ID), (PODMAN, ID), (BESIDE, None)])
def test_the_container_that_this_process_is_in(
    mounts: str, found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mountinfo"
    monkeypatch.setattr(surroundings, "_MOUNTS", file)
    assert surroundings.own_container() is None  # not Linux
    file.write_text(f"1 2 0:3 / / rw - overlay overlay\n{mounts} rw\n")
    assert surroundings.own_container() == found


def again(engine: ContainerEngine, address: str | None = None) -> ContainerEngine:
    """The same engine, which has to find out anew; it is not to be closed."""
    return ContainerEngine(engine.client, Endpoint(address or engine.endpoint, "test"))


def test_an_engine_beside_this_process(engine: ContainerEngine) -> None:
    assert not again(engine).is_apart


@pytest.mark.parametrize("address", ["tcp://192.0.2.1:2376", "ssh://me@build.example"])
def test_an_engine_on_another_machine(engine: ContainerEngine, address: str) -> None:
    assert again(engine, address).is_apart


@pytest.mark.parametrize(
    ("mode", "is_apart"), [(None, True), ("none", True), ("host", False), ("unknown", False)]
)
def test_a_process_in_a_container_of_the_engine(
    mode: str,
    is_apart: bool,
    engine: ContainerEngine,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = ID if mode == "unknown" else start("sleep 60", network=mode).id
    monkeypatch.setattr(engine_module, "own_container", lambda: own)
    assert again(engine).is_apart is is_apart


HERE, ELSEWHERE = "127.0.0.1", "203.0.113.1"
ROOTFUL = ["name=seccomp,profile=builtin", "name=cgroupns"]
# Its bridge has the address of the rootful one beside it.
ROOTLESS = [*ROOTFUL, "name=rootless"]


@pytest.mark.parametrize(
    ("gateway", "info", "is_apart"),
    [
        (HERE, {"Name": socket.gethostname()}, False),
        (ELSEWHERE, {"Name": socket.gethostname()}, True),
        (HERE, {"Name": socket.gethostname(), "SecurityOptions": ROOTLESS}, True),
        (HERE, {"Name": socket.gethostname(), "SecurityOptions": ROOTFUL}, False),
        (HERE, {"Name": socket.gethostname(), "SecurityOptions": None}, False),
        (HERE, {"Name": "lima-docker", "SecurityOptions": ROOTLESS}, False),
        (HERE, {"Name": "another"}, True),  # a port that is forwarded to another machine
        (ELSEWHERE, {"Name": "docker-desktop"}, False),
        (None, {"Name": socket.gethostname()}, False),
    ],
)
def test_an_engine_at_an_address_of_this_machine(
    gateway: str | None, info: dict[str, object], is_apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "_MARKS", ())
    assert is_taken_for_apart(gateway, info) is is_apart


@pytest.mark.parametrize("mark", [".containerenv", ".toolboxenv"])
def test_an_engine_beside_a_toolbox(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = {"Name": "another", "KernelVersion": platform.release()}
    monkeypatch.setattr(surroundings, "_MARKS", (tmp_path / "none", tmp_path / mark))
    assert is_taken_for_apart(HERE, same)  # two machines alike, and a forwarded port
    (tmp_path / mark).touch()
    assert not is_taken_for_apart(HERE, same)
    assert is_taken_for_apart(ELSEWHERE, same)  # a container with a network of its own
    assert is_taken_for_apart(None, same)
    assert is_taken_for_apart(HERE, {**same, "SecurityOptions": ROOTLESS})
    assert is_taken_for_apart(HERE, {**same, "KernelVersion": "2.6.32"})  # a forwarded port


def is_taken_for_apart(gateway: str | None, info: dict[str, object]) -> bool:
    """Whether an engine is that says this of itself and of its bridge's gateway."""

    def answer(connection: socket.socket, head: bytes) -> bool:
        path = head.splitlines()[0]
        if b"/networks/" in path:
            if gateway is None:
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                return True
            return reply(connection, {"IPAM": {"Config": [{"Gateway": gateway}]}})
        return reply(connection, info if b"/info" in path else VERSION)

    with serving(answer) as address, ContainerEngine.connect(address) as engine:
        return engine.is_apart


# It answers with what it gets from the other side.
SERVER = """
exec python3 -c '
import socket
with socket.create_server(("127.0.0.1", 9000)) as server:
    print("serving", flush=True)
    while True:
        client, _ = server.accept()
        with client, socket.create_connection(("127.0.0.1", 7000)) as way_out:
            client.sendall(way_out.recv(100))
'
"""


def test_a_container_with_a_network_and_a_tunnel(engine: ContainerEngine, start: Start) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"from here")
        writer.close()

    async def connect() -> Ends:
        here, there = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=there)
        await answer(reader, writer)
        return await asyncio.open_connection(sock=here)

    container = start(
        SERVER, ports={9000: None}, outwards={("127.0.0.1", 7000): connect}, tunneled=True
    )
    deadline = time.monotonic() + 10
    while "serving" not in container.log_tail():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with socket.create_connection(("127.0.0.1", container.ports[9000]), timeout=20) as end:
        assert end.recv(100) == b"from here"
    settings = engine.client.api.inspect_container(container.id)["NetworkSettings"]
    assert settings["IPAddress"]
    assert settings["Ports"].get("9000/tcp") is None
