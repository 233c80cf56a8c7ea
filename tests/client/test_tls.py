"""Servers behind TLS: `--sandbox-url=https://…`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import ServerError
from tests.support.certificates import make_certificate
from tests.support.timing import eventually, measured

from .fake_server import STATE, FakeServer, Following, fact

#: websockets' own blocking client hung at one of the first hundred.
MANY = 300


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def fake(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with FakeServer(certificate) as fake:
        yield fake


@pytest.mark.timeout(120)
def test_many_streams_over_tls_open_and_close(fake: FakeServer) -> None:
    before = set(threading.enumerate())
    fake.frames = [[STATE, fact(0)] for _ in range(MANY)]
    for number in range(MANY):
        with Following(fake) as following:
            eventually(lambda: "e0" in following.ids, timeout=5)
            stream = following.stream
            with measured(at_most=1):
                stream.close()
            eventually(lambda stream=stream: not stream._thread.is_alive(), timeout=5)
        assert fake.connections == number + 1
    eventually(lambda: set(threading.enumerate()) <= before)


def test_large_and_many_frames_come_over_tls(fake: FakeServer) -> None:
    large = STATE | {"value": {"text": "x" * 5_000_000}}
    fake.frames = [["auth", large, *(fact(n) for n in range(2000))]]
    with Following(fake, api_key="key") as following:
        eventually(lambda: "e1999" in following.ids)
    assert [i for i in following.ids if i != "s"] == [f"e{n}" for n in range(2000)]


def test_a_server_that_nobody_vouches_for_gets_no_key(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with FakeServer(certificate) as fake:
        fake.frames = [["auth", STATE]]
        with (
            ServerConnection(fake.host, "key") as connection,
            pytest.raises(ServerError, match="certificate"),
        ):
            connection.request("GET", "/x")
        with Following(fake, api_key="key") as following:
            assert not following.stream.wait_until_ready(0.5)
    assert fake.connections == 0
