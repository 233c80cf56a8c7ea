"""What engines bring of their own: their kinds of plans, and of containers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Literal, Protocol, Self, TypeVar

from pydantic import SecretStr

from pytest_agent_sandbox.host.program import RunningContainer

#: What of an earlier use a sandbox may show.
Isolation = Literal["fresh", "recycled", "shared"]


class SandboxPlan(Protocol):
    """What a sandbox is to be, as far as its use goes; an engine's own plan knows more."""

    @property
    def kind(self) -> Hashable:
        """Sandboxes of the same kind can stand in for each other."""
        ...

    @property
    def isolation(self) -> Isolation:
        """What of an earlier use it may show, where it is used again."""
        ...

    @property
    def test(self) -> str:
        """The id of the test that it is for."""
        ...

    @property
    def name_prefix(self) -> str:
        """What its container's name begins with."""
        ...

    @property
    def variables(self) -> Mapping[str, str]:
        """Variables of this process that its server gets too; they may be secrets."""
        ...

    @property
    def secret_key(self) -> SecretStr | None:
        """What its server encrypts with; None for a key of its own."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds until its server has to answer."""
        ...

    @property
    def has_services(self) -> bool:
        """Whether it starts more than the server."""
        ...

    @property
    def has_volumes(self) -> bool:
        """Whether it leaves files for others."""
        ...

    @property
    def is_deferrable(self) -> bool:
        """Whether the variables can be brought to a sandbox that was started without them."""
        ...

    def for_anybody(self) -> Self:
        """Return the plan without what concerns a single test."""
        ...


class SandboxContainer(RunningContainer, Protocol):
    """The container of a sandbox, whatever runs it."""

    ports: dict[int, int]
    is_paused: bool
    is_kept: bool

    @property
    def log_path(self) -> Path:
        """The file that its output goes to."""
        ...

    def rename(self, prefix: str) -> None:
        """Have its name begin with something else, where names can change."""

    def move_log(self, path: Path, clean: Callable[[str], str] | None, *, with_past: bool) -> None:
        """Have its output go to another file from now on."""

    def unpause(self) -> None:
        """Let its frozen processes go on."""

    def let_go(self) -> None:
        """End its log and all use of it, at once; `remove` is still to be called."""

    def remove(self) -> None:
        """Kill and remove it, at once; a second call does nothing."""


P = TypeVar("P", bound=SandboxPlan)
C = TypeVar("C", bound=SandboxContainer)
