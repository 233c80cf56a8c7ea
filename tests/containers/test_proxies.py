"""Proxies of the engine's clients: of the containers, and before the engine itself."""

from __future__ import annotations

import base64
import json
import socket
from pathlib import Path

import pytest

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.proxies import container_proxies, proxy_before
from pytest_agent_sandbox.errors import EngineUnavailable
from pytest_agent_sandbox.host.no_proxy import without_proxy
from tests.support.fake_engine import VERSION, EngineProxy, reply, serving

DEAD = "http://127.0.0.1:9"
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


def configure(folder: Path, proxies: object) -> None:
    (folder / "config.json").write_text(json.dumps({"proxies": proxies}))


def test_what_the_command_line_tells_containers(tmp_path: Path) -> None:
    assert container_proxies("unix:///x.sock") == {}
    default = {
        "httpProxy": "http://a",
        "httpsProxy": "http://b",
        "ftpProxy": "http://c",
        "allProxy": "socks5://d",
        "noProxy": "corp.example",
    }
    configure(tmp_path, {"default": default, "tcp://other:2375": {"httpProxy": "http://other"}})
    told = container_proxies("unix:///x.sock")
    assert {name: told[name] for name in NAMES} == {
        "HTTP_PROXY": "http://a",
        "HTTPS_PROXY": "http://b",
        "FTP_PROXY": "http://c",
        "ALL_PROXY": "socks5://d",
        "NO_PROXY": "corp.example",
    }
    assert {name: told[name.lower()] for name in NAMES} == {name: told[name] for name in NAMES}
    assert len(told) == 2 * len(NAMES)
    assert container_proxies("tcp://other:2375") == {
        "HTTP_PROXY": "http://other",
        "http_proxy": "http://other",
    }


@pytest.mark.parametrize("proxies", [None, [], {"default": None}, {"default": {"httpProxy": 1}}])
def test_a_damaged_config(tmp_path: Path, proxies: object) -> None:
    configure(tmp_path, proxies)
    assert container_proxies("unix:///x.sock") == {}


@pytest.mark.parametrize(
    ("sources", "upper", "lower"),
    [
        ([], "gw", "gw"),
        ([{"NO_PROXY": "a"}], "a,gw", "a,gw"),
        ([{"no_proxy": "a, b"}], "a,b,gw", "a,b,gw"),
        ([{"NO_PROXY": "a", "no_proxy": "b"}], "a,gw", "b,gw"),
        ([{"NO_PROXY": "a", "no_proxy": "a"}, {"no_proxy": "b"}], "b,gw", "b,gw"),
        ([{"NO_PROXY": "a"}, {"HTTP_PROXY": "http://p"}], "a,gw", "a,gw"),
        ([{"NO_PROXY": "gw,a"}], "gw,a", "gw,a"),
        ([{"NO_PROXY": "*"}], "*", "*"),
        ([{"NO_PROXY": "a"}, {"NO_PROXY": ""}], "gw", "gw"),
    ],
)
def test_hosts_that_no_proxy_is_asked_for(
    sources: list[dict[str, str]], upper: str, lower: str
) -> None:
    assert without_proxy(sources, ["gw"]) == {"NO_PROXY": upper, "no_proxy": lower}


