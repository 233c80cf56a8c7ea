"""LLM usage of tests and of the run, for the terminal's summary."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_agent_sandbox.llm.calls import LLMCall

#: The name of the property by which a test's report carries its usage, from xdist workers too.
PROPERTY = "agent_llm_usage"

_MOST_TESTS = 20
_FIRST_ERROR = 400


@dataclass
class LLMUsage:
    """The LLM usage of one test, or of a whole run."""

    #: The number of calls by who answered them (see `Origin`), or `refused`.
    calls: Counter[str] = field(default_factory=Counter)
    #: Tokens of requests and answers together, as far as the answers said.
    tokens: int = 0
    #: US dollars that were spent, as far as they are known.
    cost: float = 0.0
    #: US dollars that were not spent: the cost of the replayed calls when they were recorded.
    saved: float = 0.0
    #: Whether there are calls whose cost is not known.
    unpriced: bool = False
    #: Remarks for the summary.
    notes: list[str] = field(default_factory=list)
    #: The cassettes that were written.
    cassettes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, calls: Iterable[LLMCall]) -> LLMUsage:
        """Return the sum of some calls."""
        sum_ = cls()
        for call in calls:
            sum_.calls[call.origin or "refused"] += 1
            sum_.tokens += call.usage.total_tokens if call.usage else 0
            if call.origin == "replayed":
                sum_.saved += call.cost or 0.0
            else:
                sum_.cost += call.cost or 0.0
            is_answered = call.origin is not None and not call.problem and not _is_error(call)
            sum_.unpriced |= call.cost is None and is_answered
        return sum_

    def add(self, other: LLMUsage) -> None:
        """Add what another test has used."""
        self.calls += other.calls
        self.tokens += other.tokens
        self.cost += other.cost
        self.saved += other.saved
        self.unpriced |= other.unpriced
        self.cassettes += [one for one in other.cassettes if one not in self.cassettes]

    def to_property(self) -> str:
        """Return the usage as text: other values do not get through JUnit XML and xdist."""
        return json.dumps({**vars(self), "calls": dict(self.calls)})

    @classmethod
    def from_property(cls, text: str) -> LLMUsage:
        """Return the usage that `to_property` was given."""
        content: dict[str, Any] = json.loads(text)
        return cls(**{**content, "calls": Counter(content["calls"])})

    @property
    def is_only_scripted(self) -> bool:
        """True if no provider has ever answered any of it."""
        return not set(self.calls) - {"scripted", "fault", "refused"} and not self.notes

    def __str__(self) -> str:
        count = sum(self.calls.values())
        kinds = sorted(self.calls)
        each = kinds[0] if len(kinds) == 1 else ", ".join(f"{self.calls[k]} {k}" for k in kinds)
        noun = "LLM call" if count == 1 else "LLM calls"
        parts = [f"{count} {noun} {each}" if len(kinds) == 1 else f"{count} {noun} ({each})"]
        if self.tokens:
            parts.append(f"{self.tokens:,} tokens")
        if self.cost:
            parts.append(f"${self.cost:.4f}")
        if self.saved:
            parts.append(f"${self.saved:.4f} saved")
        if self.unpriced:
            parts.append("cost of some unknown" if self.cost or self.saved else "cost unknown")
        return ", ".join(parts)


def _is_error(call: LLMCall) -> bool:
    """Tell whether the provider refused a call, which costs nothing."""
    return call.status is not None and call.status >= _FIRST_ERROR


def attach(usage: LLMUsage, properties: list[tuple[str, object]]) -> None:
    """Put a test's usage into its properties, together with that of earlier attempts at it.

    pytest-rerunfailures (16) shows only the last attempt's teardown to the summary.
    """
    for name, value in properties:
        if name == PROPERTY:
            earlier = LLMUsage.from_property(str(value))
            usage.add(earlier)
            usage.notes[:0] = earlier.notes
    properties[:] = [pair for pair in properties if pair[0] != PROPERTY]
    if usage.calls or usage.notes:
        properties.append((PROPERTY, usage.to_property()))


def summary(reports: Iterable[Any], *, verbosity: int) -> list[str]:
    """Return lines for the end of the run: tests that asked a provider or a cassette, and the sum.

    Args:
        reports: All reports of the run.
        verbosity: pytest's. From 1 on the cassettes that were written are named, from 2 on all
            tests are shown, scripted ones too, not only the most expensive.
    """
    used = list(_usages(reports))
    if not used:
        return []
    total = LLMUsage()
    for _, usage in used:
        total.add(usage)
    shown = used if verbosity > 1 else _worth_showing(used)
    lines = [f"{node_id}: {usage}" for node_id, usage in shown]
    hidden = sum(not usage.is_only_scripted for _, usage in used) - len(shown)
    if hidden > 0:
        lines.append(f"… and {hidden} more tests, with -vv")
    lines += [f"{node_id}: {note}" for node_id, usage in used for note in usage.notes]
    return [*lines, f"this run: {total}", *_written(total.cassettes, verbosity)]


def _written(cassettes: Sequence[str], verbosity: int) -> list[str]:
    """Say which files the reader is to commit."""
    if not cassettes:
        return []
    if len(cassettes) == 1:
        return [f"1 cassette written, to be committed: {cassettes[0]}"]
    try:
        folder = os.path.commonpath([str(Path(one).parent) for one in cassettes]) or "."
    except ValueError:  # some are relative, or on another drive
        folder = "several folders"
    named = [f"  {one}" for one in sorted(cassettes)] if verbosity > 0 else []
    more = "" if named else " (-v names them)"
    return [f"{len(cassettes)} cassettes written, to be committed: in {folder}{more}", *named]


def _worth_showing(used: Sequence[tuple[str, LLMUsage]]) -> list[tuple[str, LLMUsage]]:
    some = [(node_id, usage) for node_id, usage in used if not usage.is_only_scripted]
    dearest = sorted(some, key=lambda pair: (-pair[1].cost, -pair[1].saved, -pair[1].tokens))[
        :_MOST_TESTS
    ]
    return [pair for pair in some if pair in dearest]


def _usages(reports: Iterable[Any]) -> Iterable[tuple[str, LLMUsage]]:
    for report in reports:
        # Each report of a test carries what the reports before it did.
        if getattr(report, "when", "") == "teardown":
            for name, value in report.user_properties:
                if name == PROPERTY:
                    yield report.nodeid, LLMUsage.from_property(value)
