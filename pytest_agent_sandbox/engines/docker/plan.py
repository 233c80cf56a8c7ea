"""What a sandbox is to be, before there is one."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from pydantic import SecretStr

from pytest_agent_sandbox.containers.container_spec import ContainerSpec
from pytest_agent_sandbox.containers.host_files import packed
from pytest_agent_sandbox.containers.images import Image
from pytest_agent_sandbox.containers.sizes import size_in_bytes
from pytest_agent_sandbox.engines.docker.security import (
    Profile,
    check_user,
    limits_and_privileges,
)
from pytest_agent_sandbox.engines.docker.server import (
    can_be_dormant,
    published_ports,
    server_environment,
)
from pytest_agent_sandbox.engines.docker.services import has_services, lacks_services
from pytest_agent_sandbox.engines.engine import SandboxRequest
from pytest_agent_sandbox.errors import ServiceUnavailable, SettingsError
from pytest_agent_sandbox.host.egress import allowed_places
from pytest_agent_sandbox.host.no_proxy import NO_PROXY, without_proxy
from pytest_agent_sandbox.sandbox.agent_server import forwarded, secret_key
from pytest_agent_sandbox.sandbox.forwards import (
    Place,
    addresses_inside,
    places_of,
    sysctls_for,
)
from pytest_agent_sandbox.sandbox.kinds import Isolation
from pytest_agent_sandbox.sandbox.network import (
    OPEN,
    WayToGateway,
    check_allow,
    chosen_network,
    engine_network,
    network_environment,
)
from pytest_agent_sandbox.sandbox.server_process import SERVER_COMMAND
from pytest_agent_sandbox.settings.table import SandboxSettings

#: The label that holds a workspace's folder.
WORKING_DIR_LABEL = "working-dir"
#: The label that holds the user of what runs in a container, where the container is root's.
USER_LABEL = "user"
#: The label that holds the id of the test a container was started for, and what it holds where that
#: was not known yet.
TEST_LABEL, ANY_TEST = "test", "(any)"

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")
# Characters of a test's id that its container's name shows.
_SHOWN = 48


@dataclass(frozen=True, kw_only=True)
class DockerPlan:
    """What a sandbox is to be.

    Attributes:
        image: What it runs from.
        spec: Its container, without secrets.
        variables: Variables of this process that the server gets too; they may be secrets.
        secret_key: What the server encrypts with; None for a key of its own.
        is_quiet: Whether Python looks for no garbage while a server is loaded.
        has_services: Whether it starts more than the server.
        has_desktop: Whether it starts a desktop.
        isolation: What of an earlier use it may show, where it is used again.
        security: How much it is trusted: see `security`.
        network: What it can reach: see `sandbox_network`.
        allow: Where an isolated one may connect to.
        places: What it reaches by name over TCP: of those, and of what stands beside it.
        gateway: How it reaches its LLM gateway.
        timeout: Seconds until the server has to answer.
    """

    image: Image
    spec: ContainerSpec
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_key: SecretStr | None = None
    is_quiet: bool = True
    has_services: bool = False
    has_desktop: bool = False
    isolation: Isolation = "fresh"
    security: Profile = "default"
    network: str = OPEN
    allow: frozenset[str] = frozenset()
    places: frozenset[Place] = frozenset()
    gateway: WayToGateway = field(default_factory=WayToGateway, repr=False)
    timeout: float = 120.0

    @property
    def is_deferrable(self) -> bool:
        """Whether the variables can be brought to a sandbox that was started without them.

        Such a sandbox has to do some work then, for 0.05 s: where there are none, it does not wait
        for them. What is used again cannot get other ones; VS Code and the desktop would lack them.
        """
        return (
            bool(self.variables)
            and self.isolation == "fresh"
            and not self.has_services
            and can_be_dormant(self.image, self.variables)
        )

    @property
    def has_volumes(self) -> bool:
        """Whether it leaves files for others."""
        return bool(self.spec.volume_targets())

    @property
    def is_in_memory(self) -> bool:
        """Whether all that can be written to in it is in memory."""
        return self.isolation == "recycled" or self.spec.read_only

    def for_anybody(self) -> DockerPlan:
        """Return the plan without what concerns a single test."""
        labels = {**self.spec.labels, TEST_LABEL: ANY_TEST}
        return replace(self, spec=replace(self.spec, labels=labels))

    @cached_property
    def kind(self) -> Hashable:
        """Sandboxes of the same kind can stand in for each other. It may hold secrets."""
        spec = self.for_anybody().spec
        variables: Hashable = "deferred"
        if not self.is_deferrable:
            variables = tuple(sorted(self.variables.items()))
        return (
            repr(spec),
            self.image.id,  # its name may mean another one by now
            hashlib.sha256(spec.files).digest(),
            tuple(sorted(spec.environment.items())),
            variables,
            self.secret_key,
            self.is_quiet,
            self.isolation,
            self.security,
            self.network,
            self.allow,
            self.places,
            self.gateway.address,
            self.gateway.host,
            self.gateway.is_tunneled,
        )

    @property
    def test(self) -> str:
        """The test that it is for."""
        return self.spec.labels.get(TEST_LABEL, ANY_TEST)

    @property
    def name_prefix(self) -> str:
        """What the container's name begins with, for people."""
        is_known = self.test != ANY_TEST
        shown = _NOT_IN_NAMES.sub("-", self.test)[-_SHOWN:].strip("-.") if is_known else ""
        return f"{self.spec.name_prefix}-{shown}" if shown else self.spec.name_prefix


