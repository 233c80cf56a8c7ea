"""A container joined to a client: what a test calls a workspace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.identity import identity
from pytest_agent_sandbox.containers.images import (
    Image,
    Pull,
    choose_image,
    ensure_image,
    server_version,
    try_to_remove_image,
)
from pytest_agent_sandbox.containers.progress import Progress
from pytest_agent_sandbox.containers.silence import explain_silence
from pytest_agent_sandbox.engines.docker.access import ways_in
from pytest_agent_sandbox.engines.docker.arguments import (
    listed,
    says_what_is_meant,
    tell_of_links,
)
from pytest_agent_sandbox.engines.docker.facts import end_facts_of, facts_of
from pytest_agent_sandbox.engines.docker.gateway import gateway_for
from pytest_agent_sandbox.engines.docker.output import log_file, shown, to_stderr
from pytest_agent_sandbox.engines.docker.plan import DockerPlan, plan_sandbox
from pytest_agent_sandbox.engines.docker.sandbox import DockerSupply
from pytest_agent_sandbox.engines.docker.security import Profile, chosen_network
from pytest_agent_sandbox.engines.docker.services import SandboxServices
from pytest_agent_sandbox.engines.docker.start import FreshSupply
from pytest_agent_sandbox.engines.docker.workspace_services import WorkspaceServices
from pytest_agent_sandbox.engines.engine import SandboxRequest
from pytest_agent_sandbox.sandbox import started
from pytest_agent_sandbox.sandbox.gateway import HostGateway
from pytest_agent_sandbox.sandbox.sandbox import RESTART_TIMEOUT, Isolation, User
from pytest_agent_sandbox.settings.table import SandboxSettings

WORKING_DIR = "/workspace/project"


class DockerWorkspace(WorkspaceServices):
    """An agent server in a fresh container, and the operations on its workspace.

    The container starts with the object, and is gone when it is closed:

        with DockerWorkspace() as workspace:
            print(workspace.execute_command("pwd").stdout)

    Args:
        server_image: The image; by default the one that `agent-sandbox build` made on this
            machine, else the published one of the agent-server version tested with this release.
        host_port: Publish the server on this port of 127.0.0.1; by default the engine chooses.
        platform: Such as `linux/arm64`; by default the engine's own.
        extra_ports: Start and publish VS Code and the desktop too: on `host_port + 1` and
            `host_port + 2`, or where the engine chooses; see `vscode_url` and `vnc_url`.
        desktop: Start the desktop also where it is not published, as to record it. The image has
            to have one: see `DockerDevWorkspace`.
        working_dir: The workspace's folder in the container; made where it is missing.
        volumes: Folders of this machine to mount, as `host:container[:ro]`.
        files: Files and folders of this machine to copy into the container before its server
            starts, as `host:path`; they belong to its user.
        forward_env: Names of environment variables that the server gets with their values.
        quiet_boot: Whether Python looks for no garbage while the server is loaded.
        secret_key_env: Name of an environment variable with the key that the server encrypts
            secrets with: those of a conversation on a volume, for another sandbox.
        network: What the sandbox can reach: `open` (the default), whatever the engine's network
            lets it; `isolated`, its LLM and what `allow` names; `none`; or the name of a network
            of the engine to join.
        allow: Where an isolated sandbox may connect to, as `host:port`, through an HTTP proxy.
        security: How much it is trusted: `default`, `strict` or `sudo`; see SECURITY.md.
        runtime: The engine's runtime to use, such as `runsc`, where it has others.
        enable_gpu: Give the container all GPUs.
        detach_logs: Copy the container's log to standard error as it comes, as upstream does by
            default. It is in its file anyway.
        cleanup_image: Remove the image from the engine when the workspace is closed.
        health_check_timeout: Seconds the server may take until it answers.
        read_timeout: Seconds of silence after which a request to the server is given up.
        memory: Memory limit, such as `2g`; by default 4g.
        cpus: CPU limit, such as 1.5.
        pids_limit: Limit on processes and threads; by default 1024.
        shm_size: Size of `/dev/shm`; by default the engine's.
        tmpfs: Folders in memory, empty at the start, as `folder[:size]`.
        pull: When to pull the image: `missing`, `always` or `never`.
        user: User of the container; by default the image's.
        labels: Labels of the container, put under the prefix `pytest-agent-sandbox.`.
        log_path: File for the container's log; by default one that goes with the workspace.
        clean_log: Given each line of the log before it is written, as to mask secrets.
        on_secret: Called with each secret value before the sandbox gets it.
        progress: Told what a pull is doing.
        isolation: What of an earlier use a sandbox may show, where the supply uses them again.
        supply: Where the sandbox comes from, and goes to; by default it is started for this
            workspace, and removed with it.
        engine: A connection to share; by default the workspace has its own.
        gateway: An LLM gateway to share; by default the workspace has its own.

    Raises:
        EngineUnavailable: No container engine answers.
        ImageNotFound: The image is neither here nor at its registry, or lacks the platform.
        ImagePullFailed: The registry refused, or is out of reach.
        SandboxStartFailed: The container did not start, or its server never answered.
        SettingsError: An argument has a value that cannot be used.
    """

    @says_what_is_meant
    def __init__(
        self,
        *,
        server_image: str | None = None,
        host_port: int | None = None,
        platform: str | None = None,
        extra_ports: bool = False,
        desktop: bool = False,
        working_dir: str = WORKING_DIR,
        volumes: Sequence[str] = (),
        files: Sequence[str] = (),
        forward_env: Iterable[str] = (),
        quiet_boot: bool = True,
        secret_key_env: str | None = None,
        network: str | None = None,
        allow: Sequence[str] = (),
        security: Profile = "default",
        runtime: str | None = None,
        enable_gpu: bool = False,
        detach_logs: bool = False,
        cleanup_image: bool = False,
        health_check_timeout: float = 120.0,
        read_timeout: float = 600.0,
        memory: str | None = None,
        cpus: float | None = None,
        pids_limit: int | None = None,
        shm_size: str | None = None,
        tmpfs: Sequence[str] = (),
        pull: Pull = "missing",
        user: str | None = None,
        labels: Mapping[str, str] | None = None,
        log_path: Path | None = None,
        clean_log: Callable[[str], str] | None = None,
        on_secret: Callable[[str], object] | None = None,
        progress: Progress | None = None,
        isolation: Isolation = "fresh",
        supply: DockerSupply | None = None,
        engine: ContainerEngine | None = None,
        gateway: HostGateway | None = None,
    ) -> None:
        settings = SandboxSettings(
            platform=platform,
            extra_ports=extra_ports,
            video="all" if desktop else "none",
            working_dir=working_dir,
            volumes=listed("volumes", volumes),
            files=listed("files", files),
            forward_env=listed("forward_env", forward_env),
            quiet_boot=quiet_boot,
            secret_key_env=secret_key_env,
            network=network,
            allow=listed("allow", allow),
            security=security,
            runtime=runtime,
            gpu=enable_gpu,
            start_timeout=health_check_timeout,
            memory=memory,
            cpus=cpus,
            pids=pids_limit,
            shm_size=shm_size,
            tmpfs=listed("tmpfs", tmpfs),
            user=user,
            isolation=isolation,
        )
        with ExitStack() as undo:
            if engine is None:
                engine = undo.enter_context(ContainerEngine.connect())
            if gateway is None:
                place = chosen_network(security, network)
                gateway = undo.enter_context(gateway_for(engine, network=place))
            if log_path is None:
                log_path = undo.enter_context(log_file())
            with shown(progress) as told:
                image = self._prepare_image(engine, server_image, platform, pull, told)
            if cleanup_image:
                undo.callback(try_to_remove_image, engine, image)
            request = SandboxRequest(
                settings=settings,
                image=image.reference,
                labels=labels or {},
                log_path=log_path,
                clean_log=clean_log,
                on_secret=on_secret,
            )
            self._start(
                request,
                plan_sandbox(image, gateway.way, request, host_port=host_port),
                engine,
                gateway,
                FreshSupply(engine) if supply is None else supply,
                echo=to_stderr if detach_logs else None,
                read_timeout=read_timeout,
            )
            if extra_ports and host_port is not None:  # for addresses made by hand
                tell_of_links()
            self._closing = undo.pop_all()
        started.tell(self)

    @classmethod
    def from_request(
        cls,
        request: SandboxRequest,
        plan: DockerPlan,
        *,
        engine: ContainerEngine,
        gateway: HostGateway,
        supply: DockerSupply,
    ) -> DockerWorkspace:
        """Start a workspace as the plugin asks for it.

        Args:
            request: What is asked for.
            plan: What that means for the sandbox.
            engine: A connection to share.
            gateway: An LLM gateway to share.
            supply: Where the sandbox comes from, and goes to.

        Raises:
            SandboxStartFailed: The container did not start, or its server never answered.
        """
        workspace = cls.__new__(cls)
        with ExitStack() as undo:
            if request.log_path is None:
                request = replace(request, log_path=undo.enter_context(log_file()))
            workspace._start(request, plan, engine, gateway, supply)
            workspace._closing = undo.pop_all()
        return workspace

    def _start(
        self,
        request: SandboxRequest,
        plan: DockerPlan,
        engine: ContainerEngine,
        gateway: HostGateway,
        supply: DockerSupply,
        *,
        echo: Callable[[bytes], object] | None = None,
        read_timeout: float = 600.0,
    ) -> None:
        assert request.log_path is not None
        self.image = plan.image
        self.engine = engine
        self.gateway = gateway
        self.log_path = request.log_path
        #: Whether there is a desktop, on which the agent's browser then shows.
        self.has_desktop = plan.has_desktop
        self._is_recorded = request.settings.video != "none"
        self._is_kept = False
        self._supply = supply
        user = User(request.log_path, echo, request.clean_log, request.on_secret)
        with ExitStack() as failed:
            self.sandbox = supply.take(plan, user)
            failed.callback(supply.release, self.sandbox, wait=True)
            self.container = self.sandbox.container
            super().__init__(
                self.sandbox.address,
                self.sandbox.session_key,
                working_dir=request.settings.working_dir,
                read_timeout=read_timeout,
                guard=self.container.check,
                explain_silence=partial(explain_silence, self.container),
            )
            self.connection.known_version = server_version(self.image)
            failed.pop_all()
        self._services = SandboxServices(self.container, self.connection, self.image)

    @property
    def name(self) -> str:
        """The container's name."""
        return self.container.name

    @property
    def identity(self) -> dict[str, str]:
        """What is different in this workspace from any other, and what to call it.

        Raises:
            SandboxDied: The container is gone.
            EngineUnavailable: The engine did not answer.
        """
        return identity(self.engine, self.container)

    @property
    def outlives_test(self) -> bool:
        """Whether its server goes on after the test as it is; else it goes, or is cleaned."""
        return self.sandbox.plan.isolation == "shared"

    def begin_test(self) -> None:
        """Begin another test's use of it: what is told of that is told since now."""
        super().begin_test()
        self.sandbox.egress.forget()

    def facts(self) -> Mapping[str, Any]:
        """Return what a report says of the sandbox once it has started."""
        return facts_of(self.sandbox, self.engine)

    def end_facts(self) -> Mapping[str, Any]:
        """Return what a report says of the sandbox at the end of a test, and let it be read."""
        return end_facts_of(self.sandbox)

    def ways_in(self) -> list[str]:
        """Return lines that tell people how to look into the sandbox."""
        return ways_in(self.engine, self.container.name)

    @property
    def session_key(self) -> SecretStr:
        """What the server's clients have to show."""
        return self.sandbox.session_key

    @property
    def start_seconds(self) -> float:
        """Seconds from the container's start to the server's first answer."""
        return self.sandbox.start_seconds

    def log_tail(self, lines: int = 50) -> str:
        """Return the last lines of the container's log."""
        return self.container.log_tail(lines)

    def pause(self) -> None:
        """Freeze every process of the container."""
        self.container.pause()

    def resume(self) -> None:
        """Let a paused container go on."""
        self.container.unpause()

    def restart(self, *, timeout: float = RESTART_TIMEOUT) -> None:
        """End the sandbox's server and start another one, as after a crash or an update.

        Files stay, and with them the conversations that the server kept; so do the address, the
        keys, and processes that do not belong to the server. `RemoteConversation.attach` joins a
        conversation again.

        Args:
            timeout: Seconds for the new server to answer.

        Raises:
            ServiceUnavailable: The image can start one server only.
            SandboxError: The old server does not end, or the new one does not answer in time.
        """
        explain_silence(self.container)  # a paused sandbox would only be waited for
        self.sandbox.restart(timeout)

    def keep(self) -> None:
        """Let the container go on when this is closed, so that people can look into it.

        `close` gives it a name that begins with `agent-sandbox-kept-` (see `container.name`), and
        `agent-sandbox prune` ends it. An agent in it gets no more answers from its LLM.
        """
        self._is_kept = True

    def close(self, *, wait: bool = True) -> None:
        """Remove the container and what came with it. May be called more than once.

        Args:
            wait: Whether all of that is to be done on return, and the log to be complete; else the
                workspace's supply may do it later.

        Raises:
            SandboxError: The container cannot be removed, or kept.
        """
        if self.is_closed:
            return
        with self._closing:  # closed also where the container cannot be removed
            try:
                self._begin_close()
                super().close()
                if self._is_kept:
                    self.container.keep()
            finally:
                self._supply.release(self.sandbox, wait=wait)

    def _prepare_image(
        self,
        engine: ContainerEngine,
        reference: str | None,
        platform: str | None,
        pull: Pull,
        progress: Progress,
    ) -> Image:
        return ensure_image(
            engine,
            choose_image(engine, reference, platform=platform),
            platform=platform,
            pull=pull,
            progress=progress,
        )
