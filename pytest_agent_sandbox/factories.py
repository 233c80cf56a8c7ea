"""What makes a test's workspaces and conversations, and closes all of them with the test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pytest

from pytest_agent_sandbox import reporting
from pytest_agent_sandbox.client.agents import LLM, default_agent
from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.errors import SandboxError, ServerError

if TYPE_CHECKING:
    from pytest_agent_sandbox.agent_llm import AgentLLM
    from pytest_agent_sandbox.client.events import Event
    from pytest_agent_sandbox.client.git import Snapshot
    from pytest_agent_sandbox.evidence.recorder import Recorder
    from pytest_agent_sandbox.llm.replies import Entry
    from pytest_agent_sandbox.options import SandboxSettings
    from pytest_agent_sandbox.session import SandboxSession
    from pytest_agent_sandbox.workspaces import DockerWorkspace


class WorkspaceFactory:
    """The fixture `agent_workspace_factory`: each call starts one more workspace.

    Example::

        def test_two(agent_workspace_factory):
            small, large = agent_workspace_factory(memory="1g"), agent_workspace_factory()

    Args:
        session: What the run shares.
        item: The test.
        settings: Its settings.
        image: The image, unless settings name another one than `image_of` did.
        image_of: The settings that the image was chosen by.
    """

    def __init__(
        self,
        session: SandboxSession,
        item: pytest.Item,
        settings: SandboxSettings,
        image: str,
        image_of: SandboxSettings,
    ) -> None:
        self._session = session
        self._item = item
        self._settings = settings
        self._image = image
        self._image_of = image_of
        self._workspaces: list[DockerWorkspace] = []

    def __call__(self, **settings: Any) -> DockerWorkspace:
        """Starts a workspace.

        Args:
            settings: Changes to the test's settings, by the names of the options:
                `agent_workspace_factory(memory="2g", network="my-net")`.

        Raises:
            SettingsError: A name is unknown or a value cannot be used.
            SandboxStartFailed: The container did not start, or its server never answered.
        """
        changed = self._settings.with_overrides(settings, source="agent_workspace_factory()")
        meant = self._image_of
        same = (changed.image, changed.platform) == (meant.image, meant.platform)
        image = self._image if same else self._session.choose_image(changed)
        recorder = recorder_of(self._session, self._item)
        workspace = self._session.start_workspace(
            changed, image, test=self._item.nodeid, log_path=recorder.new_log()
        )
        self._workspaces.append(workspace)
        return workspace

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with ExitStack() as closing:
            for workspace in self._workspaces:
                closing.callback(workspace.close)
            if reporting.failed(self._item):
                recorder = recorder_of(self._session, self._item)
                for workspace in self._workspaces:
                    _record_workspace(recorder, workspace)


class ConversationFactory:
    """The fixture `agent_conversation`: each call starts a conversation in the test's workspace."""

    def __init__(
        self,
        session: SandboxSession,
        item: pytest.Item,
        workspace: DockerWorkspace,
        llm: AgentLLM,
        *,
        shared: bool,
        run_timeout: float,
    ) -> None:
        self._session = session
        self._item = item
        self._workspace = workspace
        self._llm = llm
        self._shared = shared
        self._run_timeout = run_timeout
        self._conversations: list[RemoteConversation] = []

    def __call__(
        self,
        agent: object = None,
        *,
        script: Sequence[Entry] | None = None,
        workspace: DockerWorkspace | None = None,
        callbacks: Iterable[Callable[[Event], object]] = (),
        max_iterations: int = 100,
        confirm: bool = False,
        secrets: Mapping[str, str] | None = None,
    ) -> RemoteConversation:
        """Starts a conversation.

        Args:
            agent: An `Agent`, a dict, or an openhands.sdk Agent; `default_agent` by default. Its
                LLM's address and key are replaced: the test's LLM answers, through the gateway.
            script: What this conversation's LLM answers; by default that of `agent_llm.script`.
            workspace: Where the agent works; `agent_workspace` by default.
            callbacks: Called with every event, in order, in a thread of their own.
            max_iterations: Steps the agent may take in one run.
            confirm: Every tool call waits for `conversation.accept()` or `.reject()`.
            secrets: Values that the agent's commands get as environment variables.

        Raises:
            ServerError: The server refused.
        """
        workspace = workspace or self._workspace
        if workspace.before_agents is None:
            workspace.before_agents = _snapshot(workspace)
        recorder = recorder_of(self._session, self._item)
        self._session.redactor.add(*(secrets or {}).values())
        number = len(self._conversations) + 1
        described, lane = self._llm.connect(
            agent or default_agent(LLM(model="default")),
            workspace.gateway,
            script=script,
            name=str(number),
        )
        conversation = RemoteConversation(
            workspace,
            described,
            callbacks=[_Recording(recorder, number), *callbacks],
            max_iterations=max_iterations,
            confirm=confirm,
            secrets=secrets,
            guard=lane.check,
            run_timeout=self._run_timeout,
        )
        self._conversations.append(conversation)
        return conversation

    def __enter__(self) -> Self:
        if self._shared:
            self._workspace.before_agents = None  # what another test's agent did is not this one's
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with ExitStack() as closing:
            for conversation in self._conversations:
                closing.callback(conversation.close)
            if reporting.failed(self._item):
                recorder = recorder_of(self._session, self._item)
                if self._shared:
                    shutil.copyfile(self._workspace.log_path, recorder.new_log())
                    _record_workspace(recorder, self._workspace)
                for number, conversation in enumerate(self._conversations, start=1):
                    _record_conversation(recorder, number, conversation)


