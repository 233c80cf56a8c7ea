"""Collecting of facts from a test's sandboxes and conversations, while they are there."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_agent_sandbox.errors import CommandTimeout, SandboxError, ServerError
from pytest_agent_sandbox.host import seldom

if TYPE_CHECKING:
    from collections.abc import Callable

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


def at_start(recorder: Recorder, workspace: Workspace) -> None:
    """Keep what a sandbox is, once it has started."""
    recorder.record_sandbox(workspace.name, **workspace.facts())


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


def of_shared(recorder: Recorder, workspace: Workspace) -> None:
    """Keep what there is to know of a workspace that tests share, its log so far included."""
    if workspace.log_path is not None:
        shutil.copyfile(workspace.log_path, recorder.new_log())
    at_start(recorder, workspace)
    at_end(recorder, workspace)


def changes(recorder: Recorder, workspace: Workspace) -> None:
    """Keep what changed on the workspace's disk, which only a server that is there can tell."""
    recorder.record_diff(workspace.name, _diff(workspace))


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
        facts["cost"] = conversation.cost
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


def _diff(workspace: Workspace) -> str:
    try:
        workspace.connection.check()
        if not workspace.alive():  # a server that hangs would cost minutes
            return "(the workspace could not be read: the server does not answer)\n"
        diff = workspace.changes_as_diff(base=workspace.before_agents or "HEAD")
    except SandboxError as error:
        return f"(the workspace could not be read: {error})\n"
    if workspace.no_snapshot:
        diff += (
            "(the workspace before the agents is not known; this is since the last commit: "
            f"{workspace.no_snapshot})\n"
        )
    return diff
