"""The way to a service: a small container in its network namespace, with a tunnel into that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.container_program import ContainerProgram
from pytest_agent_sandbox.containers.container_spec import ContainerSpec
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SandboxStartFailed
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.multiplexer import Connect, Inside
from pytest_agent_sandbox.host.tunnel import Tunnel
from pytest_agent_sandbox.sandbox.services import gate_inside

#: The address of a service without a network, in its own namespace (RFC 5737: for examples).
OWN_ADDRESS = "192.0.2.1"
# Seconds for the program in the gate to answer: Python has to start there.
_PATIENCE = 30.0
_LOOK = 0.1
# Its processes and threads: the one that waits, and the programs that carry and look.
_PIDS = 64


class Gate(Closing):
    """Connections to a service, whatever its network, and from it to the services beside it.

    A container of its own, for images of services have no Python: it shares the service's network
    and nothing else of it. So ports of services need not be published, and services without a
    network can be reached, also where the engine is on another machine.

    Args:
        engine: The engine of the service's container.
        image: An image that has Python.
        service: The service's container.
        ports: The service's ports.
        outwards: Addresses of its loopback, and what makes a connection for who connects there.
        labels: The labels of the gate's container.
        log_path: File for the gate's log.

    Attributes:
        ports: The service's ports, each with the port of 127.0.0.1 here that leads there.

    Raises:
        SandboxError: It cannot be made; nothing is left of it.
    """

    def __init__(
        self,
        engine: ContainerEngine,
        image: str,
        service: Container,
        ports: Iterable[int],
        outwards: Mapping[Inside, Connect],
        *,
        labels: Mapping[str, str],
        log_path: Path,
    ) -> None:
        self._service = service
        self._has_own_address = service.spec.has_no_network
        self._address = OWN_ADDRESS if self._has_own_address else _address(engine, service)
        #: Why it leads nowhere any more; empty while it does.
        self.problem = ""
        self._is_closing = threading.Event()
        self._closing = ExitStack()
        spec = ContainerSpec(
            image=image,
            entrypoint=["sleep", "infinity"],
            command=(),
            network=f"container:{service.id}",
            user="0",
            cap_drop=["ALL"],
            cap_add=["NET_ADMIN"] if self._has_own_address else [],
            security_options=["no-new-privileges"],
            read_only=True,
            pids_limit=_PIDS,
            labels=labels,
            name_prefix=f"{service.spec.name_prefix}-gate",
        )
        with ExitStack() as undo:
            self._container = undo.enter_context(Container.start(engine, spec, log_path=log_path))
            # Side by side: each starts a Python.
            making = undo.enter_context(self._program([])) if self._has_own_address else None
            self._tunnel = undo.enter_context(
                Tunnel(
                    self._container,
                    dict.fromkeys(ports),
                    outwards,
                    self._ended,
                    is_isolated=self._has_own_address,
                    target=self._address,
                )
            )
            if making is not None:
                self._follow(making, lambda: None, time.monotonic() + _PATIENCE)
                making.close()
            self._closing = undo.pop_all()
        self.ports = self._tunnel.ports

    def await_ports(
        self, ports: Iterable[int], check: Callable[[], object], deadline: float
    ) -> bool:
        """Wait until ports of the service take connections; tell whether they do in time.

        Args:
            ports: The ports.
            check: Called while waiting; what it raises ends that.
            deadline: When to give up, by the monotonic clock.

        Raises:
            SandboxError: The gate is gone.
        """
        with self._program(ports) as program:
            return self._follow(program, check, deadline)

    def close(self) -> None:
        """Remove it; may be called more than once."""
        self._is_closing.set()
        self._closing.close()

    def _program(self, ports: Iterable[int]) -> ContainerProgram:
        arguments = [self._address, self._has_own_address, list(ports)]
        return self._container.start_program("ports", [gate_inside], arguments, patience=_PATIENCE)

    def _follow(
        self, program: ContainerProgram, check: Callable[[], object], deadline: float
    ) -> bool:
        """Wait for a program to be done; tell whether it is in time."""
        try:
            while program.poll_line(_LOOK) is None:
                check()
                if time.monotonic() > deadline:
                    return False
        except OSError as error:
            check()
            raise SandboxStartFailed(
                f"The way to service {self._service.name} was not made: {program.why_gone(error)}"
            ) from None
        return True

    def _ended(self, reason: str) -> None:
        if not self._is_closing.is_set():
            self.problem = reason


def _address(engine: ContainerEngine, service: Container) -> str:
    with engine.calling(f"show container {service.name}"):
        about = engine.client.api.inspect_container(service.id)
    for network in about["NetworkSettings"]["Networks"].values():
        if network.get("IPAddress"):
            return str(network["IPAddress"])
    raise SandboxStartFailed(
        f"Service {service.name} has no address on the network {service.spec.network or 'bridge'}.",
        log=service.log_tail(),
    )
