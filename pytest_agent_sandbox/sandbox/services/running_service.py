"""A service that runs: what a test asks it, and its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from pytest_agent_sandbox.client.asynchronous import InThread
from pytest_agent_sandbox.client.commands import CommandResult
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.container_process import run_in_container
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SandboxDied, SandboxError, SettingsError
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.secret_variables import is_secret_name
from pytest_agent_sandbox.sandbox.services.gate import Gate
from pytest_agent_sandbox.sandbox.services.log_stamps import without_stamps
from pytest_agent_sandbox.sandbox.services.service import Service

#: Where the test reaches services.
LOOPBACK = "127.0.0.1"
# Seconds for one question whether a page answers.
_PAGE_PATIENCE = 2.0
# Shorter values are words that may stand anywhere, and mean nothing.
_SHORTEST_PASSWORD = 10


@dataclass(eq=False)
class RunningService(Closing):
    """A container beside a sandbox, as a test sees it.

    Attributes:
        name: The host name by which sandboxes and other services know it.
        spec: What it was started by.
        container: Its container: `service.container.name` for `docker exec`.
    """

    name: str
    spec: Service = field(repr=False)
    container: Container = field(repr=False)
    _engine: ContainerEngine = field(repr=False)
    _gate: Gate = field(repr=False)
    _is_stopped: bool = field(default=False, repr=False)
    start_seconds: float = field(default=0.0, repr=False)

    @property
    def host(self) -> str:
        """Its host name in a sandbox; the test itself reaches it on 127.0.0.1."""
        return self.name

    @property
    def ports(self) -> tuple[int, ...]:
        """Its ports as sandboxes know them."""
        return tuple(self.spec.port_numbers())

    @property
    def port(self) -> int:
        """The first of its ports, as sandboxes know it.

        Raises:
            SettingsError: It has none.
        """
        if not self.ports:
            raise SettingsError(f"Service {self.name} has no ports: give them by ports=[…]")
        return self.ports[0]

    @property
    def url(self) -> str:
        """The address of its first port in a sandbox: `postgresql://db:5432`."""
        return f"{self.spec.scheme_of(self.port)}://{self.name}:{self.port}"

    @property
    def host_ports(self) -> dict[int, int]:
        """Its ports, each with the port of 127.0.0.1 on which the test reaches it."""
        inner = self.spec.port_numbers()
        return {port: self._gate.ports[inner[port]] for port in self.ports}

    @property
    def host_port(self) -> int:
        """The port of 127.0.0.1 on which the test reaches the first of its ports."""
        return self.host_ports[self.port]

    @property
    def host_url(self) -> str:
        """The address of its first port for the test: `postgresql://127.0.0.1:41234`."""
        return f"{self.spec.scheme_of(self.port)}://{LOOPBACK}:{self.host_port}"

    @property
    def log_path(self) -> Path:
        """The file of its log."""
        return self.container.log_path

    def logs(self) -> str:
        """Return all that it has printed."""
        return without_stamps(self.log_path.read_text("utf-8", errors="replace"))

    def execute_command(
        self,
        command: str | Sequence[str],
        *,
        timeout: float = 30.0,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> CommandResult:
        """Run a command in its container, and wait for it to end.

        Args:
            command: The command: a string for the container's shell, or words.
            timeout: Seconds that it has. Docker cannot end it: it may go on after them.
            user: Whose it is; None for the user of the container.
            env: Variables of its own.

        Raises:
            SandboxDied: The service has ended.
            SandboxError: The engine refused, or does not answer.
        """
        self.check()
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        ran = run_in_container(
            self._engine, self.container.id, words, timeout=timeout, user=user, environment=env
        )
        if ran.exit_code is None:
            self.check()
        return CommandResult(
            command=command if isinstance(command, str) else " ".join(words),
            exit_code=-1 if ran.exit_code is None else ran.exit_code,
            stdout=ran.stdout,
            stderr=ran.stderr,
            timed_out=ran.exit_code is None,
            truncated=ran.is_cut,
            duration=ran.duration,
            timeout=timeout,
        )

    #: As `execute_command`, without blocking the event loop.
    aexecute_command = InThread(execute_command)

    def check(self) -> None:
        """Raise if it has ended, or cannot be reached any more; costs nothing.

        Raises:
            SandboxDied: So it is; the note holds its log.
        """
        try:
            self.container.check()
        except SandboxDied as death:
            raise SandboxDied(
                f"Service {self.name} is gone: {death}",
                exit_code=death.exit_code,
                out_of_memory=death.out_of_memory,
                log=death.log,
            ) from None
        if self._gate.problem:
            raise SandboxDied(
                f"Service {self.name} is out of reach: {self._gate.problem}",
                log=self.container.log_tail(),
            )

    @property
    def is_expected_to_run(self) -> bool:
        """Whether nobody has stopped it on purpose."""
        return not (self._is_stopped or self.container.is_let_go)

    def stop(self) -> None:
        """End it on purpose, to see how the agent takes that; its log stays.

        Raises:
            SandboxError: The engine cannot, or does not answer.
        """
        self._is_stopped = True
        with self._engine.calling(f"stop service {self.name}"):
            self._engine.client.api.kill(self.container.id)
        self.container.wait_for_end(_PAGE_PATIENCE)

    def answers(self, path: str, port: int, status: int) -> bool:
        """Tell whether a page of it answers right now as it should."""
        url = f"http://{LOOPBACK}:{self.host_ports[port]}{path}"
        try:
            # What it answers with may have no end.
            with httpx.stream("GET", url, timeout=_PAGE_PATIENCE, trust_env=False) as answer:
                found = answer.status_code
        except httpx.HTTPError:
            return False
        return found == status if status else found < httpx.codes.BAD_REQUEST

    def await_ports(
        self, ports: Sequence[int], check: Callable[[], object], deadline: float
    ) -> bool:
        """Wait until ports take connections; tell whether they do in time."""
        inner = self.spec.port_numbers()
        return self._gate.await_ports([inner[port] for port in ports], check, deadline)

    @property
    def identity(self) -> dict[str, str]:
        """What is different in it from run to run, each with the word for its kind."""
        found = {self.container.name: f"{self.name} container", self.container.id: self.name}
        found |= {str(port): f"{self.name} port" for port in self.host_ports.values()}
        for name, value in self.spec.env.items():
            if is_secret_name(name) and len(value) >= _SHORTEST_PASSWORD:
                found[value] = f"{self.name} password"
        return found

    def facts(self) -> dict[str, str | float]:
        """Return what a report says of it."""
        facts: dict[str, str | float] = {"image": self.container.image}
        if self.ports:
            facts["ports"] = ", ".join(f"{self.name}:{port}" for port in self.ports)
        if not self.container.spec.has_no_network:
            facts["network"] = self.spec.network
        facts["start_seconds"] = round(self.start_seconds, 2)
        return facts

    def state(self) -> str:
        """Return how it is right now, in words."""
        try:
            self.check()
        except SandboxError as error:
            return "stopped by the test" if self._is_stopped else str(error).partition("\n")[0]
        return "running"

    def keep(self) -> None:
        """Let it go on after the test, so that people can look into it; `close` is still called."""
        with suppress(SandboxError):
            self.container.keep()

    def close(self) -> None:
        """Remove it; may be called more than once.

        Raises:
            SandboxError: It cannot be removed.
        """
        with ExitStack() as closing:
            closing.callback(self.container.remove)
            closing.callback(self._gate.close)
            if self.spec.adopted is not None:
                closing.callback(self.spec.adopted.end)
