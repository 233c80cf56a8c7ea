"""An agent server in a container of its own: started, and handed to its user."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol

from pydantic import SecretStr

from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.containers.readiness import wait_until
from pytest_agent_sandbox.containers.template import Launch, Template
from pytest_agent_sandbox.errors import SandboxError, ServiceUnavailable
from pytest_agent_sandbox.host.egress import Egress
from pytest_agent_sandbox.sandbox.agent_server import (
    DORMANT,
    SERVER_PORT,
    secret_environment,
    wake,
)
from pytest_agent_sandbox.sandbox.allowance import Seat
from pytest_agent_sandbox.sandbox.forwards import Forwards
from pytest_agent_sandbox.sandbox.kinds import C, P, SandboxContainer
from pytest_agent_sandbox.sandbox.recycle import FirstState, Recycler

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
        is_nobody: Whether nobody has asked for it yet: it does not wait for room.
    """

    log_path: Path
    echo: Callable[[bytes], object] | None = None
    clean_log: Callable[[str], str] | None = None
    on_secret: Callable[[str], object] | None = None
    is_nobody: bool = False


@dataclass(frozen=True)
class Keys:
    """What only a server and its clients know.

    Attributes:
        session: What its clients have to show.
        secret: What it encrypts with.
    """

    session: SecretStr
    secret: SecretStr

    @classmethod
    def new(cls, secret: SecretStr | None = None) -> Keys:
        """Make keys.

        Args:
            secret: What the server is to encrypt with; None for a key of its own.
        """
        return cls(_new_secret(), secret or _new_secret())

    def tell(self, on_secret: Callable[[str], object] | None) -> None:
        """Tell them to whoever masks secrets."""
        if on_secret is not None:
            on_secret(self.session.get_secret_value())
            on_secret(self.secret.get_secret_value())

    @property
    def environment(self) -> dict[str, str]:
        """The server's variables of them."""
        return secret_environment(self.session, self.secret)


class Sandbox(Generic[P, C]):
    """A container with an agent server that answers.

    Attributes:
        plan: What it was started by.
        container: Its container.
        start_seconds: Seconds from the container's start to the server's first answer.
        uses: How many users it has had.
        template: Starts its servers; None where its container has started the only one.
        recycler: Brings it back to its first state; None where it cannot be.
        egress: Counts what it has asked for of the outside, where it is isolated.
        forwards: Where the places lead that it knows by name, where it is isolated.
        seat: What it takes of its run's allowance, where it is of a run.
    """

    def __init__(
        self,
        plan: P,
        container: C,
        keys: Keys,
        egress: Egress,
        forwards: Forwards,
        *,
        is_dormant: bool,
    ) -> None:
        self.plan = plan
        self.container = container
        self.start_seconds = 0.0
        self.egress = egress
        self.forwards = forwards
        self.uses = 0
        self.template: Template | None = None
        self.recycler: Recycler | None = None
        self.seat: Seat | None = None
        self.keys = keys
        self._is_dormant = is_dormant

    @property
    def session_key(self) -> SecretStr:
        """What the server's clients have to show."""
        return self.keys.session

    def begin(
        self,
        launch: Launch | None,
        state: FirstState | None,
        own: Mapping[str, str],
        check: Callable[[], None],
        *,
        since: float,
    ) -> None:
        """Start its server in its container, and wait until that answers.

        Args:
            launch: How its servers are started; None for a container that starts one itself.
            state: Its first state, where it is to be brought back to that.
            own: Variables of its servers, beside the container's; they may be secrets.
            check: Called while waiting; what it raises ends that.
            since: When the start began, by the monotonic clock.

        Raises:
            SandboxDied: The container is gone.
            SandboxStartFailed: The server never answered.
            SandboxError: It cannot be started; `close` lets go of what was.
        """
        with ExitStack() as undo:
            undo.callback(self.close)
            if launch is not None:
                self.template = Template(self.container, launch, own)
                if state is not None:
                    self.recycler = Recycler(
                        self.container, self.template, state, self.plan.timeout, check
                    )
                self.template.serve(self.keys.environment)
            _wait_for_server(self.container, self.plan.timeout, check, since=since)
            undo.pop_all()
        self.start_seconds = time.monotonic() - since

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
        if self.template is not None and self.plan.has_volumes and not goes_on:
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
                f"{self.container.image} starts it together with {what} of its own."
            )
        self.template.stop(_GRACE)
        # One that was dormant has had its variables from `wake`.
        awake = {**dict.fromkeys(DORMANT, "false"), **self.plan.variables}
        self.template.serve(awake | self.keys.environment)
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
        self.keys = Keys.new(self.plan.secret_key)
        self.template.serve(self.keys.environment)
        _wait_for_server(self.container, self.plan.timeout, check)
        return []

    def hand_over(self, plan: P, user: User) -> None:
        """Make it a user's, who did not start it.

        Args:
            plan: The user's, of the same kind as its own.
            user: Who has it from now on.

        Raises:
            SandboxError: It cannot be used; it is still to be removed.
        """
        self.container.check()
        self.keys.tell(user.on_secret)
        if self._is_dormant:
            with ServerConnection(self.address, guard=self.container.check) as connection:
                wake(connection, self.keys.secret, plan.variables)
            self._is_dormant = False
        self.plan = plan
        self.egress.forget()
        self.container.rename(plan.name_prefix)
        # What was printed since its last use is of the server that the user gets.
        is_all_of_the_user = self.uses == 0 or self.recycler is not None
        self.container.move_log(user.log_path, user.clean_log, with_past=is_all_of_the_user)


class Supply(Protocol[P, C]):
    """Where sandboxes come from, and go to."""

    def take(self, plan: P, user: User) -> Sandbox[P, C]:
        """Return one that answers. Raise `SandboxError` where none can be had."""

    def release(self, sandbox: Sandbox[P, C], *, wait: bool) -> None:
        """Take one back after its use; with `wait`, its log is complete on return."""


def _wait_for_server(
    container: SandboxContainer,
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


def _address(container: SandboxContainer) -> str:
    return f"http://127.0.0.1:{container.ports[SERVER_PORT]}"


def _new_secret() -> SecretStr:
    return SecretStr(secrets.token_urlsafe(32))
