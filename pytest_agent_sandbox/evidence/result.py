"""result.json: what became of one attempt at a test. docs/results.md describes it for readers."""

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
from pytest_agent_sandbox.evidence.story import Fault, Row, Verdict

if TYPE_CHECKING:
    from pydantic import TypeAdapter

NAME = RESULT
#: The form of result.json; counts up when a field changes its meaning.
VERSION = 1


@dataclass(kw_only=True)
class LLMTotals:
    """What an attempt has asked of its LLM, by the gateway's own counting."""

    #: How many calls by who answered them, or `refused`.
    calls: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    #: Spent, in US dollars; None where a price is not known.
    cost: float | None = 0.0
    #: What replayed calls cost when they were recorded, in US dollars.
    saved: float = 0.0


@dataclass(kw_only=True)
class Result:
    """The facts of one attempt at a test; it is on disk from the start, and grows."""

    version: int = VERSION
    test: str = ""
    #: Where the test begins in its file, counted from 1.
    line: int = 1
    attempt: int = 1
    #: The test that this is a trial of; empty for one that runs once.
    group: str = ""
    #: `running` where pytest was killed.
    verdict: Verdict = "running"
    fault: Fault = ""
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

    def write(self, folder: Path, mask: Callable[[str], str] = str) -> None:
        """Put it into a folder, at once or not at all.

        Raises:
            OSError: The disk is full, or the like.
        """
        text = json.dumps(limits.change_texts(asdict(self), mask), indent=2)
        new = folder / f".{NAME}"
        new.write_text(text + "\n", encoding="utf-8")
        new.replace(folder / NAME)

    def row(self, page: str = "") -> Row:
        """Its line in the run's table; `page` is the way to its own page."""
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
    """The result in a folder; as much of it as can be read, where it was damaged."""
    content: Any = None
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = json.loads((folder / NAME).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        return Result(test=folder.absolute().name)
    found: Result = of(Result, {**content, "llm": of(LLMTotals, content.get("llm"))})
    return found


def of(kind: Any, content: Any) -> Any:
    """What of the content belongs to the kind: a newer version holds more, a damaged one less."""
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
