"""A program in a container that Docker runs."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from pytest_agent_sandbox.containers.container_process import ContainerProcess
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.host.program import Program, command_line


class ContainerProgram(Program):
    """A program that talks over the engine's connection.

    Args:
        engine: The container's engine.
        container: The container's id.
        title: What it is called, in the container's list of processes too.
        modules: Modules whose texts make up the program, in order; the last has a `main`.
        arguments: Those of `main`, as JSON can have them.
        patience: Seconds that the container may take to read what it is sent.
        user: Whose it is; root's by default, with the capabilities that the container has.

    Raises:
        SandboxError: The engine refused, or does not answer, or the program was gone at once.
    """

    def __init__(
        self,
        engine: ContainerEngine,
        container: str,
        title: str,
        modules: Sequence[ModuleType],
        arguments: Sequence[object] = (),
        *,
        patience: float,
        user: str = "0",
    ) -> None:
        super().__init__(title, patience)
        self._process = ContainerProcess(
            engine, container, title, command_line(title), takes_input=True, user=user, folder="/"
        )
        self._process.set_timeout(patience)
        self.begin(container, modules, arguments)

    def send(self, data: bytes) -> None:
        """Send bytes to its standard input."""
        self._process.send(data)

    def wait_forever(self) -> None:
        """Have `read` and `send` wait for as long as the program runs."""
        super().wait_forever()
        self._process.set_timeout(None)

    def receive(self, timeout: float | None) -> tuple[bool, bytes]:
        """Return the next bytes that it prints, and whether they are of its standard error."""
        if timeout == self._patience:
            return self._process.receive()
        self._process.set_timeout(timeout)
        try:
            return self._process.receive()
        finally:
            self._process.set_timeout(self._patience)

    def close(self) -> None:
        """End it, and whoever reads or sends."""
        self._process.close()

    def exit_code(self) -> int | None:
        """Return how it ended, which the engine knows a little later than that it did."""
        return self._process.exit_code()
