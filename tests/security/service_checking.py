"""Runs `service_checks_inside` in an isolated sandbox with a service beside it, and in services."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pytest_agent_sandbox import DockerWorkspace, Service
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.sandbox.forwards import addresses_inside
from pytest_agent_sandbox.sandbox.network import GATEWAY_PORT, PROXY_PORT
from pytest_agent_sandbox.sandbox.services.gate import OWN_ADDRESS
from pytest_agent_sandbox.sandbox.services.running_service import RunningService
from pytest_agent_sandbox.sandbox.services.starting import ServiceHost, ServicesStart

from .checking import Outcome, Outcomes

#: What is meant to be reached; all else is to be refused, but by a service with a network.
MEANT = "reach what is meant to be reached, by name and port"
_KNOWN, _UNKNOWN, _SERVER = 7000, 7001, 8000
_PROGRAM = Path(__file__).with_name("service_checks_inside.py")
_PRIVILEGES = Path(__file__).with_name("checks_inside.py")
_PATIENCE = 120.0
#: What is in the names of attempts at what no service has.
OF_SANDBOXES = ("agent server", "allowed")

#: A service that does what it is told by whoever reaches its port; another port is not declared.
_SHELL = f"""
import socket, subprocess, sys, threading
def serve(end):
    with end, end.makefile("rb") as lines:
        size = lines.readline()
        if size.strip():
            words = [sys.executable, "-c", *map(bytes.decode, lines.read(int(size)).split(b"\\0"))]
            end.sendall(subprocess.run(words, stdout=subprocess.PIPE).stdout)
        else:
            end.sendall(socket.gethostname().encode())
def listen(port):
    server = socket.create_server(("0.0.0.0", port))
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],)).start()
threading.Thread(target=listen, args=({_UNKNOWN},)).start()
listen({_KNOWN})
"""

#: Run in a sandbox: it has a service run a program.
_ASK = """
import socket, sys
words = "\\0".join(sys.argv[3:]).encode()
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as end:
    end.sendall(b"%d\\n" % len(words) + words)
    while data := end.recv(65536):
        sys.stdout.write(data.decode())