def plan_sandbox(
    image: Image, gateway: WayToGateway, request: SandboxRequest, *, host_port: int | None = None
) -> DockerPlan:
    """Return the plan that a request means.

    Args:
        image: What the sandbox runs from.
        gateway: Its way to the LLM gateway.
        request: What is asked for.
        host_port: The port of this machine for its server; None where the engine chooses.

    Raises:
        ServiceUnavailable: The image has no desktop, and one is wanted.
        SettingsError: A setting has a value that cannot be used.
    """
    settings = request.settings
    _check(image, settings)
    extra_ports, is_recorded = bool(settings.extra_ports), settings.video != "none"
    network = chosen_network(settings.security, settings.network)
    allow = allowed_places(settings.allow)
    check_allow(network, allow)
    variables = forwarded(settings.forward_env)
    if not variables.keys().isdisjoint(NO_PROXY):
        variables |= without_proxy([variables], gateway.direct)
    has_desktop = has_services(image) and (is_recorded or extra_ports)
    starts_services = has_desktop or (extra_ports and not lacks_services(image))
    isolation = _isolation(settings, starts_services=starts_services)
    labels = {WORKING_DIR_LABEL: settings.working_dir, **request.labels}
    if request.test:
        labels[TEST_LABEL] = request.test
    ports = published_ports(host_port, extra_ports)
    places = places_of(allow, ports)
    spec = ContainerSpec(
        image=image.reference,
        command=SERVER_COMMAND,
        environment={
            **server_environment(image, extra_ports=extra_ports, has_desktop=has_desktop),
            **network_environment(network),
        },
        ports=ports,
        volumes=settings.volumes,
        tmpfs=_in_memory(settings.tmpfs),
        shm_size=settings.shm_size,
        network=engine_network(network),
        extra_hosts={
            **gateway.extra_hosts,
            **addresses_inside(places),
            # Elsewhere names can still be written when the services are there.
            **(request.hosts if isolation == "recycled" or settings.security == "strict" else {}),
        },
        sysctls=sysctls_for(places),
        gpus=settings.gpu,
        user=settings.user,
        runtime=settings.runtime,
        **limits_and_privileges(settings, is_cleaned=isolation == "recycled"),
        labels=labels,
        platform=settings.platform,
    )
    mounted = spec.volume_targets()
    for folder in spec.tmpfs:
        if folder in mounted:
            raise SettingsError(f"tmpfs: {folder} is mounted by volumes too: leave one of both out")
    spec = replace(spec, files=packed(settings.files, [*mounted, *spec.tmpfs]))
    return DockerPlan(
        image=image,
        spec=spec,
        variables=variables,
        secret_key=secret_key(settings.secret_key_env),
        is_quiet=settings.quiet_boot,
        has_services=extra_ports or has_desktop,
        has_desktop=has_desktop,
        timeout=settings.start_timeout,
        isolation=isolation,
        security=settings.security,
        network=network,
        allow=allow,
        places=places,
        gateway=gateway,
    )


def _check(image: Image, settings: SandboxSettings) -> None:
    if not settings.working_dir.startswith("/"):
        raise SettingsError(
            f"working_dir: {settings.working_dir!r} is no absolute path, such as /workspace/x"
        )
    if settings.video != "none" and not has_services(image):
        raise ServiceUnavailable(
            f"The image {image.reference} has no desktop, which desktop=True (--sandbox-video) "
            "wants; `agent-sandbox build --target source` builds one that has."
        )
    check_user(settings.security, image, settings.user)
    if settings.files and settings.security == "strict":
        raise SettingsError(
            "files: security = strict has folders in memory only, which are empty before the "
            "start: use upload() in the test, or volumes"
        )


def _isolation(settings: SandboxSettings, *, starts_services: bool) -> Isolation:
    """Return the isolation that there is: what cannot be cleaned is not used again."""
    if settings.isolation == "recycled" and (
        # They leave too much behind to be cleaned.
        starts_services
        # Who cleans needs what nobody may have there.
        or settings.security == "strict"
        # They would be hidden below the folders in memory.
        or settings.files
        # They are not among the folders that are cleaned.
        or settings.tmpfs
    ):
        return "fresh"
    return settings.isolation


def _in_memory(folders: Iterable[str]) -> dict[str, str]:
    """Return folders in memory and their mount options, of a setting such as `/scratch:512m`."""
    options = {}
    for given in folders:
        name, colon, size = given.partition(":")
        folder = posixpath.normpath(name)
        if not name.startswith("/") or not folder.strip("/"):
            raise SettingsError(f"tmpfs: {given!r} is not of the form /folder[:size]")
        limit = f",size={size_in_bytes(f'tmpfs: {given!r}', size)}" if colon else ""
        options[folder] = f"exec,mode=1777{limit}"  # executable, as files elsewhere are
    return options
