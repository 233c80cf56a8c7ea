"""One service: its container, its gate, and the wait until it is ready."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.container_spec import ContainerSpec
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import Image
from pytest_agent_sandbox.containers.sizes import size_in_bytes
from pytest_agent_sandbox.errors import SandboxDied, SandboxError, SandboxStartFailed, SettingsError
from pytest_agent_sandbox.host.multiplexer import Connect, Inside
from pytest_agent_sandbox.sandbox.forwards import Forwards, Place, addresses_inside
from pytest_agent_sandbox.sandbox.services.gate import OWN_ADDRESS, Gate
from pytest_agent_sandbox.sandbox.services.privileges import limits_and_privileges
from pytest_agent_sandbox.sandbox.services.running_service import RunningService
from pytest_agent_sandbox.sandbox.services.service import Service
from pytest_agent_sandbox.sandbox.services.waiting import wait_until_ready

# Where nobody is, nor any way to it (RFC 5737: for examples).
_NOWHERE = "192.0.2.254"


def bring_up(
    engine: ContainerEngine,
    gate_image: str,
    name: str,
    spec: Service,
    image: Image,
    forwards: Forwards,
    *,
    labels: Mapping[str, str],
    log_path: Path,
    gate_log: Path,
    clean: Callable[[str], str] | None,
    on_ports: Callable[[RunningService], object],
    check: Callable[[], None],
) -> RunningService:
    """Start a service, and wait until it is ready; whatever fails, none of it is left.

    Args:
        engine: The engine to run it.
        gate_image: The name of an image that has Python.
        name: Its name.
        spec: What it is to be.
        image: Its image.
        forwards: Where the names of the services lead that are started with it.
        labels: Labels that say whose it is.
        log_path: File for its log.
        gate_log: File for the log of its gate.
        clean: Given each line of its log before it is written.
        on_ports: Called once its ports can be reached, before it is ready.
        check: Called while waiting; what it raises ends that.

    Raises:
        SandboxStartFailed: It has ended, or was not ready in time; the note holds its log.
        SandboxError: Whatever else keeps it from starting.
    """
    began = time.monotonic()
    labels = {**labels, "service": name}
    with ExitStack() as undo:
        container = undo.enter_context(
            Container.start(
                engine,
                _container_spec(name, spec, image, forwards, labels),
                log_path=log_path,
                clean=clean,
            )
        )
        try:
            gate = undo.enter_context(
                Gate(
                    engine,
                    gate_image,
                    container,
                    spec.port_numbers().values(),
                    _ways_to_others(name, spec, forwards),
                    labels=labels,
                    log_path=gate_log,
                )
            )
            service = RunningService(name, spec, container, engine, gate)
            on_ports(service)
            if spec.adopted is not None:
                with engine.calling(f"show container {container.name}"):
                    shown = engine.client.containers.get(container.id)
                spec.adopted.begin(service, shown)
                undo.callback(spec.adopted.end)
            wait_until_ready(engine, service, image, check, began + spec.start_timeout)
        except SandboxError as error:
            death = error if isinstance(error, SandboxDied) else _death(container)
            if death is None:
                raise
            raise SandboxStartFailed(
                f"Service {name} ended while it started: {death}", log=death.log
            ) from None
        service.start_seconds = time.monotonic() - began
        undo.pop_all()
    return service


def _death(container: Container) -> SandboxDied | None:
    """Return how a container has ended; None where it runs."""
    try:
        container.check()
    except SandboxDied as death:
        return death
    return None


def _container_spec(
    name: str, spec: Service, image: Image, forwards: Forwards, labels: Mapping[str, str]
) -> ContainerSpec:
    lost = unreachable(name, spec, forwards.places)
    hosts = {
        other: _NOWHERE if other in lost else address
        for other, address in addresses_inside(forwards.places).items()
    }
    hosts.pop(name, None)  # each engine's network has an address of its own for it
    if spec.network == "none":
        hosts |= dict.fromkeys((name, spec.hostname or name), OWN_ADDRESS)
    return ContainerSpec(
        image=image.reference,
        command=_words(spec.command),
        entrypoint=_words(spec.entrypoint),
        environment=spec.env,
        network=None if spec.network == "open" else spec.network,
        hostname=spec.hostname or name,
        extra_hosts=hosts,
        volumes=spec.volumes,
        tmpfs=dict(map(_folder_in_memory, spec.tmpfs)),
        user=spec.user,
        **limits_and_privileges(spec),
        platform=spec.platform,
        labels=labels,
        name_prefix=f"agent-sandbox-{name}",
    )


def _words(given: str | Sequence[str] | None) -> list[str] | None:
    if given is None:
        return None
    return shlex.split(given) if isinstance(given, str) else list(given)


def _folder_in_memory(given: str) -> tuple[str, str]:
    folder, colon, size = given.partition(":")
    if not folder.startswith("/"):
        raise SettingsError(f"Service: tmpfs holds {given!r}, which is not /folder[:size]")
    limit = f",size={size_in_bytes(f'tmpfs: {given!r}', size)}" if colon else ""
    return folder, f"exec,mode=1777{limit}"


def unreachable(name: str, spec: Service, places: Iterable[Place]) -> set[str]:
    """Return the names of the services that one cannot reach, as they have a port of its own.

    Servers listen on all addresses of their loopback: they would meet themselves under its name, or
    could not listen at all.
    """
    own = set(spec.port_numbers().values())
    return {other for other, port in places if port in own} - {name}


def _ways_to_others(name: str, spec: Service, forwards: Forwards) -> dict[Inside, Connect]:
    """Return the ways out of a service: to the others, each at its own address."""
    addresses = addresses_inside(forwards.places)
    lost = {addresses[other] for other in unreachable(name, spec, forwards.places)}
    lost.add(addresses.get(name, ""))
    return {inside: way for inside, way in forwards.ways().items() if inside[0] not in lost}
