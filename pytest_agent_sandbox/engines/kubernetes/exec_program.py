"""A program in a pod."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.host.program import Program, command_line


class ExecProgram(Program):
    """A program that talks over a stream of the API server.

    Args:
        cluster: The pod's cluster.
        pod: The pod's name.
        container: Which of its containers; the program is its user's.
        title: What it is called, in the container's list of processes too.
        modules: Modules whose texts make up the program, in order; the last has a `main`.
        arguments: Those of `main`, as JSON can have them.
        patience: Seconds that the container may take to read what it is sent.

    Raises:
        SandboxError: The cluster refused, or does not answer, or the program was gone at once.
    """

    def __init__(
        self,
        cluster: Cluster,
        pod: str,
        container: str,
        title: str,
        modules: Sequence[ModuleType],
        arguments: Sequence[object] = (),
        *,
        patience: float,
    ) -> None:
        super().__init__(title, patience)
        self._stream = cluster.exec(pod, container, command_line(title), timeout=patience)
        self.begin(f"pod {pod}", modules, arguments)

    def send(self, data: bytes) -> None:
        """Send bytes to its standard input."""
        self._stream.send(data, self._patience)

    def receive(self, timeout: float | None) -> tuple[bool, bytes]:
        """Return the next bytes that it prints, and whether they are of its standard error."""
        return self._stream.receive(timeout)

    def exit_code(self) -> int | None:
        """Return how it ended."""
        return self._stream.exit_code

    def close(self) -> None:
        """End it, and whoever reads or sends."""
        self._stream.close()
