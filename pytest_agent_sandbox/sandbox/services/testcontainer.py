"""Container objects of testcontainers as services: we start them, and they think they did.

An object's own start would put it on the engine's default network, with ports that are published
to everybody. Its `start` is called nevertheless, for what it does before and after the container is
created is its own: with a client in place of its own that creates nothing.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_agent_sandbox.errors import SandboxStartFailed, SettingsError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.sandbox.services.readiness import Ready
from pytest_agent_sandbox.sandbox.services.service import Service

if TYPE_CHECKING:
    from pytest_agent_sandbox.sandbox.services.running_service import RunningService

logger = seldom.logger(__name__)

_LOOPBACK = "127.0.0.1"
# Seconds for an object to notice that it has no container any more: it looks every second.
_PATIENCE = 2.0
#: What an object may ask the engine for beyond its own arguments, and what it is of a service.
KWARGS = {
    "user": "user",
    "entrypoint": "entrypoint",
    "hostname": "hostname",
    "platform": "platform",
    "mem_limit": "memory",
}
# In these threads no helper container ("Ryuk") is started: our watcher removes what is left.
_ours = threading.local()
_patching = threading.Lock()


class _Asked(BaseException):
    """What an object asks the engine for: it ends the start of the object there."""

    def __init__(self, image: str, wanted: Mapping[str, Any]) -> None:
        self.image = image
        self.wanted = dict(wanted)


def is_testcontainer(given: object) -> bool:
    """Tell whether something is a container object; testcontainers is not imported for that."""
    module = sys.modules.get("testcontainers.core.container")
    return module is not None and isinstance(given, module.DockerContainer)


def service_of(name: str, container: Any) -> Service:
    """Return the service that a container object describes.

    Args:
        name: The service's name.
        container: The object, not started.

    Raises:
        SettingsError: It was started already, or asks for what a service cannot have.
    """
    client = container.get_docker_client()
    if isinstance(client, _Client):  # in use as a service, which other tests may share
        return client.adopted.spec
    if container._container is not None:
        raise SettingsError(
            f"agent_services: {name}={_type(container)} was started by the test already: give it "
            "to agent_services as it is made, without start() or `with`"
        )
    return Adopted(name, container).spec


class Adopted:
    """A container object that is a service.

    Args:
        name: The service's name.
        container: The object.

    Attributes:
        spec: What it asks to be.

    Raises:
        SettingsError: It asks for what a service cannot have.
    """

    def __init__(self, name: str, container: Any) -> None:
        self._container = container
        self._name = name
        self._client = container.get_docker_client()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._is_over = threading.Event()
        self.spec = self._ask()

    def __repr__(self) -> str:
        # Which object it is decides which services are the same.
        return f"<{_type(self._container)} {id(self._container):#x}>"

    def begin(self, service: RunningService, container: Any) -> None:
        """Have the object take a container for its own, and wait in its own way; returns at once.

        Args:
            service: The service.
            container: Its container, as Docker's SDK has it.

        Raises:
            SettingsError: The object is a service already.
        """
        if isinstance(self._container.get_docker_client(), _Client):
            raise SettingsError(f"Service {self._name}: {self!r} is another service already")
        self._error, self._is_over = None, threading.Event()
        self._container._docker = _Client(self, self._client, service, container)
        self._thread = threading.Thread(target=self._start, name="agent-sandbox-testcontainer")
        self._thread.daemon = True  # it may wait for longer than we do
        self._thread.start()

    def is_ready(self) -> bool:
        """Tell whether the object has seen that its service is ready.

        Raises:
            SandboxStartFailed: It has given up.
        """
        if not self._is_over.is_set():
            return False
        if self._error is not None:
            raise SandboxStartFailed(
                f"Service {self._name}: {_type(self._container)} does not find it ready: "
                f"{type(self._error).__name__}: {self._error}"
            ) from self._error
        # From now on `start()`, `stop()` and `with` are no business of the test's.
        self._container.start = lambda *_, **__: self._container
        self._container.stop = lambda *_, **__: None
        return True

    def end(self) -> None:
        """Give the object back as it was made; may be called more than once."""
        client = self._container.get_docker_client()
        if not isinstance(client, _Client):
            return
        client.end()
        for name in ("start", "stop"):
            vars(self._container).pop(name, None)
        self._container._docker, self._container._container = self._client, _Gone()
        if self._thread is not None:
            self._thread.join(_PATIENCE)
        self._container._container = self._container._cached_container_info = None
        self._client.client.close()

    def _start(self) -> None:
        try:
            with _without_ryuk():
                self._container.start()
        except BaseException as error:  # noqa: BLE001 - told by `is_ready`
            self._error = error
        finally:
            self._is_over.set()

    def _ask(self) -> Service:
        self._container._docker = _Asking()
        try:
            with _without_ryuk():
                self._container.start()
        except _Asked as asked:
            return self._service(asked.image, asked.wanted)
        except Exception as error:  # noqa: BLE001 - whatever its own code does there
            self._refuse("its start()", f"fails before its container is there: {error!r:.200}")
        finally:
            self._container._docker = self._client
        self._refuse("it", "starts no container")

    def _service(self, image: str, wanted: dict[str, Any]) -> Service:
        container = self._container
        for what, value in (
            ("with_network()", container._network),
            ("with_name()", container._name),
            ("with_copy_into_container()", container._transferable_specs),
        ):
            if value:
                self._refuse(
                    what,
                    "is not supported: services are reached by their names, and "
                    "files come with an image or a volume",
                )
        known = ("command", "environment", "ports", "volumes", "tmpfs", "name", "labels", *KWARGS)
        for key, value in wanted.items():
            if key not in known and value not in (None, False):
                self._refuse(f"{key}=…", f"is not supported; it may set {', '.join(KWARGS)}")
        ports = [self._port(key, outer) for key, outer in (wanted.get("ports") or {}).items()]
        tmpfs = (wanted.get("tmpfs") or {}).items()
        return Service(
            image,
            env={key: str(value) for key, value in (wanted.get("environment") or {}).items()},
            ports=ports,
            command=wanted.get("command"),
            volumes=wanted.get("volumes") or (),
            tmpfs=[f"{to}:{_size(options)}" if options else to for to, options in tmpfs],
            ready=Ready("adopted"),
            start_timeout=self._patience(),
            adopted=self,
            **{KWARGS[key]: wanted[key] for key in KWARGS if wanted.get(key) is not None},
        )

    def _port(self, port: int | str, outer: object) -> int:
        number, _, protocol = str(port).partition("/")
        if protocol not in ("", "tcp") or not number.isdecimal():
            self._refuse(f"the port {port}", "is not TCP; only TCP is carried to services")
        if outer is not None:
            self._refuse(
                f"the port {port}",
                "is bound to one of this machine: use with_exposed_ports(), and get_exposed_port()",
            )
        return int(number)

    def _patience(self) -> float:
        from testcontainers.core.config import testcontainers_config

        strategy = self._container._wait_strategy
        return float(getattr(strategy, "_startup_timeout", testcontainers_config.timeout))

    def _refuse(self, what: str, problem: str) -> NoReturn:
        raise SettingsError(
            f"agent_services: {self._name}={_type(self._container)}: {what} {problem}"
        )


class _GivenUp(BaseException):
    """The end of a wait that nobody waits for; waiting objects take other errors for "not yet"."""


class _Gone:
    """In place of a container that an object may still wait for."""

    def __getattr__(self, name: str) -> NoReturn:
        raise _GivenUp


class _Asking:
    """In place of an object's client: tells what it asks for."""

    def create(self, image: str, **wanted: Any) -> NoReturn:
        """Tell it."""
        raise _Asked(image, wanted)


