from __future__ import annotations

import hashlib
import json
import platform
import socket
import time
from pathlib import Path

import pytest

from pytest_agent_sandbox.containers import endpoints
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.container_spec import ContainerSpec
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import EngineUnavailable, SandboxError
from tests.support.fake_engine import VERSION, reply, serving


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty configuration of the docker command line, and no choice in the environment."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def add_context(config: Path, name: str, host: str) -> None:
    folder = config / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host}}}
    (folder / "meta.json").write_text(json.dumps(meta))


def test_the_engine_says_what_it_is(engine: ContainerEngine) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    assert engine.platform == f"linux/{machine}"
    assert engine.description.split()[0] in ("Docker", "Podman")
    assert engine.description.split()[1][0].isdigit()


def test_the_clients_machine_does_not_decide_the_platform() -> None:
    with (
        serving(lambda connection, head: reply(connection, VERSION)) as address,
        ContainerEngine.connect(address) as engine,
    ):
        assert engine.platform == "linux/arm64"
        assert engine.description == "Docker 99.1.0"
        assert engine.endpoint == address


def test_docker_host_that_does_not_answer_is_not_replaced(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{closed_port}")
    with pytest.raises(EngineUnavailable) as caught:
        ContainerEngine.connect()
    message = str(caught.value)
    assert f"tcp://127.0.0.1:{closed_port} (from DOCKER_HOST): connection refused" in message
    assert "docker.sock" not in message
    assert "agent-sandbox doctor" in message


def test_an_argument_wins_over_docker_host(
    monkeypatch: pytest.MonkeyPatch, closed_port: int, engine: ContainerEngine
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{closed_port}")
    with ContainerEngine.connect(engine.endpoint) as connected:
        assert connected.description == engine.description


def test_all_usual_addresses_are_named_with_their_reasons(
    monkeypatch: pytest.MonkeyPatch, docker_config: Path, tmp_path: Path, closed_port: int
) -> None:
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as unserved:
        unserved.bind(str(dead))
    usual = [f"unix://{tmp_path}/missing.sock", f"unix://{dead}", f"tcp://127.0.0.1:{closed_port}"]
    monkeypatch.setattr(endpoints, "_usual_addresses", lambda: iter(usual))
    with pytest.raises(EngineUnavailable) as caught:
        ContainerEngine.connect()
    message = str(caught.value)
    assert f"{usual[0]} (a usual address): there is no such socket" in message
    assert f"{usual[1]} (a usual address): connection refused" in message
    assert f"{usual[2]} (a usual address): connection refused" in message


def test_the_next_usual_address_is_tried(
    monkeypatch: pytest.MonkeyPatch, docker_config: Path, tmp_path: Path, engine: ContainerEngine
) -> None:
    usual = [f"unix://{tmp_path}/missing.sock", engine.endpoint]
    monkeypatch.setattr(endpoints, "_usual_addresses", lambda: iter(usual))
    with ContainerEngine.connect() as connected:
        assert connected.endpoint == engine.endpoint


def test_usual_addresses_cover_the_known_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints.sys, "platform", "linux")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert list(endpoints._usual_addresses()) == [
        "unix:///var/run/docker.sock",
        "unix:///home/me/.docker/run/docker.sock",
        "unix:///home/me/.docker/desktop/docker.sock",
        "unix:///home/me/.colima/default/docker.sock",
        "unix:///home/me/.rd/docker.sock",
        "unix:///run/user/1/docker.sock",
        "unix:///run/user/1/podman/podman.sock",
        "unix:///run/podman/podman.sock",
    ]
    monkeypatch.setattr(endpoints.sys, "platform", "win32")
    assert "npipe:////./pipe/docker_engine" in endpoints._usual_addresses()


@pytest.mark.parametrize("by", ["DOCKER_CONTEXT", "config.json"])
def test_the_docker_context_is_used_and_not_replaced(
    by: str, monkeypatch: pytest.MonkeyPatch, docker_config: Path, closed_port: int
) -> None:
    add_context(docker_config, "mine", f"tcp://127.0.0.1:{closed_port}")
    if by == "DOCKER_CONTEXT":
        monkeypatch.setenv("DOCKER_CONTEXT", "mine")
    else:
        (docker_config / "config.json").write_text('{"currentContext": "mine"}')
    with pytest.raises(EngineUnavailable) as caught:
        ContainerEngine.connect()
    assert f"tcp://127.0.0.1:{closed_port} (docker context 'mine')" in str(caught.value)
    assert "docker.sock" not in str(caught.value)


def test_a_docker_context_leads_to_its_engine(docker_config: Path, engine: ContainerEngine) -> None:
    add_context(docker_config, "good", engine.endpoint)
    (docker_config / "config.json").write_text('{"currentContext": "good"}')
    with ContainerEngine.connect() as connected:
        assert connected.endpoint == engine.endpoint


def test_an_unknown_docker_context_is_an_error(
    monkeypatch: pytest.MonkeyPatch, docker_config: Path
) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "nobody")
    with pytest.raises(EngineUnavailable, match=r"docker context .* does not exist"):
        ContainerEngine.connect()


def test_a_damaged_docker_context_is_an_error(docker_config: Path) -> None:
    add_context(docker_config, "broken", "tcp://127.0.0.1:1")
    (docker_config / "config.json").write_text('{"currentContext": "broken"}')
    meta = next(docker_config.glob("contexts/meta/*/meta.json"))
    meta.write_text("{")
    with pytest.raises(EngineUnavailable, match="docker context cannot be read"):
        ContainerEngine.connect()


def test_an_engine_that_hangs_is_given_up_soon() -> None:
    with serving(lambda connection, head: False) as address:
        began = time.monotonic()
        with pytest.raises(EngineUnavailable, match="no answer within 3 s"):
            ContainerEngine.connect(address)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "garbage",
    [b"\x00\x01\x02\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
     b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", b""],
    ids=["no HTTP", "no JSON", "not found", "nothing"],
)  # fmt: skip
def test_what_is_no_engine_is_not_taken_for_one(garbage: bytes) -> None:
    def answer(connection: socket.socket, head: bytes) -> bool:
        connection.sendall(garbage)
        return True

    with serving(answer) as address, pytest.raises(EngineUnavailable) as caught:
        ContainerEngine.connect(address)
    assert address in str(caught.value)


@pytest.mark.parametrize(
    "address", ["npipe:////./pipe/x", "ftp://x", "unix:///nope", "ssh://nobody@x"]
)
def test_an_address_that_cannot_be_used_is_an_error(address: str) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        ContainerEngine.connect(address)
    assert address in str(caught.value)


def test_calls_to_an_engine_that_hangs_later_are_bounded(tmp_path: Path) -> None:
    def answer(connection: socket.socket, head: bytes) -> bool:
        return b"/version" in head.splitlines()[0] and reply(connection, VERSION)

    with serving(answer) as address, ContainerEngine.connect(address, call_timeout=1) as engine:
        began = time.monotonic()
        with pytest.raises(EngineUnavailable, match=r"create container .* no answer within 1 s"):
            Container.start(engine, ContainerSpec(image="any"), log_path=tmp_path / "log")
        assert time.monotonic() - began < 5


def test_an_engine_that_refuses_is_quoted(engine: ContainerEngine) -> None:
    words = "could not pause container x: No such container: x"
    with pytest.raises(SandboxError, match=words), engine.calling("pause container x"):
        engine.client.api.pause("x")
