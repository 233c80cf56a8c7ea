"""An agent server in a container of its own: planned, started, and handed to its user."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.container_errors import is_transient
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.proxies import without_proxy
from pytest_agent_sandbox.containers.readiness import wait_until
from pytest_agent_sandbox.containers.template import NO_PYTHON, Launch, Template
from pytest_agent_sandbox.engines.docker.plan import SandboxPlan
from pytest_agent_sandbox.engines.docker.recycle import FirstState, Recycler
from pytest_agent_sandbox.engines.docker.server import of_the_process
from pytest_agent_sandbox.engines.docker.services import SERVER_PORT
from pytest_agent_sandbox.errors import (
    SandboxDied,
    SandboxError,
    SandboxStartFailed,
    ServiceUnavailable,
)
from pytest_agent_sandbox.host.egress import Egress
from pytest_agent_sandbox.sandbox.agent_server import DORMANT, secret_environment, wake
from pytest_agent_sandbox.sandbox.network import ways_out

# Seconds for one question whether the server answers.
_PROBE_TIMEOUT = 2.0
#: Seconds for a server to be up again.
RESTART_TIMEOUT = 120.0
# Seconds for a server to give up what it holds, such as its leases of conversations.
_GRACE = 10.0
# Seconds for that of one that leaves its conversations on a volume, at the end of a test.
_GRACE_AT_END = 3.0


@dataclass(frozen=True)
class User:
    """Who uses a sandbox, and what follows from that.

    Attributes:
        log_path: File for the container's log.
        echo: Given each piece of the log as it comes too.
        clean_log: Given each line before it is written, as to mask secrets.
        on_secret: Called with each secret value before the sandbox gets it.
    """

    log_path: Path
    echo: Callable[[bytes], object] | None = None
    clean_log: Callable[[str], str] | None = None
    on_secret: Callable[[str], object] | None = None


class Sandbox:
    """A container with an agent server that answers.

    Attributes:
        plan: What it was started by.
        container: Its container.
        session_key: What the server's clients have to show.
        start_seconds: Seconds from the container's start to the server's first answer.
        uses: How many users it has had.
        template: Starts its servers; None where its container has started the only one.
        recycler: Brings it back to its first state; None where it cannot be.
        egress: Counts what it has asked for of the outside, where it is isolated.
    """

    def __init__(
        self,
        plan: SandboxPlan,
        container: Container,
        session_key: SecretStr,
        secret_key: SecretStr,
        start_seconds: float,
        egress: Egress,
        *,
        is_dormant: bool,
    ) -> None:
        self.plan = plan
        self.container = container
        self.session_key = session_key
        self.start_seconds = start_seconds
        self.egress = egress
        self.uses = 0
        self.template: Template | None = None
        self.recycler: Recycler | None = None
        self._secret_key = secret_key
        self._is_dormant = is_dormant

    @classmethod
    def start(
        cls,
        engine: ContainerEngine,
        plan: SandboxPlan,
        user: User,
        *,
        dormant: bool = False,
        check: Callable[[], None] = lambda: None,
        launch: Launch | None = None,
        state: FirstState | None = None,
    ) -> Sandbox:
        """Start a container until its server answers; once more after a transient failure.

        Args:
            engine: The engine to run it.
            plan: What it is to be.
            user: Whom it is for.
            dormant: Whether its user is not known yet: see `hand_over`.
            check: Called while waiting; what it raises ends that.
            launch: How its servers are started; None for a container that starts one itself.
            state: Its first state, where it is to be brought back to that.

        Raises:
            SandboxStartFailed: The container did not start, or its server never answered.
            SandboxError: Whatever else keeps it from starting.
        """
        try:
            return cls._start_once(engine, plan, user, dormant, check, launch, state)
        except SandboxError as error:
            if not is_transient(error):
                raise
            return cls._start_once(engine, plan, user, dormant, check, launch, state)

    @classmethod
    def _start_once(
        cls,
        engine: ContainerEngine,
        plan: SandboxPlan,
        user: User,
        dormant: bool,
        check: Callable[[], None],
        launch: Launch | None,
        state: FirstState | None,
    ) -> Sandbox:
        began = time.monotonic()
        session_key, secret_key = _new_secret(), plan.secret_key or _new_secret()
        if user.on_secret is not None:
            user.on_secret(session_key.get_secret_value())
            user.on_secret(secret_key.get_secret_value())
        own = dict(DORMANT if dormant else plan.variables)
        keys = secret_environment(session_key, secret_key)
        environment = {**plan.spec.environment, **own}
        told = [plan.image.environment, engine.container_proxies, environment]
        own |= without_proxy(told, plan.gateway.direct)
        # What may be secret goes to the server alone where that can be, not to its container.
        shown = {**own, **keys} if launch is None else of_the_process(own)
        spec = replace(
            plan.spec,
            environment={**plan.spec.environment, **shown},
            name_prefix=plan.name_prefix,
            tunneled=engine.is_apart,
        )
        egress = Egress(plan.allow)
        template = recycler = None
        try:
            with ExitStack() as undo:
                container = undo.enter_context(
                    Container.start(
                        engine,
                        spec,
                        log_path=user.log_path,
                        echo=user.echo,
                        clean=user.clean_log,
                        outwards=ways_out(plan.network, plan.gateway, egress),
                    )
                )
                if launch is not None:
                    template = undo.enter_context(Template(container, launch, own))
                    if state is not None:
                        recycler = undo.enter_context(
                            Recycler(container, template, state, plan.timeout, check)
                        )
                    template.serve(keys)
                _wait_for_server(container, plan.timeout, check, since=began)
                undo.pop_all()
        except SandboxDied as death:
            # The log is a note of its own: the first error's notes do not show.
            raise SandboxStartFailed(
                f"While starting: {death}{_hint(death, launch)}", log=death.log
            ) from None
        seconds = time.monotonic() - began
        sandbox = cls(plan, container, session_key, secret_key, seconds, egress, is_dormant=dormant)
        sandbox.template, sandbox.recycler = template, recycler
        return sandbox

    @property
    def address(self) -> str:
        """The server's address on this machine."""
        return _address(self.container)

    def answers(self) -> bool:
        """Tell whether its server answers right now."""
        with ServerConnection(self.address, guard=self.container.check) as connection:
            return connection.probe("/alive", timeout=_PROBE_TIMEOUT) is None

    def close(self) -> None:
        """Let go of its server; its container is still to be removed."""
        goes_on = self.container.is_kept or self.container.is_paused
        if self.template is not None and self.plan.spec.volume_targets() and not goes_on:
            # Another sandbox may go on with what this one has left there.
            with suppress(SandboxError):
                self.template.stop(_GRACE_AT_END)
        for part in (self.recycler, self.template):
            if part is not None:
                part.close()

    def restart(self, timeout: float) -> None:
        """End its server, which may take its time for that, and start another one like it.

        Args:
            timeout: Seconds for the new server to answer.

        Raises:
            ServiceUnavailable: Its container can start one server only.
            SandboxError: The old server does not end, or the new one does not answer in time.
        """
        if self.template is None:
            what = "VS Code or a desktop" if self.plan.has_services else "an entry point"
            raise ServiceUnavailable(
                f"The server of container {self.container.name} cannot be restarted: the image "
                f"{self.plan.image.reference} starts it together with {what} of its own."
            )
        self.template.stop(_GRACE)
        # One that was dormant has had its variables from `wake`.
        awake = {**dict.fromkeys(DORMANT, "false"), **self.plan.variables}
        self.template.serve(awake | secret_environment(self.session_key, self._secret_key))
        _wait_for_server(self.container, timeout, lambda: None)

    def end_use(self) -> None:
        """End its server, where it is going to be renewed; nothing more of its use is logged.

        Raises:
            SandboxError: It cannot be ended.
        """
        if self.recycler is not None and self.template is not None:
            self.template.stop()

    def renew(self, check: Callable[[], None]) -> list[str]:
        """Bring it back to its first state, with a new server; return what is not as it was.

        Args:
            check: Called while waiting; what it raises ends that.

        Raises:
            SandboxError: It cannot be brought back, or the new server does not answer.
        """
        assert self.recycler is not None
        assert self.template is not None
        problems = self.recycler.clean()
        if problems:
            return problems
        check()
        # What has survived, or what somebody has written down, opens nothing any more.
        self.session_key = _new_secret()
        self._secret_key = self.plan.secret_key or _new_secret()
        self.template.serve(secret_environment(self.session_key, self._secret_key))
        _wait_for_server(self.container, self.plan.timeout, check)
        return []

    def hand_over(self, plan: SandboxPlan, user: User) -> None:
        """Make it a user's, who did not start it.

        Args:
            plan: The user's, of the same kind as its own.
            user: Who has it from now on.

        Raises:
            SandboxError: It cannot be used; it is still to be removed.
        """
        self.container.check()
        if user.on_secret is not None:
            user.on_secret(self.session_key.get_secret_value())
            user.on_secret(self._secret_key.get_secret_value())
        if self._is_dormant:
            with ServerConnection(self.address, guard=self.container.check) as connection:
                wake(connection, self._secret_key, plan.variables)
            self._is_dormant = False
        self.plan = plan
        self.egress.forget()
        self.container.rename(plan.name_prefix)
        # What was printed since its last use is of the server that the user gets.
        is_all_of_the_user = self.uses == 0 or self.recycler is not None
        self.container.move_log(user.log_path, user.clean_log, with_past=is_all_of_the_user)


class Supply(Protocol):
    """Where sandboxes come from, and go to."""

    def take(self, plan: SandboxPlan, user: User) -> Sandbox:
        """Return one that answers. Raise `SandboxError` where none can be had."""

    def release(self, sandbox: Sandbox, *, wait: bool) -> None:
        """Take one back after its use; with `wait`, its log is complete on return."""


def _wait_for_server(
    container: Container,
    timeout: float,
    check: Callable[[], None],
    *,
    since: float | None = None,
) -> None:
    def answers() -> bool:
        check()
        return connection.probe("/alive", timeout=_PROBE_TIMEOUT) is None

    with ServerConnection(_address(container), guard=container.check) as connection:
        wait_until(answers, container, timeout=timeout, since=since)


def _hint(death: SandboxDied, launch: Launch | None) -> str:
    if launch is None or launch.server.python or death.exit_code != NO_PYTHON:
        return ""
    return (
        "\nThere is no Python in the image, nor is its server one that is known: it cannot be "
        "recycled. Use isolation = fresh."
    )


def _address(container: Container) -> str:
    return f"http://127.0.0.1:{container.ports[SERVER_PORT]}"


def _new_secret() -> SecretStr:
    return SecretStr(secrets.token_urlsafe(32))
