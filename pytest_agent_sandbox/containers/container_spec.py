"""The description of a container to be, checked and put into the engine's words."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from docker.api import APIClient
from docker.types import DeviceRequest, LogConfig, Ulimit

from pytest_agent_sandbox.containers.sizes import size_in_bytes
from pytest_agent_sandbox.errors import SettingsError

_HIGHEST_PORT = 65535
# The container's side starts with a slash, the host's may hold a colon ("C:\\work:/work:ro").
_VOLUME = re.compile(r"(?P<source>.+?):(?P<target>/[^:]*)(?::(?P<mode>[\w,]+))?")
# The engine keeps only so much of a container's output; we read all of it as it comes.
_LOG_LIMITS = {"max-size": "32m", "max-file": "2"}
# Whoever reaches one of these is root on the engine's machine.
_ENGINE_SOCKETS = (
    "/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
)
# The sockets of a user's own engines, where there are any.
_SOCKETS_AT_HOME = (
    ".docker/run/docker.sock",
    ".docker/desktop/docker.sock",
    ".colima/default/docker.sock",
    ".colima/docker.sock",
    ".rd/docker.sock",
    ".orbstack/run/docker.sock",
)
_NAME_PREFIX = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")

Volumes = Sequence[str] | Mapping[str, str | Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """Everything about a container that is known before it starts.

    Attributes:
        image: Reference or id of an image that the engine has.
        command: The command's words, or the arguments of the image's entry point; None for the
            image's own.
        entrypoint: The entry point's words, in place of the image's own.
        environment: Variables. Values may be secrets: they travel in the body of a request, are
            no part of the representation, and appear in no message.
        ports: The container's TCP port to the port on this machine; None lets the engine choose
            one. They are published on 127.0.0.1 only; of a container on the network `none`, or a
            `tunneled` one, they are reached by a `Tunnel`.
        volumes: ``["host:container[:ro]", ...]``, or ``{host: container}``, or the docker SDK's
            ``{host: {"bind": container, "mode": "ro"}}``. The host's side is a folder (``~`` and
            a leading ``.`` are resolved) or the name of a volume.
        tmpfs: Folders in memory, with their mount options (``{"/tmp": "exec,size=64m"}``).
        shm_size: The size of its ``/dev/shm``, in bytes or with a unit; None for the engine's own.
        network: Name of the network to join; None for the engine's default one.
        tunneled: Whether ports are reached by a `Tunnel` although there is a network.
        hostname: What it calls itself; None for one that the engine makes up.
        extra_hosts: Host names the container shall know, with their addresses.
        sysctls: Settings of the kernel for it alone.
        gpus: Whether it gets all GPUs.
        memory: Its memory limit in bytes, or with a unit (``"2g"``). Swap does not add to it.
        cpus: How many CPUs it may use at a time, such as 1.5.
        pids_limit: How many processes and threads it may have.
        ulimits: Resource limits, such as ``{"nofile": 4096}``. Engines may not be allowed to raise
            them: set what is needed only.
        user: User (and group) of its processes; None for the image's own.
        files: An archive (tar) that is put into its root before it starts.
        labels: Labels, put under the prefix ``pytest-agent-sandbox.``; the owner (see
            `ownership`) and the time of the start are added.
        platform: Such as ``linux/arm64``; None for the image's own.
        read_only: Whether its root file system is read-only.
        cap_drop: Capabilities that it does not get, of those that engines give (``["ALL"]``).
        cap_add: Capabilities that it gets nevertheless.
        security_options: In the engine's words, such as ``["no-new-privileges"]``.
        runtime: The engine's runtime to use (``runsc``, ``kata``); None for its default one.
        required_limits: Of `memory`, `cpus` and `pids` those without which the start fails, where
            the engine cannot apply them; of the others the container goes without.
        name_prefix: What its name begins with; the rest is random.

    Raises:
        SettingsError: A value cannot be used; the message names the argument.
    """

    image: str
    command: Sequence[str] | None = None
    entrypoint: Sequence[str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    ports: Mapping[int, int | None] = field(default_factory=dict)
    volumes: Volumes = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    shm_size: int | str | None = None
    network: str | None = None
    tunneled: bool = False
    hostname: str | None = None
    extra_hosts: Mapping[str, str] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    gpus: bool = False
    memory: int | str | None = None
    cpus: float | None = None
    pids_limit: int | None = None
    ulimits: Mapping[str, int] = field(default_factory=dict)
    user: str | None = None
    files: bytes = field(default=b"", repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    platform: str | None = None
    read_only: bool = False
    cap_drop: Sequence[str] = ()
    cap_add: Sequence[str] = ()
    security_options: Sequence[str] = ()
    runtime: str | None = None
    required_limits: Collection[str] = ("memory", "cpus", "pids")
    name_prefix: str = "agent-sandbox"

    def __post_init__(self) -> None:
        if not self.image:
            raise SettingsError("image: the name of an image is missing")
        for name, words in (("command", self.command), ("entrypoint", self.entrypoint)):
            if isinstance(words, str):
                raise SettingsError(f"{name}: give a list of words, not one string")
        if not _NAME_PREFIX.fullmatch(self.name_prefix):
            raise SettingsError(
                f"name_prefix: {self.name_prefix!r} cannot begin a container's name"
            )
        if self.cpus is not None and self.cpus <= 0:
            raise SettingsError(f"cpus: {self.cpus} is not a positive number")
        if self.pids_limit is not None and self.pids_limit <= 0:
            raise SettingsError(f"pids_limit: {self.pids_limit} is not a positive number")
        if self.platform is not None and self.platform.count("/") not in (1, 2):
            raise SettingsError(f"platform: {self.platform!r} is not of the form linux/amd64")
        if self.ports and self.network == "host":
            raise SettingsError(f"network: {self.network!r} publishes no ports")
        _check_environment(self.environment)
        _check_ports(self.ports)
        size_in_bytes("memory", self.memory)
        size_in_bytes("shm_size", self.shm_size)
        binds(self.volumes)

    @property
    def has_no_network(self) -> bool:
        """Whether its own loopback is all the network that the container has."""
        return self.network == "none"

    @property
    def publishes_ports(self) -> bool:
        """Whether the engine publishes its ports."""
        return not (self.has_no_network or self.tunneled)

    def fixed_ports(self) -> set[int]:
        """Return the ports of this machine that were asked for by number."""
        return {port for port in self.ports.values() if port is not None}

    def volume_targets(self) -> list[str]:
        """Return the container's folders where volumes, or folders of the host, are mounted."""
        return [bind.rsplit(":", 2)[1] for bind in binds(self.volumes)]

    def create_arguments(self, api: APIClient) -> dict[str, Any]:
        """Return what the docker SDK's ``create_container`` takes, but name and labels."""
        memory = size_in_bytes("memory", self.memory)
        published = self.ports if self.publishes_ports else {}
        arguments: dict[str, Any] = {
            "image": self.image,
            "command": None if self.command is None else list(self.command),
            "entrypoint": None if self.entrypoint is None else list(self.entrypoint),
            "environment": dict(self.environment),
            "use_config_proxy": False,  # `environment` has them: the SDK does not know all of them
            "ports": list(published),
            "user": self.user,
            "hostname": self.hostname,
            "host_config": api.create_host_config(
                port_bindings={
                    inner: ("127.0.0.1", outer) if outer else ("127.0.0.1",)
                    for inner, outer in published.items()
                },
                binds=binds(self.volumes),
                tmpfs=dict(self.tmpfs),
                shm_size=size_in_bytes("shm_size", self.shm_size),
                network_mode=self.network,
                extra_hosts=dict(self.extra_hosts),
                sysctls=dict(self.sysctls) or None,
                device_requests=(
                    [DeviceRequest(count=-1, capabilities=[["gpu"]])] if self.gpus else None
                ),
                mem_limit=memory,
                # Without this, the engine allows as much swap again.
                memswap_limit=memory,
                nano_cpus=None if self.cpus is None else int(self.cpus * 1e9),
                pids_limit=self.pids_limit,
                ulimits=[
                    Ulimit(name=name, soft=limit, hard=limit)
                    for name, limit in self.ulimits.items()
                ],
                read_only=self.read_only,
                cap_drop=list(self.cap_drop),
                cap_add=list(self.cap_add),
                security_opt=list(self.security_options),
                runtime=self.runtime,
                log_config=LogConfig(type="json-file", config=dict(_LOG_LIMITS)),
            ),
        }
        if self.platform is not None:
            arguments["platform"] = self.platform
        return arguments