class _Client:
    """In place of an object's client: has the container that we have started."""

    def __init__(
        self, adopted: Adopted, client: Any, service: RunningService, container: Any
    ) -> None:
        self.adopted = adopted
        self.client = client.client
        self._service = service
        self._container = container
        self._is_ended = False

    def end(self) -> None:
        """Have no container any more."""
        self._is_ended = True

    def create(self, *_: Any, **__: Any) -> Any:
        """Return the container."""
        if self._is_ended:
            raise ConnectionError("nobody waits for it any more")
        return self._container

    def start(self, container: Any) -> None:
        """Do nothing: it runs."""

    def host(self) -> str:
        """Return where the ports of `port` are."""
        return _LOOPBACK

    def port(self, _: str, port: int) -> int:
        """Return the port of this machine that leads to one of the container's."""
        ports = self._service.host_ports
        if int(port) not in ports:
            raise ConnectionError(f"Service {self._service.name} has no port {port}: {ports}")
        return ports[int(port)]

    def get_connection_mode(self) -> Any:
        """Return how ports are reached: by `host` and `port`."""
        from testcontainers.core.config import ConnectionMode

        return ConnectionMode.docker_host

    def get_container_inspect_info(self, container_id: str) -> Any:
        """Return what the engine says of the container."""
        from testcontainers.core.inspect import ContainerInspectInfo

        return ContainerInspectInfo.from_dict(
            self._container.client.api.inspect_container(container_id)
        )


@contextmanager
def _without_ryuk() -> Iterator[None]:
    """Start no helper container of testcontainers in this thread; other threads start theirs."""
    from testcontainers.core.container import Reaper

    with _patching:
        original: Callable[[], Any] = Reaper.get_instance
        if not getattr(original, "is_of_agent_sandbox", False):

            def get_instance() -> Any:
                return None if getattr(_ours, "is_starting", False) else original()

            get_instance.is_of_agent_sandbox = True  # type: ignore[attr-defined]
            Reaper.get_instance = staticmethod(get_instance)  # type: ignore[method-assign]
    _ours.is_starting = True
    try:
        yield
    finally:
        _ours.is_starting = False


def _size(options: str) -> str:
    return options.removeprefix("size=")


def _type(container: object) -> str:
    return type(container).__name__
