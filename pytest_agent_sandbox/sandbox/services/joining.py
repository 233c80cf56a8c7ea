"""The names by which a sandbox that runs reaches services, and what leads there."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress

from pytest_agent_sandbox.errors import SandboxError, SandboxStartFailed, SettingsError
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.egress import Egress
from pytest_agent_sandbox.host.multiplexer import Connect, Inside
from pytest_agent_sandbox.host.program import Program, RunningContainer
from pytest_agent_sandbox.host.tunnel import Tunnel
from pytest_agent_sandbox.sandbox.forwards import Place, addresses_inside, dial
from pytest_agent_sandbox.sandbox.services import hosts_inside
from pytest_agent_sandbox.sandbox.services.running_service import RunningService

_LOOPBACK = "127.0.0.1"
# Seconds for the program in the sandbox to answer: Python has to start there.
_PATIENCE = 30.0


class Joined(Closing):
    """Services as a sandbox reaches them, each by its name and on its own ports.

    The names lead to addresses of the sandbox's own loopback. What listens there carries each
    connection over a tunnel to the one port that it is for, so it needs no network, and opens none.

    Args:
        container: The sandbox's container.
        services: The services.
        egress: What an isolated sandbox asks for by its proxy; None where it has none.

    Raises:
        SettingsError: A port is one of the sandbox's own, or its names cannot be changed any more.
        SandboxError: The sandbox is gone, or its engine does not answer.
    """

    def __init__(
        self,
        container: RunningContainer,
        services: Collection[RunningService],
        egress: Egress | None,
    ) -> None:
        self._container = container
        self._egress = egress
        self._targets: dict[Place, Connect] = {
            (service.name, port): dial(_LOOPBACK, outer)
            for service in services
            for port, outer in service.host_ports.items()
        }
        self._addresses = addresses_inside((service.name, 0) for service in services)
        self._closing = ExitStack()
        ways: dict[Inside, Connect] = {
            (self._addresses[name], port): way for (name, port), way in self._targets.items()
        }
        with ExitStack() as undo, self._names(wanted=True) as naming:
            if ways:  # side by side with that: each starts a Python
                tunnel = Tunnel(container, {}, ways, lambda _: None, is_isolated=False)
                undo.enter_context(tunnel)
                self._check(tunnel.unheard)
            self._follow(naming)
            undo.callback(self._forget_names)
            if egress is not None:
                egress.beside |= self._targets
                undo.callback(self._forget_targets)
            self._closing = undo.pop_all()

    def close(self) -> None:
        """Let the names go, and end what led there; may be called more than once."""
        self._closing.close()

    def _check(self, unheard: Mapping[Inside, str]) -> None:
        names = {address: name for name, address in self._addresses.items()}
        for (address, port), why in unheard.items():
            name = names[address]
            raise SettingsError(
                f"Service {name}: the sandbox cannot have {name}:{port}, for its own programs use "
                f"this port ({why}). Have it known by another one: "
                f"Service(ports=['1{port:04d}:{port}'])"
            )

    def _names(self, *, wanted: bool) -> Program:
        arguments = [self._addresses, wanted]
        return self._container.start_program("names", [hosts_inside], arguments, patience=_PATIENCE)

    def _follow(self, naming: Program) -> None:
        try:
            problem = json.loads(naming.read_line(_PATIENCE))["problem"]
        except (OSError, ValueError) as error:
            raise SandboxStartFailed(
                f"The sandbox did not learn the names of its services: {naming.why_gone(error)}"
            ) from None
        if problem:
            raise SettingsError(
                f"The sandbox {self._container.name} was started before the services "
                f"{', '.join(self._addresses)}, and cannot learn their names any more ({problem}): "
                "what is recycled, or strict, is read-only. Name them by "
                "@pytest.mark.agent_services(…), or start them before agent_workspace."
            )

    def _forget_names(self) -> None:
        with suppress(SandboxError):  # what is gone has no names
            self._container.check()
            with self._names(wanted=False) as naming:
                self._follow(naming)

    def _forget_targets(self) -> None:
        assert self._egress is not None
        for place in self._targets:
            self._egress.beside.pop(place, None)
