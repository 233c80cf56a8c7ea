"""Result of one attempt at a test, and result.json, which docs/results.md describes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from pytest_agent_sandbox.evidence import limits
from pytest_agent_sandbox.evidence.folders import RESULT
from pytest_agent_sandbox.evidence.story import Blame, Row, Verdict
from pytest_agent_sandbox.evidence.whole_file import write_whole
from pytest_agent_sandbox.llm.exchange import FIRST_ERROR

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from pytest_agent_sandbox.llm.calls import LLMCall

#: The form of result.json; counts up when a field changes its meaning.
VERSION = 1


@dataclass(kw_only=True)
class LLMTotals:
    """LLM calls of an attempt, by the gateway's own counting."""

    #: How many calls by who answered them, or `refused`.
    calls: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    #: Spent, in US dollars; None where a price is not known.
    cost: float | None = 0.0
    #: What replayed calls cost when they were recorded, in US dollars.
    saved: float = 0.0

    def add(self, call: LLMCall) -> None:
        """Add a call that is over."""
        origin = call.origin or "refused"
        self.calls[origin] = self.calls.get(origin, 0) + 1
        self.tokens += call.usage.total_tokens if call.usage else 0
        is_refused = call.status is not None and call.status >= FIRST_ERROR
        if origin == "replayed":
            self.saved += call.cost or 0.0
        elif call.cost is not None and self.cost is not None:
            self.cost += call.cost
        elif origin in ("live", "recorded") and not call.problem and not is_refused:
            # Of an error, no provider asks a price.
            self.cost = None


@dataclass(kw_only=True)
class Result:
    """Facts of one attempt at a test; they are on disk from the start, and grow."""

    version: int = VERSION
    test: str = ""
    #: Where the test begins in its file, counted from 1.
    line: int = 1
    attempt: int = 1
    #: The test that this is a trial of; empty for one that runs once.
    group: str = ""
    #: `running` where pytest was killed.
    verdict: Verdict = "running"
    fault: Blame = ""
    headline: str = ""
    #: The command that runs the test again, from where pytest was started.
    rerun: str = ""
    #: xdist's name of the process; empty where there is one only.
    worker: str = ""
    #: Seconds since 1970.
    started: float = 0.0
    #: Seconds, of all phases.
    duration: float | None = None
    phases: dict[str, dict[str, Any]] = field(default_factory=dict)
    sandboxes: list[dict[str, Any]] = field(default_factory=list)
    #: Beside the sandboxes.
    services: list[dict[str, Any]] = field(default_factory=list)
    conversations: list[dict[str, Any]] = field(default_factory=list)
    #: Of command-line agents.
    agent_runs: list[dict[str, Any]] = field(default_factory=list)
    llm: LLMTotals = field(default_factory=LLMTotals)
    #: What the agents did: tool calls and messages.
    steps: int = 0
    #: What explains a failure more often than not.
    hints: list[str] = field(default_factory=list)
    #: What else was noticed.
    notes: list[str] = field(default_factory=list)
    #: How many times a secret's value was masked; None until the end.
    masked: int | None = None
    #: What is missing in the files for their size.
    cuts: list[str] = field(default_factory=list)

    def without_secrets(self, mask: Callable[[str], str]) -> Result:
        """Return a copy in which secrets are masked."""
        return _of_json(limits.change_texts(asdict(self), mask))

    def write(self, folder: Path, mask: Callable[[str], str] = str) -> None:
        """Write result.json, at once or not at all.

        Args:
            folder: The test's.
            mask: Masks the secrets in a text.

        Raises:
            OSError: The disk is full, or the like.
        """
        text = json.dumps(limits.change_texts(asdict(self), mask), indent=2)
        write_whole(folder / RESULT, f"{text}\n")

    def row(self, page: str = "") -> Row:
        """Return its line in the run's table; `page` is the way to its own page."""
        startups = [facts.get("start_seconds") for facts in self.sandboxes]
        known = [seconds for seconds in startups if isinstance(seconds, int | float)]
        return Row(
            test=self.test,
            line=self.line,
            attempt=self.attempt,
            group=self.group,
            verdict=self.verdict,
            fault=self.fault,
            headline=self.headline,
            started=self.started,
            duration=self.duration,
            steps=self.steps,
            llm_calls=sum(self.llm.calls.values()),
            tokens=self.llm.tokens,
            cost=self.llm.cost,
            startup=sum(known) if known else None,
            worker=self.worker,
            page=page,
        )


def read(folder: Path) -> Result:
    """Read the result in a folder; as much of it as can be read, where it was damaged."""
    content: Any = None
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        return Result(test=folder.absolute().name)
    return _of_json(content)


def _of_json(content: Mapping[str, Any]) -> Result:
    found: Result = of(Result, {**content, "llm": of(LLMTotals, content.get("llm"))})
    return found


def of(kind: Any, content: Any) -> Any:
    """Make a dataclass of what of the content fits: a newer one holds more, a damaged one less."""
    given = content if isinstance(content, Mapping) else {}
    return kind(
        **{
            name: given[name]
            for name, checker in _checkers(kind).items()
            if name in given and _fits(given[name], checker)
        }
    )


@cache
def _checkers(kind: Any) -> dict[str, TypeAdapter[Any]]:
    from pydantic import TypeAdapter

    return {name: TypeAdapter(hint) for name, hint in get_type_hints(kind).items()}


def _fits(value: Any, checker: TypeAdapter[Any]) -> bool:
    from pydantic import ValidationError

    try:
        checker.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True