"""


def shell(port: int = _KNOWN, **more: Any) -> Service:
    """What runs whatever it is sent."""
    return Service(
        more.pop("image"), ports=[f"{port}:{_KNOWN}"], entrypoint=["python3", "-c", _SHELL], **more
    )


@contextmanager
def started(
    engine: ContainerEngine, image: str, folder: Path, **services: Service
) -> Iterator[dict[str, RunningService]]:
    """Services that were started together."""
    folder.mkdir(exist_ok=True)
    host = ServiceHost(engine, image, {}, lambda name: folder / f"{name}.log", folder)
    with ServicesStart(host, services) as start:
        yield {service.name: service for service in start.wait()}


def check_services(engine: ContainerEngine, image: str, folder: Path) -> Outcomes:
    """Try everything in a sandbox with services, as the agent and as root, and in services."""
    bridge = engine.client.api.inspect_network("bridge")["IPAM"]["Config"][0]
    with ExitStack() as ending:
        enter = ending.enter_context
        on_all, on_loopback = enter(_listening("0.0.0.0")), enter(_listening("127.0.0.1"))
        ours = enter(
            started(
                engine,
                image,
                folder / "ours",
                db=shell(image=image),
                cache=shell(7010, image=image),
                outside=shell(7020, image=image, network="open"),
            )
        )
        others = enter(started(engine, image, folder / "others", theirs=shell(image=image)))
        theirs = others["theirs"].host_port
        sandbox = enter(DockerWorkspace(server_image=image, engine=engine, network="isolated"))
        enter(sandbox.join(list(ours.values())))
        gateway = str(bridge.get("Gateway", "172.17.0.1"))
        addresses = addresses_inside((name, 0) for name in (*ours, *others))
        own = {
            "bridge": gateway,
            "on_loopback": on_loopback,
            "here": [(address, on_all) for address in (gateway, *_own_addresses())],
            "of_others": [
                ("theirs", _KNOWN),
                (addresses["theirs"], _KNOWN),
                ("127.0.0.1", theirs),
                (gateway, theirs),
                *((address, theirs) for address in addresses.values()),
            ],
        }
        in_sandbox = {
            **own,
            "meant": [("db", _KNOWN)],
            "other_ports": [
                ("db", _UNKNOWN),
                ("db", 7010),
                ("cache", _KNOWN),
                ("127.0.0.1", _KNOWN),
                (OWN_ADDRESS, _KNOWN),
                (OWN_ADDRESS, _UNKNOWN),
            ],
            # The gateway and the proxy of the sandbox itself are its own.
            "beyond": [(OWN_ADDRESS, _SERVER), ("db", GATEWAY_PORT), ("db", PROXY_PORT)],
        }
        in_service = {
            **own,
            "meant": [("cache", 7010)],
            "other_ports": [("cache", _UNKNOWN), ("cache", 7020), ("outside", 7010)],
            "beyond": [
                (address, port)
                for address in ("127.0.0.1", OWN_ADDRESS, addresses["cache"])
                for port in (_SERVER, GATEWAY_PORT, PROXY_PORT, sandbox.host_port)
            ],
        }
        sandbox.write_text("ask.py", _ASK)
        sandbox.write_text("probes.py", _PROGRAM.read_text("utf-8"))
        runs: dict[tuple[str, str], Callable[[], str]] = {
            ("in the sandbox", "agent"): lambda: _in_sandbox(sandbox, in_sandbox),
            ("in the sandbox", "root"): lambda: _as_root(
                engine, sandbox.container.id, _PROGRAM, in_sandbox
            ),
            ("in the service", "over its port"): lambda: _over_its_port(
                sandbox, ours["db"], in_service
            ),
            ("in the service", "root"): lambda: _as_root(
                engine, ours["db"].container.id, _PROGRAM, in_service
            ),
            ("in one with a network", "root"): lambda: _as_root(
                engine, ours["outside"].container.id, _PROGRAM, in_service
            ),
        }
        return {who: _outcomes(run()) for who, run in runs.items()}


def check_privileges(engine: ContainerEngine, image: str, folder: Path) -> Outcomes:
    """Try in a service what is tried in sandboxes, as its user and as root."""
    services = {"users": shell(image=image), "roots": shell(7010, image=image, user="0")}
    with started(engine, image, folder, **services) as ours:
        runs = {
            who: _outcomes(_as_root(engine, ours[name].container.id, _PRIVILEGES, {}, user=""))
            for who, name in (("its user", "users"), ("root", "roots"))
        }
    return {
        ("in the service", who): {
            name: outcome
            for name, outcome in found.items()
            if not any(word in name for word in OF_SANDBOXES)
        }
        for who, found in runs.items()
    }


def _in_sandbox(sandbox: DockerWorkspace, given: Mapping[str, Any]) -> str:
    ran = sandbox.execute_command(f"python3 probes.py '{json.dumps(given)}'", timeout=_PATIENCE)
    return ran.check().stdout


def _over_its_port(
    sandbox: DockerWorkspace, service: RunningService, given: Mapping[str, Any]
) -> str:
    ran = sandbox.execute_command(
        f"python3 ask.py {service.name} {service.port} \"$(cat probes.py)\" '{json.dumps(given)}'",
        timeout=_PATIENCE,
    )
    return ran.check().stdout


def _as_root(
    engine: ContainerEngine,
    container: str,
    program: Path,
    given: Mapping[str, Any],
    *,
    user: str = "0",
) -> str:
    words = ["python3", "-c", program.read_text("utf-8"), *([json.dumps(given)] if given else [])]
    api = engine.client.api
    run = api.exec_create(container, words, user=user, stderr=False)["Id"]
    return str(api.exec_start(run).decode())


def _outcomes(text: str) -> dict[str, Outcome]:
    return {name: Outcome(is_held, words) for name, (is_held, words) in json.loads(text).items()}


@contextmanager
def _listening(address: str) -> Iterator[int]:
    with socket.create_server((address, 0)) as server:
        yield server.getsockname()[1]


def _own_addresses() -> set[str]:
    found = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    return {str(address) for address in found if not str(address).startswith("127.")}
