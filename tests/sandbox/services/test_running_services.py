"""Services on a real engine: when they are ready, who reaches whom, and how they fail."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox import (
    ImagePullFailed,
    Ready,
    RunningService,
    SandboxDied,
    SandboxStartFailed,
    Service,
    SettingsError,
)
from pytest_agent_sandbox.containers.cleanup import find
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.sandbox.services.starting import ServiceHost, ServicesStart

# A server that says who is connected to it, once `/tmp/open` is there or after some seconds.
SERVER = """
import os, socket, sys, time
port, seconds = int(sys.argv[1]), float(sys.argv[2])
print("starting", flush=True)
time.sleep(seconds)
with socket.create_server(("0.0.0.0", port)) as server:
    print("listening", flush=True)
    while True:
        end, peer = server.accept()
        end.sendall(b"HTTP/1.0 204 No Content\\r\\nPeer: " + peer[0].encode() + b"\\r\\n\\r\\n")
        end.close()
"""

Start = Callable[..., list[RunningService]]


@pytest.fixture
def start(engine: ContainerEngine, agent_server_image: str, tmp_path: Path) -> Iterator[Start]:
    """Starts services, and removes them."""
    starts = []
    host = ServiceHost(
        engine,
        agent_server_image,
        {"run": tmp_path.name},
        lambda name: tmp_path / f"{name}.log",
        scratch=tmp_path,
    )

    def begin(**specs: Service) -> list[RunningService]:
        begun = ServicesStart(host, specs)
        starts.append(begun)
        return begun.wait()

    yield begin
    for begun in starts:
        begun.close()


def server(image: str, port: int = 8000, seconds: float = 0.0, **more: Any) -> Service:
    words = ["python3", "-c", SERVER, str(port), str(seconds)]
    return Service(image, entrypoint=words, command=[], ports=[port], **more)


def test_it_is_ready_when_that_holds_which_says_so(start: Start, agent_server_image: str) -> None:
    image = agent_server_image
    ways = {
        "by-default": None,
        "by-port": Ready.port(8000),
        "by-log": Ready.log("^listening$"),
        "by-page": Ready.http("/", status=204),
        "by-command": Ready.command("test -e /proc/net/tcp && grep -q :1F40 /proc/net/tcp"),
    }
    services = start(**{name: server(image, 8000, 1.0, ready=way) for name, way in ways.items()})
    assert [service.name for service in services] == list(ways)
    for service in services:
        assert service.start_seconds > 1.0
        assert "listening\n" in service.logs()
        answer = answer_of(service.host_port)
        # Not 127.0.0.1, whom databases trust without a password.
        assert "Peer: 192.0.2.1" in answer
        assert service.url == f"tcp://{service.name}:8000"
        assert service.host_url == f"tcp://127.0.0.1:{service.host_port}"


def test_services_reach_one_another_by_name_and_nothing_else(
    start: Start, agent_server_image: str
) -> None:
    web, db = start(
        web=server(agent_server_image, 8080, after=["db"]),
        db=server(agent_server_image, 8000, 0.5),
    )
    assert web.start_seconds > 0
    reach = (
        "import socket, sys\n"
        "end = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)\n"
        "print(end.recv(1000))"
    )

    def reached(place: str, port: int) -> str:
        result = web.execute_command(["python3", "-c", reach, place, str(port)])
        return result.stdout or result.stderr

    assert "204" in reached("db", 8000)
    assert "204" in reached("web", 8080)
    for place, port in [("db", 8081), ("1.1.1.1", 80), ("172.17.0.1", 22), ("192.0.2.2", 8000)]:
        said = reached(place, port)
        assert "Network is unreachable" in said or "refused" in said, (place, said)
    assert "lo" in web.execute_command("ls /sys/class/net").stdout.split()
    assert db.execute_command("exit 3").exit_code == 3
    late = db.execute_command("echo begun; sleep 30", timeout=1.0)
    assert (late.timed_out, late.stdout) == (True, "begun\n")


def test_services_with_the_same_port_live_side_by_side(
    start: Start, agent_server_image: str
) -> None:
    """And no name leads a service to itself: whoever is to be reached is known by another port."""
    one, other, third = start(
        one=server(agent_server_image, 8000),
        other=server(agent_server_image, 8000),
        third=Service(
            agent_server_image,
            entrypoint=["python3", "-c", SERVER, "8000", "0"],
            command=[],
            ports=["18000:8000"],
        ),
    )
    assert len({one.host_port, other.host_port, third.host_port}) == 3
    connect = "import socket; print(socket.create_connection(('{}', {}), 5).recv(99))"
    said = one.execute_command(["python3", "-c", connect.format("other", 8000)]).stderr
    assert "Network is unreachable" in said
    said = one.execute_command(["python3", "-c", connect.format("third", 18000)]).stdout
    assert "204" in said


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            {"command": ["sh", "-c", "echo no disk; exit 3"], "ports": [1]},
            r"Service bad ended while it started: .* exited with code 3",
        ),
        (
            {"command": ["sh", "-c", "echo no disk; sleep 100"], "ports": [1]},
            r"was not ready within 2 s: waited for its ports to open",
        ),
        (
            {"command": ["sh", "-c", "echo no disk; sleep 100"], "ready": Ready.log("x")},
            r"waited for 'x' in its log\.",
        ),
    ],
    ids=["ended", "no port", "no line"],
)
def test_what_does_not_start_says_why_and_is_gone(
    start: Start,
    engine: ContainerEngine,
    agent_server_image: str,
    tmp_path: Path,
    spec: dict[str, Any],
    said: str,
) -> None:
    began = time.monotonic()
    bad = Service(agent_server_image, entrypoint=[], start_timeout=2, **spec)
    with pytest.raises(SandboxStartFailed, match=said) as caught:
        start(bad=bad, good=server(agent_server_image, 8000, 30.0))
    assert time.monotonic() - began < 25
    assert "no disk" in caught.value.__notes__[0]
    assert find(engine, {"run": tmp_path.name}) == []


def test_what_cannot_be_started_is_named(start: Start, agent_server_image: str) -> None:
    with pytest.raises(SettingsError, match="ready waits for port 81, which is not among its"):
        start(db=server(agent_server_image, ready=Ready.port(81)))
    with pytest.raises(SettingsError, match="has no health check; use Ready"):
        start(db=server(agent_server_image, ready=Ready.health()))
    with pytest.raises(ImagePullFailed) as caught:
        start(db=Service("127.0.0.1:9/none:1"))
    assert "It is the image of service db." in caught.value.__notes__
    with pytest.raises(SettingsError, match="there is no Dockerfile in"):
        start(db=Service(build="."))


def test_an_end_is_told_with_its_log_and_one_on_purpose_is_none(
    start: Start, engine: ContainerEngine, agent_server_image: str
) -> None:
    db, cache = start(db=server(agent_server_image), cache=server(agent_server_image))
    engine.client.api.kill(db.container.id)
    db.container.wait_for_end(5)
    with pytest.raises(SandboxDied, match=r"Service db is gone: .* exited with code 137") as caught:
        db.check()
    assert "listening" in caught.value.log
    with pytest.raises(SandboxDied):
        db.execute_command("true")
    cache.stop()
    assert not cache.is_expected_to_run
    assert cache.state() == "stopped by the test"


def test_an_image_is_built(
    start: Start, engine: ContainerEngine, agent_server_image: str, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {agent_server_image}\nARG WORD\nRUN echo $WORD > /tmp/word\n"
        'HEALTHCHECK CMD grep built /tmp/word\nENTRYPOINT ["sleep", "100"]\nCMD []\n'
    )
    build = {"context": str(tmp_path), "args": {"WORD": "built"}}
    (db,) = start(db=Service("pytest-agent-sandbox/tests:service", build=build))
    try:
        assert db.execute_command("cat /tmp/word").stdout == "built\n"
    finally:
        db.close()
        engine.client.images.remove("pytest-agent-sandbox/tests:service")


def answer_of(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), 10) as end:
        return end.recv(1000).decode()
