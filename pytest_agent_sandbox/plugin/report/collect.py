"""Collecting of facts from a test's sandboxes and conversations, while they are there."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_agent_sandbox.errors import CommandTimeout, SandboxError, ServerError
from pytest_agent_sandbox.host import seldom

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_agent_sandbox.client.commands import CommandResult
    from pytest_agent_sandbox.client.conversation import RemoteConversation
    from pytest_agent_sandbox.client.events import Event
    from pytest_agent_sandbox.evidence.recorder import Recorder
    from pytest_agent_sandbox.sandbox.workspace import Workspace

logger = seldom.logger(__name__)

#: A full disk or a folder that somebody removed: the report says so, the clean-up goes on.
MAY_FAIL = suppress(OSError)
#: Seconds that a first agent waits for it at most.
_SNAPSHOT_TIMEOUT = 60.0


def before_agents(workspace: Workspace) -> None:
    """Keep the files as they are before the first agent comes, or why they cannot be had."""
    if workspace.before_agents is not None or workspace.no_snapshot:
        return  # after the first agent it is too late
    try:
        workspace.before_agents = workspace.snapshot(timeout=_SNAPSHOT_TIMEOUT)
    except (ServerError, CommandTimeout) as error:  # no git, or more files than it can look at
        workspace.no_snapshot = str(error)
        logger.warning("there is no snapshot of a workspace before the agents: %s", error)


def at_end(recorder: Recorder, workspace: Workspace) -> None:
    """Keep how a sandbox is at the end of a test."""
    facts = workspace.end_facts()
    if refused := facts.get("was refused"):
        recorder.note(
            f"The sandbox was refused connections to {refused}; what it may reach is "
            "set by sandbox_allow."
        )
    if facts:
        recorder.record_sandbox(workspace.name, **facts)


def log_part(recorder: Recorder, log: Path, begin: int, part: Path) -> None:
    """Keep what a sandbox has logged since a place in its log, masked.

    Args:
        recorder: The test's.
        log: The whole log.
        begin: The bytes before that place.
        part: The file to write.
    """
    with log.open("rb") as source, part.open("w", encoding="utf-8", errors="replace") as kept:
        if begin <= source.seek(0, os.SEEK_END):  # else its middle was dropped: all of it
            source.seek(begin)
        else:
            source.seek(0)
        for line in source:
            kept.write(recorder.mask(line.decode("utf-8", "replace")))


def changes(recorder: Recorder, workspace: Workspace, *, is_new: bool = True) -> None:
    """Keep what changed on the workspace's disk, which only a server that is there can tell.

    Args:
        recorder: The test's.
        workspace: The workspace.
        is_new: Whether no other test has used it before.
    """
    recorder.record_diff(workspace.name, _diff(workspace, is_new=is_new))


def video(recorder: Recorder, workspace: Workspace) -> None:
    """Keep the video of a sandbox's desktop, which is lost where the container is."""
    try:
        workspace.save_video(recorder.new_video())
    except SandboxError as error:
        recorder.note(f"There is no video of the desktop: {error}")


def record_conversation(recorder: Recorder, number: int, conversation: RemoteConversation) -> None:
    """Keep how a conversation ended, and those of its events that are not kept yet."""
    facts: dict[str, Any] = {"id": str(conversation.id)}
    try:
        facts["status"] = str(conversation.status)
        cost = conversation.cost
        facts["cost"] = None if math.isnan(cost) else cost
        facts["tokens"] = conversation.tokens.prompt_tokens + conversation.tokens.completion_tokens
    except SandboxError as error:
        facts["status"] = f"unknown: {error}"
    recorder.record_conversation(number, **facts)
    # What a slow callback of the test has kept from being recorded so far, and its forks.
    for known in (conversation, *conversation.forks):
        record = EventRecorder(recorder, number)
        for event in known.events:
            record(event)


def recording_commands(recorder: Recorder) -> Callable[[CommandResult], None]:
    """Return a callback that keeps the commands that a test itself runs in its workspace."""

    def record(result: CommandResult) -> None:
        try:
            recorder.record_command(result)
        except OSError as error:
            recorder.lose(error)

    return record


class EventRecorder:
    """Callback that keeps every event of a conversation."""

    def __init__(self, recorder: Recorder, number: int) -> None:
        self._recorder = recorder
        self._number = number

    def __call__(self, event: Event) -> None:
        """Keep one event."""
        try:
            self._recorder.record_event(str(self._number), event)
        except OSError as error:  # a full disk, a folder that somebody removed
            self._recorder.lose(error)


def _diff(workspace: Workspace, *, is_new: bool) -> str:
    try:
        workspace.connection.check()
        if not workspace.alive():  # a server that hangs would cost minutes
            return "(the workspace could not be read: the server does not answer)\n"
        diff = workspace.changes_as_diff(base=workspace.before_agents or "HEAD")
    except SandboxError as error:
        return f"(the workspace could not be read: {error})\n"
    if workspace.before_agents is None and not is_new:
        reason = workspace.no_snapshot or "other tests have used it before this one"
        diff += (
            "(the workspace before this test is not known; this is since the last commit: "
            f"{reason})\n"
        )
    elif workspace.no_snapshot:
        diff += (
            "(the workspace before the agents is not known; this is since the last commit: "
            f"{workspace.no_snapshot})\n"
        )
    return diff
