"""Which address a server here must have so that containers reach it, and nobody else."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
from collections.abc import Iterator

import psutil
import pytest

from pytest_agent_sandbox.containers.cleanup import prefixed, remove_labelled
from pytest_agent_sandbox.containers.endpoints import Endpoint
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host.host_route import HostRoute
from tests.support.fake_engine import VERSION, reply, serving

from .starting import Start


@contextlib.contextmanager
def web_server(address: str) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello from the host")

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((address, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def virtual_machine(info: dict[str, str]) -> Iterator[ContainerEngine]:
    def answer(connection: socket.socket, head: bytes) -> bool:
        return reply(connection, info if b"/info" in head.splitlines()[0] else VERSION)

    with serving(answer) as address, ContainerEngine.connect(address) as engine:
        yield engine


def fetch(start: Start, route: HostRoute, port: int, network: str | None = None) -> str:
    url = f"http://{route.container_host_name}:{port}/"
    container = start(
        f"python3 -c 'import urllib.request as r; print(r.urlopen(\"{url}\", timeout=5).read())'",
        extra_hosts=route.extra_hosts,
        network=network,
    )
    assert container.wait_for_end(30)
    return container.log_tail()


def refused(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return True
    return False


def test_containers_reach_the_server_and_others_do_not(
    engine: ContainerEngine, start: Start
) -> None:
    route = engine.host_route()
    with web_server(route.bind_address) as port:
        assert "hello from the host" in fetch(start, route, port)
        others = [
            address.address
            for addresses in psutil.net_if_addrs().values()
            for address in addresses
            if address.family == socket.AF_INET and address.address != route.bind_address
        ]
        assert "127.0.0.1" in others
        assert [address for address in others if not refused(address, port)] == []


@pytest.mark.parametrize("internal", [False, True])
def test_a_network_has_its_own_route(
    internal: bool, engine: ContainerEngine, start: Start, run_label: str
) -> None:
    name = f"agent-sandbox-test-{run_label}"
    labels = {"run": run_label, "network": "yes"}
    engine.client.api.create_network(name, internal=internal, labels=prefixed(labels))
    try:
        route = engine.host_route(network=name)
        assert route.bind_address != engine.host_route().bind_address
        with web_server(route.bind_address) as port:
            container_log = fetch(start, route, port, network=name)
        assert "hello from the host" in container_log
    finally:
        assert remove_labelled(engine, {"run": run_label}) == 2, "the container and its network"


def test_an_address_given_by_the_user_is_used(engine: ContainerEngine) -> None:
    assert engine.host_route("192.0.2.7") == HostRoute("192.0.2.7", "192.0.2.7")
    assert engine.host_route("ci.example") == HostRoute("ci.example", "ci.example")
    wildcard = engine.host_route("0.0.0.0")
    assert wildcard.container_host_name == "host.docker.internal"
    assert wildcard.extra_hosts == {"host.docker.internal": "host-gateway"}


@pytest.mark.parametrize(
    "info",
    [
        {"OperatingSystem": "Docker Desktop", "Name": "docker-desktop"},
        {"OperatingSystem": "Ubuntu 24.04.1 LTS", "Name": "colima"},
    ],
)
def test_an_engine_in_a_virtual_machine_forwards_loopback(info: dict[str, str]) -> None:
    with virtual_machine(info) as engine:
        assert engine.is_virtual_machine
        assert engine.host_route() == HostRoute("127.0.0.1", "host.docker.internal", {})


@pytest.mark.parametrize(
    "address", ["tcp://192.0.2.1:2376", "ssh://me@build.example", "https://build.example"]
)
def test_a_remote_engine_needs_an_address(engine: ContainerEngine, address: str) -> None:
    remote = ContainerEngine(engine.client, Endpoint(address, "test"))
    assert remote.is_remote
    assert not remote.is_virtual_machine
    with pytest.raises(SettingsError, match=r"another machine.*give it"):
        remote.host_route()
    assert remote.host_route("198.51.100.4").bind_address == "198.51.100.4"


def test_a_gateway_elsewhere_is_an_error_that_says_what_to_do() -> None:
    network = {"Name": "bridge", "IPAM": {"Config": [{"Subnet": "203.0.113.0/24"}]}}

    def answer(connection: socket.socket, head: bytes) -> bool:
        path = head.splitlines()[0]
        if b"/networks/" in path:
            return reply(connection, network)
        return reply(connection, {"Name": "vm"} if b"/info" in path else VERSION)

    words = r"203\.0\.113\.1.*Give the address"
    with (
        serving(answer) as address,
        ContainerEngine.connect(address) as engine,
        pytest.raises(SettingsError, match=words),
    ):
        engine.host_route()


def test_no_network_has_no_route(engine: ContainerEngine) -> None:
    with pytest.raises(SettingsError, match="'none'"):
        engine.host_route(network="none")
