"""What a service is to be: the description that a test gives."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.sandbox.services.readiness import Ready

if TYPE_CHECKING:
    from pytest_agent_sandbox.containers.container_spec import Volumes
    from pytest_agent_sandbox.sandbox.services.testcontainer import Adopted

#: What a service's name looks like: programs look it up as a host.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PORTS = re.compile(r"(?:(?P<outer>\d+):)?(?P<inner>\d+)(?:/tcp)?")
_HIGHEST_PORT = 65535
# The schemes of ports that say what is spoken there.
_SCHEMES = {
    80: "http",
    443: "https",
    1025: "smtp",
    3306: "mysql",
    4222: "nats",
    5432: "postgresql",
    5672: "amqp",
    6379: "redis",
    8080: "http",
    9000: "http",
    9092: "kafka",
    9200: "http",
    11211: "memcached",
    27017: "mongodb",
}


@dataclass(frozen=True)
class Service:
    """A container that an agent works with, beside its sandbox: a database, a queue, a web app.

    It has no network of its own: the test, its sandboxes and the services that were started with it
    reach its ports, and it reaches the ports of those services. `network` says otherwise.

    Example:
        ```python
        db = agent_services(
            db=Service("postgres:17", env={"POSTGRES_PASSWORD": "test"}, ports=[5432])
        ).db
        ```

    Attributes:
        image: The name of its image; it is pulled where the engine has none. May be left out with
            `build`.
        env: Variables of its processes.
        ports: Its TCP ports. `"15432:5432"` has its port 5432 known as 15432.
        ready: When it is ready: a `Ready`, such as `Ready.log("ready to accept")`. By default, once
            the health check of its image passes; where that has none, once all ports are open.
        command: Its command, or the arguments of the image's entry point; a string is split as a
            shell does.
        entrypoint: The entry point in place of the image's.
        build: The folder of a Dockerfile to build its image from.
        network: `none`; `open` for the engine's default network, by which it reaches the internet;
            or the name of a network of the engine. What it can reach, an agent may use it to reach.
        volumes: `["name:/data"]`: a new and empty volume, which is gone with the services that
            share it; a folder of this machine as for a sandbox.
        tmpfs: Its folders in memory: `["/data"]`, `["/data:64m"]`.
        user: The user of its processes; None for that of the image.
        hostname: What it calls itself; None for its name.
        memory: Its memory limit, such as `"512m"`; None for none.
        cpus: How many CPUs it may use.
        platform: Such as `linux/arm64`; None for the engine's own.
        after: The names of services that have to be ready before it starts.
        start_timeout: Seconds until it has to be ready, without the pull of its image.
        scheme: What `url` begins with, where its first port does not tell.

    Raises:
        SettingsError: A value cannot be used; the message names it.
    """

    image: str = ""
    env: Mapping[str, str] = field(default_factory=dict, kw_only=True, repr=False)
    ports: Sequence[int | str] = field(default=(), kw_only=True)
    ready: Ready | None = field(default=None, kw_only=True)
    command: str | Sequence[str] | None = field(default=None, kw_only=True)
    entrypoint: str | Sequence[str] | None = field(default=None, kw_only=True)
    build: str | Path | Mapping[str, Any] | None = field(default=None, kw_only=True)
    network: str = field(default="none", kw_only=True)
    volumes: Volumes = field(default=(), kw_only=True)
    tmpfs: Sequence[str] = field(default=(), kw_only=True)
    user: str | None = field(default=None, kw_only=True)
    hostname: str | None = field(default=None, kw_only=True)
    memory: int | str | None = field(default=None, kw_only=True)
    cpus: float | None = field(default=None, kw_only=True)
    platform: str | None = field(default=None, kw_only=True)
    after: Sequence[str] = field(default=(), kw_only=True)
    start_timeout: float = field(default=60.0, kw_only=True)
    scheme: str = field(default="", kw_only=True)
    #: The container object of testcontainers that it is; it is no argument of tests.
    adopted: Adopted | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not self.image and self.build is None:
            raise SettingsError("Service: give it an image, or build=FOLDER")
        if isinstance(self.ports, (str, int)):
            raise SettingsError(f"Service: ports={self.ports!r} is no list; use [{self.ports!r}]")
        if self.ready is not None and not isinstance(self.ready, Ready):
            raise SettingsError(
                f"Service: ready={self.ready!r} is no Ready; use Ready.port(), Ready.log(…), "
                "Ready.http(…), Ready.command(…) or Ready.health()"
            )
        if self.network == "host":
            raise SettingsError(
                "Service: network='host' gives it this machine's network; use 'open', or the name "
                "of a network"
            )
        if self.start_timeout <= 0:
            raise SettingsError(f"Service: start_timeout={self.start_timeout} is no time")
        self.port_numbers()

    def port_numbers(self) -> dict[int, int]:
        """Return its ports as they are known, each with its port in the container.

        Raises:
            SettingsError: One is none, or is there twice.
        """
        found: dict[int, int] = {}
        for port in self.ports:
            parts = _PORTS.fullmatch(str(port))
            numbers = [int(number) for number in parts.groups() if number] if parts else [0]
            if not all(0 < number <= _HIGHEST_PORT for number in numbers):
                raise SettingsError(
                    f"Service: ports holds {port!r}, which is no TCP port such as 5432 or "
                    "'15432:5432'"
                )
            if numbers[0] in found:
                raise SettingsError(f"Service: ports holds {numbers[0]} twice")
            found[numbers[0]] = numbers[-1]
        return found

    def scheme_of(self, port: int) -> str:
        """Return what the address of one of its ports begins with."""
        return self.scheme or _SCHEMES.get(self.port_numbers().get(port, port), "tcp")


def check_name(name: str) -> None:
    """Raise `SettingsError` where something is no name of a service."""
    if not _NAME.fullmatch(name) or name.isdigit():
        raise SettingsError(
            f"agent_services: {name!r} is no name that programs can look up: use lower-case "
            "letters, digits and hyphens"
        )
