"""What can be done from inside of a sandbox of each kind; docs/security-checks.md has it all."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import httpx
import pytest

from pytest_agent_sandbox import DockerWorkspace
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SettingsError

from .checking import KINDS, USERS, check

# What the kind of sandbox lets a program do, by the user that tries it.
NETWORK = {"reach the internet"}
SETUID = {"gain privileges by a setuid program"}
FILES = {"write to the root file system", "write to /etc"}
SUDO = {"come by a capability (bounding set)", "become root by sudo"}
CAPABILITIES = {"have a capability", "come by a capability (bounding set)"}
OPEN: dict[tuple[str, str], set[str]] = {
    ("default", "agent"): NETWORK | SETUID,
    ("default", "root"): NETWORK | SETUID | FILES,
    ("strict", "agent"): set(),
    ("strict", "root"): set(),
    ("sudo", "agent"): NETWORK | SETUID | SUDO,
    ("sudo", "root"): NETWORK | SETUID | SUDO | FILES | CAPABILITIES,
    ("recycled", "agent"): NETWORK | {"come by a capability (bounding set)"},
    ("recycled", "root"): NETWORK | SETUID | CAPABILITIES | {"become root by sudo"},
}
# What the engine, its kernel and where it runs decide.
ELSEWHERE = {
    "use io_uring",
    "make a user namespace",
    "reach a cloud's metadata",
    "look into processes of other users",
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_sandbox_holds(engine: ContainerEngine, agent_server_image: str, kind: str) -> None:
    outcomes = check(engine, agent_server_image, kind)
    for user in USERS:
        found = outcomes[kind, user]
        assert len(found) > 42
        opened = {name for name, outcome in found.items() if not outcome.is_held} - ELSEWHERE
        assert opened == OPEN[kind, user], {name: found[name].words for name in opened}
        if kind == "strict":
            assert found["reach a cloud's metadata"].is_held
            # The one place that is allowed was reached, or this would have been no attempt.
            led = "lead an allowed connection elsewhere (CONNECT, Host, SOCKS, PROXY)"
            assert found[led].words == "it leads to one place"


def test_the_table_is_of_these_checks() -> None:
    root = Path(__file__).parents[2]
    table = (root / "docs" / "security-checks.md").read_text("utf-8")
    names = re.findall(
        r"^    \"([^\"]+)\": ",
        (Path(__file__).with_name("checks_inside.py")).read_text("utf-8"),
        re.M,
    )
    checks = [name for name in names if f"| {name} |" in table]
    assert len(checks) > 42
    parts = table.split("\n## ")
    assert len(parts) == 3
    for part in (parts[0], parts[2]):  # containers, and pods; services have tests of their own
        assert part.count("\n| ") == len(checks) + 1


def test_ports_are_on_loopback_only_and_want_the_key(
    engine: ContainerEngine, agent_server_image: str
) -> None:
    with DockerWorkspace(server_image=agent_server_image, engine=engine) as workspace:
        port = workspace.host_port
        # From the network namespace of another container, by all addresses of this machine.
        with DockerWorkspace(server_image=agent_server_image, engine=engine) as other:
            api = engine.client.api
            gateway = api.inspect_network("bridge")["IPAM"]["Config"][0].get(
                "Gateway", "172.17.0.1"
            )
            addresses = {gateway, *_own_addresses()}
            for address in addresses:
                tried = other.execute_command(
                    f"curl -s -m 3 -o /dev/null http://{address}:{port}/alive"
                )
                assert tried.exit_code in (7, 28), (address, tried)
        # And with no key, nothing but what is public.
        public = {
            "/alive",
            "/health",
            "/ready",
            "/server_info",
            "/",
            "/docs",
            "/redoc",
            "/openapi.json",
        }
        with httpx.Client(base_url=workspace.host, trust_env=False) as client:
            paths = client.get("/openapi.json").json()["paths"]
            assert len(paths) > 50
            for path, methods in paths.items():
                if path in public or path == "/api/init":  # that wants a key of its own
                    continue
                for method in methods:
                    answer = client.request(method, re.sub("{[^}]*}", "x", path), json={})
                    assert answer.status_code == 401, (method, path, answer.text)


def _own_addresses() -> set[str]:
    found = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    return {str(address) for address in found if not str(address).startswith("127.")}


def test_root_is_nobody_in_a_strict_sandbox(
    engine: ContainerEngine, agent_server_image: str
) -> None:
    with pytest.raises(SettingsError, match="wants a user other than root"):
        DockerWorkspace(
            server_image=agent_server_image, engine=engine, security="strict", user="0:0"
        )
    with pytest.raises(SettingsError, match="'open' is more than a sandbox with security = strict"):
        DockerWorkspace(
            server_image=agent_server_image, engine=engine, security="strict", network="open"
        )


def test_an_unknown_runtime(engine: ContainerEngine, agent_server_image: str) -> None:
    with pytest.raises(SettingsError, match="runtime: the engine has no such runtime"):
        DockerWorkspace(server_image=agent_server_image, engine=engine, runtime="no-such-runtime")


@pytest.mark.parametrize(
    "source",
    [
        "/",
        "/var/run",
        "//var/run",
        "/run/../run",
        "/run/docker.sock",
        "/run/user/1000",
        "/x/docker.sock",
    ],
)
def test_the_engines_socket_is_not_mounted(
    engine: ContainerEngine, agent_server_image: str, source: str
) -> None:
    with pytest.raises(SettingsError, match="holds the engine's socket"):
        DockerWorkspace(
            server_image=agent_server_image, engine=engine, volumes=[f"{source}:/mounted:ro"]
        )
