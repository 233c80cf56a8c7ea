"""The start of services: all at once, each as soon as those are ready that it comes after."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import Image, ensure_image
from pytest_agent_sandbox.containers.progress import show_progress
from pytest_agent_sandbox.errors import SandboxError, SandboxStartFailed, SettingsError
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.sandbox.forwards import Forwards, Place, dial
from pytest_agent_sandbox.sandbox.services.bring_up import bring_up, unreachable
from pytest_agent_sandbox.sandbox.services.building import build_image
from pytest_agent_sandbox.sandbox.services.running_service import LOOPBACK, RunningService
from pytest_agent_sandbox.sandbox.services.service import Service, check_name
from pytest_agent_sandbox.sandbox.services.volumes import ServiceVolumes

_PAUSE = 0.1


@dataclass(frozen=True)
class ServiceHost:
    """Where services are started, and for whom.

    Attributes:
        engine: The engine.
        gate_image: The name of an image that has Python.
        labels: Labels that say whose they are.
        log_path: Returns the file for the log of a service, by its name.
        scratch: A folder for what nobody reads.
        uncaptured: Gives the terminal back for as long as something is shown there.
        clean: Given each line of a log before it is written, as to mask secrets.
    """

    engine: ContainerEngine
    gate_image: str
    labels: Mapping[str, str]
    log_path: Callable[[str], Path]
    scratch: Path
    uncaptured: Callable[[], AbstractContextManager[object]] = nullcontext
    clean: Callable[[str], str] | None = None


@dataclass
class _Start:
    """One service on its way."""

    spec: Service
    image: Image
    forwards: Forwards
    #: Set once it is ready, or will never be.
    is_over: threading.Event = field(default_factory=threading.Event)
    service: RunningService | None = None
    error: BaseException | None = None


class _GivenUp(SandboxStartFailed):
    """The start of a service that nobody waits for any more."""


class ServicesStart(Closing):
    """Services on their way, in threads of their own; their images are there on return.

    Args:
        host: Where they are started.
        specs: What they are to be, by their names.

    Raises:
        SettingsError: A name or a value cannot be used.
        SandboxError: An image cannot be had.
    """

    def __init__(self, host: ServiceHost, specs: Mapping[str, Service]) -> None:
        check_names(specs)
        self._host = host
        self._is_given_up = threading.Event()
        images = {name: _image(host, name, spec) for name, spec in specs.items()}
        self._volumes = ServiceVolumes(host.engine, specs, host.labels)
        specs = self._volumes.specs
        self._starts = {
            name: _Start(spec, images[name], Forwards(_places(specs)))
            for name, spec in specs.items()
        }
        self._threads = ThreadPoolExecutor(max(1, len(specs)), "agent-sandbox-service")
        for name in specs:
            self._threads.submit(self._bring_up, name)

    def wait(self, check: Callable[[], object] = lambda: None) -> list[RunningService]:
        """Wait until all are ready; if one cannot be, none is left.

        Args:
            check: Called while waiting; what it raises ends the start.

        Raises:
            SandboxStartFailed: One has not started, or was not ready in time; the note holds its
                log.
            SandboxError: Whatever else keeps one from starting.
        """
        with ExitStack() as undo:
            undo.callback(self.close)
            for start in self._starts.values():
                while not start.is_over.wait(_PAUSE):
                    check()
            self._threads.shutdown()
            errors = [start.error for start in self._starts.values() if start.error is not None]
            for error in sorted(errors, key=lambda error: isinstance(error, _GivenUp)):
                raise error
            undo.pop_all()
        return [start.service for start in self._starts.values() if start.service is not None]

    def close(self) -> None:
        """Give the start up, and remove what has been started; may be called more than once."""
        self._is_given_up.set()
        self._threads.shutdown()
        services = [start.service for start in self._starts.values() if start.service is not None]
        with ExitStack() as closing:
            if not any(service.container.is_kept for service in services):
                closing.callback(self._volumes.close)
            for service in services:
                closing.callback(service.close)

    def _check(self) -> None:
        if self._is_given_up.is_set():
            raise _GivenUp("Another service has not started, or nobody waits for this one.")

    def _bring_up(self, name: str) -> None:
        start = self._starts[name]
        try:
            for other in start.spec.after:
                while not self._starts[other].is_over.wait(_PAUSE):
                    self._check()
            self._check()
            host = self._host
            start.service = bring_up(
                host.engine,
                host.gate_image,
                name,
                start.spec,
                start.image,
                start.forwards,
                labels=host.labels,
                log_path=host.log_path(name),
                gate_log=host.scratch / f"{name}.gate.log",
                clean=host.clean,
                on_ports=self._learn,
                check=self._check,
            )
        except BaseException as error:  # noqa: BLE001 - who waits for all of them raises it
            start.error = error
            self._is_given_up.set()
        finally:
            start.is_over.set()

    def _learn(self, service: RunningService) -> None:
        """Have the others reach a service, also while it is not ready yet."""
        for start in self._starts.values():
            for port, outer in service.host_ports.items():
                start.forwards.lead(service.name, port, dial(LOOPBACK, outer))


def _places(specs: Mapping[str, Service]) -> list[Place]:
    return [(name, port) for name, spec in specs.items() for port in spec.port_numbers()]


def check_names(specs: Mapping[str, Service]) -> None:
    """Raise `SettingsError` where services have names that cannot be, or wait for one another."""
    for name, spec in specs.items():
        check_name(name)
        for other in spec.after:
            if other not in specs:
                raise SettingsError(
                    f"Service {name}: after names {other!r}, which is not among the services that "
                    f"are started with it: {', '.join(specs)}"
                )
            if other in unreachable(name, spec, _places(specs)):
                raise SettingsError(
                    f"Service {name}: after names {other!r}, which it cannot reach: both have the "
                    f"same port. Have that known by another one: {other}=Service(…, "
                    "ports=['18000:8000'])"
                )
    waiting = dict(specs)
    while waiting:
        free = [name for name, spec in waiting.items() if waiting.keys().isdisjoint(spec.after)]
        if not free:
            raise SettingsError(f"Services wait for one another: {', '.join(waiting)}")
        for name in free:
            del waiting[name]


def _image(host: ServiceHost, name: str, spec: Service) -> Image:
    with host.uncaptured(), show_progress(sys.stderr) as progress:
        if spec.build is not None:
            return build_image(host.engine, name, spec, progress)
        try:
            return ensure_image(host.engine, spec.image, platform=spec.platform, progress=progress)
        except SandboxError as error:
            error.add_note(f"It is the image of service {name}.")
            raise
