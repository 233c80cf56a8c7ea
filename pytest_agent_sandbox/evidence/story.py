"""Story of a test, and of a whole run: what a page shows, ready to be drawn.

Plain values only: `dataclasses.asdict` of a story is the JSON that the page's script reads. Times
are seconds since the test began, by this machine's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

#: `running` until the test has ended; it stays where pytest was killed.
Verdict = Literal["failed", "passed", "skipped", "running"]
#: `assertion`: of the test. `test`: any other error in it. `script`: of LLM calls, or a recording.
Blame = Literal["assertion", "test", "script", "agent", "budget", "sandbox", ""]
#: The faults in words.
WHOSE: Mapping[str, str] = {
    "assertion": "an assertion did not hold",
    "test": "the test's own code",
    "script": "the script or recording",
    "agent": "the agent",
    "budget": "the budget",
    "sandbox": "the sandbox",
}
#: `test`: a command that the test itself ran in the sandbox.
StepKind = Literal["message", "tool", "test", "llm", "error", "state", "log", "other"]
#: How a text is drawn: as it is, with ANSI colours, as JSON, or as a diff.
TextFormat = Literal["text", "terminal", "json", "diff"]
#: A label and a value, both for people.
Fact = tuple[str, str]


@dataclass(kw_only=True)
class Part:
    """One text of a step, such as a tool's result."""

    label: str
    text: str
    format: TextFormat = "text"
    #: How many characters were left out in the middle; the raw files hold more.
    cut: int = 0


@dataclass(kw_only=True)
class Step:
    """One thing that happened, and how long it took."""

    kind: StepKind
    #: What or who: a tool's name, `user`, `LLM call 3`, a level of the log.
    title: str
    #: One line.
    summary: str
    #: None where the clock of the event cannot be read.
    time: float | None = None
    duration: float | None = None
    #: The number of its conversation, or the container's name for a line of its log.
    conversation: str = ""
    #: The tool's name, to filter by.
    tool: str = ""
    is_error: bool = False
    facts: list[Fact] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    #: The names of pictures that it shows, or what is known of them.
    pictures: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Hint:
    """A sentence that explains a failure, more often than not."""

    text: str
    #: The step that it is about, counted from 1.
    step: int | None = None


@dataclass(kw_only=True)
class LogLine:
    """A line of a container's log, or several that belong together."""

    time: float | None
    #: As the server spells it; empty for output that is no log record.
    level: str
    text: str
    container: str = ""


@dataclass(kw_only=True)
class Change:
    """Change of one file of the workspace."""

    path: str
    status: Literal["added", "deleted", "modified", "renamed", ""]
    added: int
    removed: int
    diff: str
    #: Characters left out.
    cut: int = 0


@dataclass(kw_only=True)
class Section:
    """Facts under a title: a sandbox, a conversation."""

    title: str
    facts: list[Fact]


@dataclass(kw_only=True)
class FailedPhase:
    """Phase of a test that failed, and what pytest says of it."""

    phase: str
    text: str


@dataclass(kw_only=True)
class RawFile:
    """A file beside the page."""

    name: str
    size: int


@dataclass(kw_only=True)
class StoryPicture:
    """A picture of a step: a file beside the page, and mostly in the page itself too."""

    name: str
    size: int
    #: In pixels; 0 where they are not known.
    width: int = 0
    height: int = 0
    #: A data URL; empty where the file is all there is.
    data: str = ""


@dataclass(kw_only=True)
class TestStory:
    """Story of one attempt at a test."""

    __test__ = False  # pytest would collect it for its name

    test: str
    attempt: int = 1
    verdict: Verdict = "running"
    fault: Blame = ""
    #: How it went, in a sentence: what stands under the verdict.
    summary: str = ""
    #: What went wrong, in one line.
    headline: str = ""
    #: The line of the test's code that failed.
    code: str = ""
    #: What a reader should know before anything else, such as that memory ran out.
    hints: list[Hint] = field(default_factory=list)
    #: What the agent was asked, what it said last, what it changed: a line each.
    brief: list[Fact] = field(default_factory=list)
    #: The command that runs this test again.
    rerun: str = ""
    #: Seconds since 1970.
    started: float = 0.0
    duration: float | None = None
    failures: list[FailedPhase] = field(default_factory=list)
    #: Steps, tokens, cost and the like.
    totals: list[Fact] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    #: Of the sandboxes' containers, and of the services beside them.
    log: list[LogLine] = field(default_factory=list)
    #: The names of the services; their lines of the log have them as the container's.
    services: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    #: Why there are no changes, where there could be some.
    changes_note: str = ""
    environment: list[Section] = field(default_factory=list)
    files: list[RawFile] = field(default_factory=list)
    #: What the steps show.
    pictures: list[StoryPicture] = field(default_factory=list)
    #: Of the sandboxes' desktops, beside the page.
    videos: list[RawFile] = field(default_factory=list)
    #: How many times a secret's value was masked; None where nobody counted to the end.
    masked: int | None = None
    #: What the page leaves out, and where it is.
    cuts: list[str] = field(default_factory=list)
    #: The way to the run's page; empty where there is none.
    index: str = ""


@dataclass(kw_only=True)
class Row:
    """One attempt at a test, in the run's table."""

    test: str = ""
    #: Where the test begins in its file.
    line: int = 1
    attempt: int = 1
    verdict: Verdict = "running"
    fault: Blame = ""
    headline: str = ""
    #: Seconds since 1970.
    started: float = 0.0
    #: Seconds.
    duration: float | None = None
    #: What the agents did: tool calls and messages.
    steps: int = 0
    llm_calls: int = 0
    tokens: int = 0
    #: US dollars; None where it is not known.
    cost: float | None = None
    #: Seconds that its sandboxes took to start.
    startup: float | None = None
    #: xdist's name of the process; empty where there is one only.
    worker: str = ""
    #: The way to its page; empty where nothing was kept.
    page: str = ""
    #: Whether a later attempt at the test is what counts.
    superseded: bool = False
    #: The test that this is a trial of; empty for one that runs once.
    group: str = ""
    #: Whether it may fail, for all the trials of its test together have passed.
    tolerated: bool = False

    @property
    def has_failed(self) -> bool:
        """Tell whether it is a failure of the run."""
        return self.verdict == "failed" and not (self.superseded or self.tolerated)


@dataclass(kw_only=True)
class Group:
    """Verdict on a test that was tried several times."""

    test: str = ""
    verdict: Literal["passed", "failed", "open"] = "open"
    #: Trials that passed, of those that count, of those that were selected.
    passed: int = 0
    counted: int = 0
    selected: int = 0
    #: The share that has to pass.
    wanted: float = 1.0
    #: The Wilson interval of the pass rate, at 95 % confidence.
    low: float = 0.0
    high: float = 1.0
    #: How likely one of k trials passes, for k from 1.
    pass_at: list[float] = field(default_factory=list)
    #: Sandboxes that failed, which counts for nothing.
    faults: int = 0


@dataclass(kw_only=True)
class RunStory:
    """Story of one run: all its tests with a sandbox."""

    title: str
    #: Seconds since 1970.
    started: float
    duration: float | None = None
    rows: list[Row] = field(default_factory=list)
    #: Of tests that were tried several times.
    groups: list[Group] = field(default_factory=list)
