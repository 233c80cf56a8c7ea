"""How the tests of a run got their sandboxes, in numbers."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

_MEDIAN, _HIGH = 50, 95
# A wait that nobody would notice is nobody's slowest.
_NOTABLE = 0.2
# A wait that people ask about: several times what a start takes on a busy machine.
_LONG = 20.0
_MOST_REASONS = 5
# In characters.
_LONGEST_REASON = 160


@dataclass
class SandboxStatistics:
    """What one process, or all of a run, has had of sandboxes.

    Attributes:
        uses: For each use: the test, where the sandbox came from (`started` for it, `awaited` while
            it started, `warm` from the pool, `reused` after other tests), and the seconds waited.
        starts: Seconds that each start took which a test had the use of.
        resets: Seconds that it took to clean each one that was used again.
        thrown_away: Why sandboxes were not used again.
        unused: How many were started that no test came to use.
    """

    uses: list[tuple[str, str, float]] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    resets: list[float] = field(default_factory=list)
    thrown_away: list[str] = field(default_factory=list)
    unused: int = 0

    def add(self, test: str, origin: str, waited: float, start_seconds: float) -> None:
        """Add one use."""
        self.uses.append((test, origin, waited))
        if origin != "reused":
            self.starts.append(start_seconds)

    def as_json(self) -> dict[str, Any]:
        """Return what an xdist worker hands over."""
        return asdict(self)

    @classmethod
    def sum_of(cls, parts: Iterable[dict[str, Any]]) -> Self:
        """Add up those of all workers."""
        whole = cls()
        for part in parts:
            whole.uses += [(test, origin, waited) for test, origin, waited in part["uses"]]
            whole.starts += part["starts"]
            whole.resets += part["resets"]
            whole.thrown_away += part["thrown_away"]
            whole.unused += part["unused"]
        return whole

    def lines(self, *, verbose: bool) -> list[str]:
        """Return what the terminal says of it; nothing where there was no sandbox.

        Args:
            verbose: Say all; else only that a test has waited long.
        """
        if not self.uses:
            return []
        slowest = max(self.uses, key=lambda use: use[2])
        if not verbose:
            waited = f"{slowest[0]} waited {slowest[2]:.0f} s for its sandbox"
            return [f"agent-sandbox: {waited}; -v tells more"] if slowest[2] >= _LONG else []
        origins = [origin for _, origin, _ in self.uses]
        started = len(origins) - origins.count("reused")
        told = [f"{started} {'sandbox' if started == 1 else 'sandboxes'} started"]
        if self.starts:
            told[0] += (
                f" (p50 {_seconds(self.starts, _MEDIAN)}, p95 {_seconds(self.starts, _HIGH)})"
            )
        ahead = origins.count("warm") + origins.count("awaited")
        if ahead:
            told.append(f"{ahead} of them ahead, {origins.count('warm')} ready in time")
        if self.unused:
            told.append(f"{self.unused} more that no test came to use")
        if started < len(origins):
            cleaned = f" (cleaned in {_seconds(self.resets, _MEDIAN)})" if self.resets else ""
            told.append(f"{len(origins) - started} reused{cleaned}")
        waits = [waited for _, _, waited in self.uses]
        told.append(
            f"tests waited {sum(waits):.1f} s for them (p50 {_seconds(waits, _MEDIAN)}, "
            f"p95 {_seconds(waits, _HIGH)})"
        )
        lines = [f"agent-sandbox: {', '.join(told)}"]
        if slowest[2] >= _NOTABLE:
            lines.append(f"agent-sandbox: the longest wait: {slowest[2]:.1f} s, {slowest[0]}")
        return lines + self._thrown_away()

    def _thrown_away(self) -> list[str]:
        found = Counter(map(_readable, self.thrown_away)).most_common()
        lines = [
            f"agent-sandbox: thrown away instead of reused: {count} ({reason})"
            for reason, count in found[:_MOST_REASONS]
        ]
        rest = sum(count for _, count in found[_MOST_REASONS:])
        return [*lines, f"agent-sandbox: and {rest} for other reasons"] if rest else lines


def _readable(reason: str) -> str:
    """Return a reason as a terminal can show it: it may name any file."""
    shown = "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in reason
    )
    return f"{shown[:_LONGEST_REASON]}…" if len(shown) > _LONGEST_REASON else shown


def _seconds(samples: Sequence[float], percent: int) -> str:
    if len(samples) == 1:
        return _shown(samples[0])
    return _shown(statistics.quantiles(samples, n=100, method="inclusive")[percent - 1])


def _shown(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
