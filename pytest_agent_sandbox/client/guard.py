"""What ends a wait that has become pointless."""

from __future__ import annotations

from collections.abc import Callable

#: Raises the reason when waiting has become pointless (a `SandboxError`), else returns. Cheap.
Guard = Callable[[], None]

#: Longest time, in seconds, that a wait goes without asking the guard.
GUARD_INTERVAL = 0.25
