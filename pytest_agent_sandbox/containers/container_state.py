"""The state of a container, by its engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class ContainerState:
    """The state of a container, by its engine.

    Attributes:
        status: ``created``, ``running``, ``paused``, ``restarting``, ``removing``, ``exited``,
            ``dead``, or ``removed`` when the engine does not know it any more.
        exit_code: Of its first process; None as long as that runs, or when it is not known.
        out_of_memory: Whether the kernel killed a process of it for lack of memory.
        started_at: When it started; None if it did not.
        finished_at: When it ended; None if it did not.
    """

    status: str
    exit_code: int | None = None
    out_of_memory: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None


def parse_state(state: Mapping[str, Any]) -> ContainerState:
    """Read what the engine's inspection shows as a container's state."""
    status = str(state.get("Status", "unknown"))
    ended = status in ("exited", "dead")
    return ContainerState(
        status=status,
        exit_code=state.get("ExitCode") if ended else None,
        out_of_memory=bool(state.get("OOMKilled")),
        started_at=_parse_time(state.get("StartedAt")),
        finished_at=_parse_time(state.get("FinishedAt")) if ended else None,
    )


def _parse_time(text: str | None) -> datetime | None:
    # The engine's zero time means "never".
    if not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(text)
