"""Which sandboxes a test really uses, whoever started them, and what each leaves as evidence.

A test uses a sandbox that is started while it runs, one that a fixture of it gives, and one that is
asked for anything in its time. One test runs at a time in a process.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.plugin.report import collect, outcome
from pytest_agent_sandbox.sandbox.workspace import Workspace

if TYPE_CHECKING:
    from pytest_agent_sandbox.client.commands import CommandResult
    from pytest_agent_sandbox.evidence.recorder import Recorder
    from pytest_agent_sandbox.plugin.report.evidence import RunEvidence

logger = seldom.logger(__name__)

#: Whose a workspace is: one test's, that of several by a wider scope, or a program's own.
Owner = Literal["test", "scope", "program"]


@dataclass
class _Known:
    """An open workspace, and what to say of it."""

    workspace: Workspace
    owner: Owner
    #: The file of its log, where there is one.
    log: Path | None
    facts: Mapping[str, Any]
    #: How many attempts at tests have used it, and whether one of them has failed.
    tests: int = 0
    has_failed: bool = False
    #: Where its log stood when the test under way began.
    log_begin: int = 0


@dataclass
class _Use:
    """The use of a workspace by the test under way."""

    known: _Known
    recorder: Recorder
    #: Where this test's part of the log goes, if it is not there already.
    log: Path | None
    is_collected: bool = field(default=False)


class SandboxUses:
    """Knows the open workspaces of this process, and which of them the test under way uses.

    Args:
        evidence: Gives the evidence of the run.
        keeps: Tells whether sandboxes stay whose tests failed, or did not.

    Attributes:
        on_use: Called with a workspace when a test begins to use it.
        on_close: Called with one before it is closed.
    """

    on_use: Callable[[Workspace], object] | None = None
    on_close: Callable[[Workspace], object] | None = None

    def __init__(self, evidence: Callable[[], RunEvidence], keeps: Callable[[bool], bool]) -> None:
        self._evidence = evidence
        self._keeps = keeps
        #: The test under way.
        self.test: pytest.Item | None = None
        self._known: dict[Workspace, _Known] = {}
        self._uses: dict[Workspace, _Use] = {}
        self._lock = threading.RLock()

    def begin(self, item: pytest.Item) -> None:
        """Say that an attempt at a test begins, before any fixture of it is set up."""
        self.test, self._uses = item, {}
        for known in list(self._known.values()):
            known.log_begin = _size(known.log)
            known.workspace.begin_test()
        for workspace in _given(item):
            self.take(workspace)

    def started(
        self,
        workspace: Workspace,
        owner: Owner,
        *,
        log: Path | None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Say that a workspace was started, in a test or for several.

        Args:
            workspace: The workspace.
            owner: Whose it is.
            log: The file of its log.
            facts: What to tell of it beside what it tells itself.
        """
        known = _Known(workspace, owner, log, {**workspace.facts(), **(facts or {})})
        with self._lock:
            self._known[workspace] = known
        workspace.connection.on_use = partial(self._touched, known)
        workspace.before_close = partial(self._closing, known)
        if workspace.on_command is None:
            workspace.on_command = partial(self._record_command, known)
        self._use(known)

    def take(self, workspace: Workspace) -> None:
        """Say that the test under way gets a workspace; keep its files as they are before that."""
        known = self._known.get(workspace)
        if known is None or not self._use(known) or known.tests == 1:
            return
        # Else a diff would hold what the tests before it have changed.
        try:
            workspace.connection.check()
            if workspace.alive():  # a server that hangs would cost a minute
                collect.before_agents(workspace)
        except SandboxError as error:  # the test meets it too, where it matters to it
            workspace.no_snapshot = str(error)

    def goes_on(self, workspace: Workspace) -> bool:
        """Tell whether a workspace of the plugin's goes on after the test under way."""
        known = self._known.get(workspace)
        return known is not None and known.owner == "scope"

    def open(self) -> list[Workspace]:
        """Return the workspaces that the test under way has used, of those still there."""
        return [workspace for workspace in list(self._uses) if not workspace.is_closed]

    def note_failure(self) -> None:
        """Say that the test under way has failed."""
        for use in list(self._uses.values()):
            use.known.has_failed = True

    def end(self, *, is_wanted: bool) -> None:
        """Say that the test under way is over.

        Args:
            is_wanted: Whether there is a use for its evidence.
        """
        try:
            for use in list(self._uses.values()) if is_wanted else ():
                self._collect(use, is_there=not use.known.workspace.is_closed)
        finally:
            self.test, self._uses = None, {}

    def collect(self, workspace: Workspace) -> None:
        """Keep what there is to know of a workspace at the end of the test under way."""
        if workspace in self._uses:
            self._collect(self._uses[workspace], is_there=not workspace.is_closed)

    def _use(self, known: _Known) -> bool:
        """Begin the use of a workspace by the test under way; tell whether there was none."""
        with self._lock:
            test = self.test
            if test is None or known.workspace in self._uses or known.workspace.is_closed:
                return False
            recorder = self._evidence().recorder(test)
            is_there = known.log is None or known.log.parent == recorder.folder
            use = _Use(known, recorder, None if is_there else recorder.new_log())
            self._uses[known.workspace] = use
            known.tests += 1
        facts = dict(known.facts)
        if known.tests > 1:
            facts.pop("start_seconds", None)  # for which this test has not waited
            facts["earlier tests in it"] = known.tests - 1
        if use.log is not None:
            facts["log"] = use.log.name
        with collect.MAY_FAIL:
            recorder.record_sandbox(known.workspace.name, **facts)
        if self.on_use is not None:
            self.on_use(known.workspace)
        return True

    def _touched(self, known: _Known) -> None:
        if self.test is None or known.workspace in self._uses:
            return
        try:
            self._use(known)
        except (SandboxError, OSError) as error:  # the test's own call is to succeed
            logger.warning("there is no evidence of a sandbox: %s", error)

    def _record_command(self, known: _Known, result: CommandResult) -> None:
        use = self._uses.get(known.workspace)
        if use is not None:
            collect.recording_commands(use.recorder)(result)

    def _closing(self, known: _Known) -> None:
        with self._lock:
            self._known.pop(known.workspace, None)
        use, test = self._uses.get(known.workspace), self.test
        is_failing = sys.exc_info()[0] is not None
        if use is not None and test is not None:
            # How a test ends whose function still runs nobody knows, and then it is gone.
            is_open_ended = is_failing or "call" not in outcome.phases(test)
            if is_open_ended or self._evidence().wants_evidence(test):
                self._collect(use, is_there=True)
        if self.on_close is not None:
            self.on_close(known.workspace)
        if known.owner == "scope" and self._keeps(known.has_failed or is_failing):
            known.workspace.keep()

    def _collect(self, use: _Use, *, is_there: bool) -> None:
        if use.is_collected:
            return
        use.is_collected = True
        known, workspace = use.known, use.known.workspace
        # Where a fixture fails as it ends, that is known when the sandbox has been closed already.
        if is_there:
            with suppress(OSError, SandboxError):
                collect.at_end(use.recorder, workspace)
                collect.changes(use.recorder, workspace, is_new=known.tests == 1)
        if use.log is not None and known.log is not None:
            begin = known.log_begin if known.tests > 1 else 0
            with collect.MAY_FAIL:
                collect.log_part(use.recorder, known.log, begin, use.log)


def started_by_tests(workspace: Workspace) -> dict[str, str]:
    """Return what evidence says of a workspace that the tests have started by themselves."""
    kind = type(workspace).__name__
    return {"started by": f"a {kind}() of the tests, which the settings of the run do not reach"}


def _given(item: pytest.Item) -> Iterator[Workspace]:
    """Yield the workspaces that wider fixtures of a test hold since an earlier one."""
    # pytest (9.2) has no public way to see a fixture's value before it is asked for.
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    for name in definitions:
        kept = getattr(definitions[name][-1], "cached_result", None)
        value = kept[0] if kept is not None else None
        if isinstance(value, RemoteConversation):
            value = value.workspace
        if isinstance(value, Workspace):
            yield value


def _size(file: Path | None) -> int:
    try:
        return 0 if file is None else file.stat().st_size
    except OSError:  # it is not there yet
        return 0
