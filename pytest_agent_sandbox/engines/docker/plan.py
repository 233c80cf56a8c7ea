"""What a sandbox is to be, before there is one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from pytest_agent_sandbox.containers.host_files import packed
from pytest_agent_sandbox.containers.images import Image
from pytest_agent_sandbox.containers.proxies import NO_PROXY, without_proxy
from pytest_agent_sandbox.containers.spec import ContainerSpec
from pytest_agent_sandbox.engines.docker.security import (
    Profile,
    check_user,
    chosen_network,
    container_options,
)
from pytest_agent_sandbox.engines.docker.server import (
    SERVER_COMMAND,
    can_be_dormant,
    published_ports,
    server_environment,
)
from pytest_agent_sandbox.engines.docker.services import has_services, lacks_services
from pytest_agent_sandbox.errors import ServiceUnavailable, SettingsError
from pytest_agent_sandbox.host.egress import allowed_places
from pytest_agent_sandbox.sandbox.agent_server import forwarded
from pytest_agent_sandbox.sandbox.network import (
    OPEN,
    WayToGateway,
    check_allow,
    engine_network,
    network_environment,
)

Isolation = Literal["fresh", "recycled", "shared"]

#: The label that holds a workspace's folder.
WORKING_DIR_LABEL = "working-dir"
#: The label that holds the id of the test a container was started for, and what it holds where that
#: was not known yet.
TEST_LABEL, ANY_TEST = "test", "(any)"

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")
# Characters of a test's id that its container's name shows.
_SHOWN = 48


@dataclass(frozen=True, kw_only=True)
class SandboxPlan:
    """What a sandbox is to be.

    Attributes:
        image: What it runs from.
        spec: Its container, without secrets.
        variables: Variables of this process that the server gets too; they may be secrets.
        has_services: Whether it starts more than the server.
        has_desktop: Whether it starts a desktop.
        isolation: What of an earlier use it may show, where it is used again.
        security: How much it is trusted: see `security`.
        network: What it can reach: see `sandbox_network`.
        allow: Where an isolated one may connect to.
        gateway: How it reaches its LLM gateway.
        timeout: Seconds until the server has to answer.
    """

    image: Image
    spec: ContainerSpec
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    has_services: bool = False
    has_desktop: bool = False
    isolation: Isolation = "fresh"
    security: Profile = "default"
    network: str = OPEN
    allow: frozenset[str] = frozenset()
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
    def is_in_memory(self) -> bool:
        """Whether all that can be written to in it is in memory."""
        return self.isolation == "recycled" or self.spec.read_only

    def for_anybody(self) -> SandboxPlan:
        """The plan without what concerns a single test."""
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
            hashlib.sha256(spec.files).digest(),
            tuple(sorted(spec.environment.items())),
            variables,
            self.isolation,
            self.security,
            self.network,
            self.allow,
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
    image: Image,
    gateway: WayToGateway,
    *,
    host_port: int | None = None,
    extra_ports: bool = False,
    desktop: bool = False,
    working_dir: str,
    volumes: Sequence[str] = (),
    files: Sequence[str] = (),
    forward_env: Iterable[str] = (),
    network: str | None = None,
    allow: Iterable[str] = (),
    security: Profile = "default",
    runtime: str | None = None,
    enable_gpu: bool = False,
    memory: str | None = None,
    cpus: float | None = None,
    pids_limit: int | None = None,
    user: str | None = None,
    labels: Mapping[str, str],
    platform: str | None = None,
    health_check_timeout: float,
    isolation: Isolation = "fresh",
) -> SandboxPlan:
    """The plan that the arguments of a `DockerWorkspace` mean.

    They are explained there; `gateway` is the way to the LLM gateway.

    Raises:
        ServiceUnavailable: The image has no desktop, and one is wanted.
        SettingsError: An argument has a value that cannot be used.
    """
    if not working_dir.startswith("/"):
        raise SettingsError(
            f"working_dir: {working_dir!r} is no absolute path, such as /workspace/x"
        )
    if desktop and not has_services(image):
        raise ServiceUnavailable(
            f"The image {image.reference} has no desktop, which desktop=True (--sandbox-video) "
            "wants; `agent-sandbox build --target source` builds one that has."
        )
    network = chosen_network(security, network)
    check_user(security, image, user)
    places = allowed_places(allow)
    check_allow(network, places)
    variables = forwarded(forward_env)
    if not variables.keys().isdisjoint(NO_PROXY):
        variables |= without_proxy([variables], gateway.direct)
    has_desktop = has_services(image) and (desktop or extra_ports)
    if isolation == "recycled" and (
        # They leave too much behind to be cleaned.
        (has_desktop or (extra_ports and not lacks_services(image)))
        # Who cleans needs what nobody may have there.
        or security == "strict"
        # They would be hidden below the folders in memory.
        or files
    ):
        isolation = "fresh"
    if files and security == "strict":
        raise SettingsError(
            "files: security = strict has folders in memory only, which are empty before the "
            "start: use upload() in the test, or volumes"
        )
    spec = ContainerSpec(
        image=image.reference,
        command=SERVER_COMMAND,
        environment={
            **server_environment(image, extra_ports=extra_ports, has_desktop=has_desktop),
            **network_environment(network),
        },
        ports=published_ports(host_port, extra_ports),
        volumes=volumes,
        network=engine_network(network),
        extra_hosts=gateway.extra_hosts,
        gpus=enable_gpu,
        user=user,
        runtime=runtime,
        **container_options(security, memory, cpus, pids_limit, is_cleaned=isolation == "recycled"),
        labels={WORKING_DIR_LABEL: working_dir, **labels},
        platform=platform,
    )
    spec = replace(spec, files=packed(files, spec.volume_targets()))
    return SandboxPlan(
        image=image,
        spec=spec,
        variables=variables,
        has_services=extra_ports or has_desktop,
        has_desktop=has_desktop,
        timeout=health_check_timeout,
        isolation=isolation,
        security=security,
        network=network,
        allow=places,
        gateway=gateway,
    )