def _check_environment(environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if not name or "=" in name or "\0" in name:
            raise SettingsError(f"environment: {name!r} is not the name of a variable")
        if not isinstance(value, str) or "\0" in value:
            # The value may be a secret, even if it is of the wrong type.
            raise SettingsError(f"environment: the value of {name} is not a text without NUL")


def _check_ports(ports: Mapping[int, int | None]) -> None:
    for inner, outer in ports.items():
        for port in (inner, outer):
            if port is not None and not 0 < port <= _HIGHEST_PORT:
                raise SettingsError(f"ports: {port} is not a port (1 to {_HIGHEST_PORT})")
    fixed = [outer for outer in ports.values() if outer is not None]
    if len(fixed) != len(set(fixed)):
        raise SettingsError("ports: two ports of the container have the same port on this machine")


def binds(volumes: Volumes) -> list[str]:
    """Return mounts as the engine takes them, each as `source:target:mode`.

    Raises:
        SettingsError: One is none, or holds the engine's socket.
    """
    if isinstance(volumes, str):
        raise SettingsError("volumes: give a list, not one string")
    if not isinstance(volumes, Mapping):
        return [_bind(str(volume)) for volume in volumes]
    found = []
    for source, target in volumes.items():
        if isinstance(target, str):
            found.append(_bind(f"{source}:{target}"))
        elif "bind" in target:
            found.append(_bind(f"{source}:{target['bind']}:{target.get('mode', 'rw')}"))
        else:
            raise SettingsError(f"volumes: {source!r} has no 'bind', its folder in the container")
    return found


def _bind(volume: str) -> str:
    parts = _VOLUME.fullmatch(volume)
    if parts is None:
        raise SettingsError(f"volumes: {volume!r} is not of the form host:/folder[:ro]")
    source = parts["source"]
    if source.startswith(("~", ".")):
        source = str(Path(source).expanduser().resolve())
    _check_source(source)
    return f"{source}:{parts['target']}:{parts['mode'] or 'rw'}"


def _check_source(source: str) -> None:
    """Check that a folder of the host, or a file, has no engine's socket in it."""
    # With all links followed, as the engine does.
    paths = [PurePosixPath(posixpath.normpath(source.replace("\\", "/")))]
    if source.startswith("/"):
        paths.append(PurePosixPath(os.path.realpath(source)))
    places = [PurePosixPath(place) for place in _ENGINE_SOCKETS]
    places += [PurePosixPath("/var") / place.relative_to("/") for place in places]
    home = PurePosixPath(Path.home().as_posix())
    places += [home / name for name in _SOCKETS_AT_HOME if Path(home, name).exists()]
    for path in paths:
        is_socket = path.name in {place.name for place in places}
        is_users = path == PurePosixPath("/run/user") or path.parent == PurePosixPath("/run/user")
        if is_socket or is_users or any(path in place.parents for place in places):
            raise SettingsError(
                f"volumes: {source!r} holds the engine's socket, and who has that is root on this "
                "machine. Mount the folders in it that are needed."
            )