@pytest.mark.parametrize(
    ("address", "is_tls", "environment", "chosen"),
    [
        ("tcp://engine.example:2375", False, {"HTTP_PROXY": "http://p:1"}, "p:1 (from HTTP_PROXY)"),
        ("tcp://engine.example:2375", False, {"http_proxy": "p:1"}, "p:1 (from http_proxy)"),
        ("tcp://engine.example:2376", True, {"HTTPS_PROXY": "http://p:2/"}, "p:2 (from HTTPS_PRO"),
        ("https://engine.example", False, {"HTTPS_PROXY": "http://p:2"}, "p:2 (from HTTPS_PROXY)"),
        ("tcp://engine.example:2376", True, {"HTTP_PROXY": "http://p:1"}, None),
        ("tcp://engine.example:2375", False, {"HTTPS_PROXY": "http://p:2"}, None),
        ("tcp://engine.example:2375", False, {"ALL_PROXY": "http://p:3"}, None),
        ("tcp://127.0.0.1:2375", False, {"HTTP_PROXY": "http://p:1"}, None),
        ("tcp://127.8.0.1:2375", False, {"HTTP_PROXY": "http://p:1"}, None),
        ("tcp://[::1]:2375", False, {"HTTP_PROXY": "http://p:1"}, None),
        ("tcp://localhost:2376", True, {"HTTPS_PROXY": "http://p:1"}, None),
        ("unix:///var/run/docker.sock", False, {"HTTP_PROXY": "http://p:1"}, None),
        ("ssh://engine.example", False, {"HTTP_PROXY": "http://p:1", "ALL_PROXY": "p:3"}, None),
        (
            "tcp://a.corp.example:2375",
            False,
            {"HTTP_PROXY": "p", "NO_PROXY": ".corp.example"},
            None,
        ),
        ("tcp://10.1.2.3:2375", False, {"HTTP_PROXY": "p", "no_proxy": "10.0.0.0/8"}, None),
        ("tcp://10.1.2.3:2375", False, {"HTTP_PROXY": "p", "NO_PROXY": "*"}, None),
    ],
)
def test_the_proxy_before_an_engine(
    address: str,
    is_tls: bool,
    environment: dict[str, str],
    chosen: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    proxy = proxy_before(address, is_tls=is_tls)
    assert proxy is None if chosen is None else str(proxy).startswith(chosen)


def test_loopback_is_not_asked_for_by_a_proxy(
    engine: ContainerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, DEAD)
        monkeypatch.setenv(name.lower(), DEAD)
    proxy = EngineProxy(engine.endpoint.removeprefix("unix://"))
    try:
        with ContainerEngine.connect(proxy.address) as connected:
            assert connected.description == engine.description
            assert not connected.is_apart
    finally:
        proxy.close()


def test_a_proxy_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(connection: socket.socket, head: bytes) -> bool:
        asked.append(head.split()[1])
        return reply(connection, VERSION)

    with serving(answer) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.replace("tcp", "http"))
        with ContainerEngine.connect("tcp://engine.example:2375") as engine:
            assert engine.description == "Docker 99.1.0"
    assert asked
    assert all(target.startswith(b"http://engine.example:2375/") for target in asked)


def test_a_proxy_that_does_not_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(connection: socket.socket, _: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        return True

    words = r"it was asked through the proxy {} \(from HTTP_PROXY\), NO_PROXY=engine.example leads"
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    with pytest.raises(EngineUnavailable, match=words.format("127.0.0.1:9")) as caught:
        ContainerEngine.connect("tcp://engine.example:2375")
    assert "connection refused" in str(caught.value)
    assert "secret" not in str(caught.value)
    with serving(refuse) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.replace("tcp", "http"))
        with pytest.raises(EngineUnavailable, match=f"403.*{words.format('127.0.0.1:')[:40]}"):
            ContainerEngine.connect("tcp://engine.example:2375")


@pytest.mark.parametrize(
    "url",
    [
        "http://me:s3#cret@127.0.0.1:1",
        "http://me:33#cret@127.0.0.1:1",  # a port, by its looks
        "http://me:s3?cret@127.0.0.1:1",
        "http://me:s3/cret@127.0.0.1:1",
        "http://me:33/cret@127.0.0.1:1",
        r"http://me:s3\cret@127.0.0.1:1",
        "http://me:s3[cret@127.0.0.1:1",
        "http://me:s3\N{CARE OF}cret@127.0.0.1:1",
        "http:/me:s3cret@127.0.0.1:1",
        "me:s3#cret@127.0.0.1:1",
        "http://me:s3cret@",
        "http://me:s3cret@127.0.0.1:s3",
    ],
)
def test_a_proxy_whose_address_cannot_be_read(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", url)
    with pytest.raises(EngineUnavailable) as caught:
        ContainerEngine.connect("tcp://engine.example:2375")
    message = str(caught.value)
    assert "the proxy's URL in HTTP_PROXY cannot be read" in message
    assert "NO_PROXY=engine.example" in message
    for secret in ("s3", "33", "cret"):
        assert secret not in message
    # Nor is it in what the error was made from, which a traceback shows.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_password_for_a_proxy(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = []

    def answer(connection: socket.socket, head: bytes) -> bool:
        heads.append(head)
        return reply(connection, VERSION)

    with serving(answer) as proxy:
        place = proxy.removeprefix("tcp://")
        monkeypatch.setenv("HTTP_PROXY", f"{scheme}me:s3%23cret@{place}")
        with ContainerEngine.connect("tcp://engine.example:2375"):
            pass
    sent = base64.b64encode(b"me:s3#cret")
    assert heads
    assert all(b"Proxy-Authorization: Basic " + sent in head for head in heads)