class _Recording:
    """A callback that keeps every event as evidence."""

    def __init__(self, recorder: Recorder, number: int) -> None:
        self._recorder = recorder
        self._number = number

    def __call__(self, event: Event) -> None:
        self._recorder.record_event(str(self._number), event)


def recorder_of(session: SandboxSession, item: pytest.Item) -> Recorder:
    """The evidence of this attempt at a test; begun when it is first asked for."""
    from pytest_agent_sandbox.evidence.folders import folder_name
    from pytest_agent_sandbox.evidence.recorder import Recorder

    if reporting.RECORDER not in item.stash:
        # pytest-rerunfailures counts the attempts at an item in this attribute, from 1.
        attempt = int(getattr(item, "execution_count", 1))
        item.stash[reporting.RECORDER] = Recorder(
            session.output, folder_name(item.nodeid, attempt), session.redactor
        )
    return item.stash[reporting.RECORDER]


def _snapshot(workspace: DockerWorkspace) -> Snapshot | None:
    """The files before the first agent came; None where the sandbox has no git."""
    try:
        return workspace.snapshot()
    except ServerError:
        return None


def _record_workspace(recorder: Recorder, workspace: DockerWorkspace) -> None:
    """Keeps what only a container that is still there can tell."""
    try:
        recorder.record_diff(workspace.changes_as_diff(base=workspace.before_agents or "HEAD"))
    except SandboxError as error:
        recorder.record_diff(f"(the workspace could not be read: {error})\n")
    facts: dict[str, Any] = {
        "container": workspace.container.name,
        "image": workspace.image.reference,
        "digest": workspace.image.digest,
    }
    try:
        state = workspace.container.state()
    except SandboxError as error:
        facts["state"] = f"unknown: {error}"
    else:
        facts["state"] = state.status
        facts["exit_code"] = state.exit_code
        facts["out_of_memory"] = state.out_of_memory
    recorder.record_sandbox(**facts)


def _record_conversation(recorder: Recorder, number: int, conversation: RemoteConversation) -> None:
    facts: dict[str, Any] = {"number": number, "id": str(conversation.id)}
    try:
        facts["status"] = str(conversation.status)
        facts["cost"] = conversation.cost
    except SandboxError as error:
        facts["status"] = f"unknown: {error}"
    recorder.record_conversation(**facts)
