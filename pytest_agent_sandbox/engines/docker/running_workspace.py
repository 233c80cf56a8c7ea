"""A container joined to a client: what a test calls a workspace, once its sandbox runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.identity import identity
from pytest_agent_sandbox.containers.images import server_version
from pytest_agent_sandbox.containers.silence import explain_silence
from pytest_agent_sandbox.engines.docker.access import ways_in
from pytest_agent_sandbox.engines.docker.arguments import listed
from pytest_agent_sandbox.engines.docker.facts import end_facts_of, facts_of
from pytest_agent_sandbox.engines.docker.plan import DockerPlan
from pytest_agent_sandbox.engines.docker.sandbox import DockerSupply
from pytest_agent_sandbox.engines.docker.services import SandboxServices
from pytest_agent_sandbox.engines.docker.verification import Verification
from pytest_agent_sandbox.engines.docker.workspace_services import WorkspaceServices
from pytest_agent_sandbox.engines.engine import SandboxRequest
from pytest_agent_sandbox.sandbox.fresh_result import FreshCommandResult
from pytest_agent_sandbox.sandbox.gateway import HostGateway
from pytest_agent_sandbox.sandbox.network import ISOLATED
from pytest_agent_sandbox.sandbox.sandbox import RESTART_TIMEOUT, User

if TYPE_CHECKING:
    from pytest_agent_sandbox.host.closing import Closing
    from pytest_agent_sandbox.sandbox.services.running_service import RunningService


class RunningWorkspace(WorkspaceServices):
    """A workspace whose sandbox runs, until it is closed; `DockerWorkspace` starts one."""

    #: What is to be undone at its end.
    _closing: ExitStack

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

    def join(self, services: Sequence[RunningService]) -> Closing:
        """Have programs in the sandbox reach services by their names."""
        from pytest_agent_sandbox.sandbox.services.joining import Joined

        egress = self.sandbox.egress if self.sandbox.plan.network == ISOLATED else None
        return Joined(self.container, services, egress)

    def verify_in_fresh(
        self,
        command: str,
        *,
        copy: Sequence[str],
        image: str | None = None,
        cwd: str | None = None,
        timeout: float = 60.0,
    ) -> FreshCommandResult:
        """Run a shell command out of the agent's reach, on a copy of its work: see `Workspace`.

        Args:
            command: The command line.
            copy: The files and folders, relative to `working_dir`.
            image: Any image that has `/bin/sh`; the sandbox's by default.
            cwd: Folder to run it in, relative to `working_dir`; `working_dir` by default.
            timeout: Seconds for all of it.
        """
        verification = Verification(
            command=command, copy=listed("copy", copy), image=image, cwd=cwd, timeout=timeout
        )
        result = verification.run(self.engine, self.sandbox, self.working_dir)
        if self.on_command is not None:
            self.on_command(result)
        return result

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
