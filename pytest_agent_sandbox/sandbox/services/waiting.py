"""The wait for a service to be ready, and what says that it is."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from pytest_agent_sandbox.containers.container_process import run_in_container
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import Image
from pytest_agent_sandbox.errors import SandboxStartFailed, SettingsError
from pytest_agent_sandbox.sandbox.services.readiness import Ready
from pytest_agent_sandbox.sandbox.services.running_service import RunningService

_PAUSE = 0.1
# Seconds that a single run of a health check may take.
_CHECK_PATIENCE = 10.0


def wait_until_ready(
    engine: ContainerEngine,
    service: RunningService,
    image: Image,
    check: Callable[[], None],
    deadline: float,
) -> None:
    """Wait until a service is ready.

    Args:
        engine: Its engine.
        service: The service.
        image: Its image.
        check: Called while waiting; what it raises ends that.
        deadline: When to give up, by the monotonic clock.

    Raises:
        SandboxDied: It has ended.
        SandboxStartFailed: It is not ready in time.
    """

    def look() -> None:
        check()
        service.check()

    health = _health_check(engine, image)
    ready = service.spec.ready or _default(service, health)
    if ready.kind == "health" and not health:
        raise SettingsError(
            f"Service {service.name}: ready=Ready.health(), and the image {image.reference} has no "
            "health check; use Ready.port(), Ready.log(…) or Ready.command(…)"
        )
    if _is_ready(engine, service, ready, health, look, deadline):
        return
    raise SandboxStartFailed(
        f"Service {service.name} of {service.container.image} was not ready within "
        f"{service.spec.start_timeout:g} s: waited for {ready}. Its log below may say why; "
        "Service(start_timeout=SECONDS) gives it longer, Service(ready=…) says what to wait for.",
        log=service.container.log_tail(),
    )


def _default(service: RunningService, health: list[str]) -> Ready:
    if health:
        return Ready.health()
    return Ready.port() if service.ports else Ready.started()


def _health_check(engine: ContainerEngine, image: Image) -> list[str]:
    """Return the command line of an image's health check; empty where it has none."""
    with engine.calling(f"show the image {image.reference}"):
        config = engine.client.images.get(image.id).attrs["Config"] or {}
    test = list(map(str, (config.get("Healthcheck") or {}).get("Test") or ()))
    if test[:1] == ["CMD"]:
        return test[1:]
    return ["/bin/sh", "-c", *test[1:]] if test[:1] == ["CMD-SHELL"] else []


def _is_ready(
    engine: ContainerEngine,
    service: RunningService,
    ready: Ready,
    health: list[str],
    look: Callable[[], None],
    deadline: float,
) -> bool:
    """Tell whether a service is ready in time."""
    if ready.kind == "ports":
        ports = [ready.number] if ready.number else list(service.ports)
        return service.await_ports(_known(service, ports), look, deadline)
    asked = _question(engine, service, ready, health)
    while not asked():
        look()
        if time.monotonic() > deadline:
            return False
        service.container.wait_for_end(_PAUSE)
    look()
    return True


def _known(service: RunningService, ports: list[int]) -> list[int]:
    for port in ports:
        if port not in service.ports:
            raise SettingsError(
                f"Service {service.name}: ready waits for port {port}, which is not among its "
                f"ports {list(service.ports)}"
            )
    return ports


def _question(
    engine: ContainerEngine, service: RunningService, ready: Ready, health: list[str]
) -> Callable[[], bool]:
    """Return what asks once whether a service is ready."""
    if ready.kind == "started":
        return lambda: True
    if ready.kind == "adopted":
        assert service.spec.adopted is not None
        return service.spec.adopted.is_ready
    if ready.kind == "log":
        pattern = re.compile(ready.text)
        return lambda: (
            sum(pattern.search(line) is not None for line in service.logs().splitlines())
            >= ready.number
        )
    if ready.kind == "http":
        port = _known(service, [ready.number or service.port])[0]
        return lambda: service.answers(ready.text, port, ready.status)
    words, container = list(ready.words) or health, service.container.id
    return lambda: (
        run_in_container(engine, container, words, timeout=_CHECK_PATIENCE).exit_code == 0
    )
