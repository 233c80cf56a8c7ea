"""A workspace in a container of its own, started by arguments or as the plugin asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import (
    Image,
    Pull,
    choose_image,
    ensure_image,
    try_to_remove_image,
)
from pytest_agent_sandbox.containers.progress import Progress
from pytest_agent_sandbox.engines.docker.arguments import (
    listed,
    says_what_is_meant,
    tell_of_links,
)
from pytest_agent_sandbox.engines.docker.gateway import gateway_for
from pytest_agent_sandbox.engines.docker.output import log_file, shown, to_stderr
from pytest_agent_sandbox.engines.docker.plan import DockerPlan, plan_sandbox
from pytest_agent_sandbox.engines.docker.running_workspace import RunningWorkspace
from pytest_agent_sandbox.engines.docker.sandbox import DockerSupply
from pytest_agent_sandbox.engines.docker.security import Profile
from pytest_agent_sandbox.engines.docker.start import FreshSupply
from pytest_agent_sandbox.engines.engine import SandboxRequest
from pytest_agent_sandbox.sandbox import started
from pytest_agent_sandbox.sandbox.gateway import HostGateway
from pytest_agent_sandbox.sandbox.kinds import Isolation
from pytest_agent_sandbox.sandbox.network import chosen_network
from pytest_agent_sandbox.settings.table import SandboxSettings

WORKING_DIR = "/workspace/project"


class DockerWorkspace(RunningWorkspace):
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
