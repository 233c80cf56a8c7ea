"""The fixture `agent_workspace_factory`: a test's workspaces, closed with the test."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pytest

from pytest_agent_sandbox.client.asynchronous import InThread
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.plugin import command_agents
from pytest_agent_sandbox.plugin.opened import OpenResources
from pytest_agent_sandbox.plugin.report import collect, outcome
from pytest_agent_sandbox.plugin.wider_scopes import scope_node

if TYPE_CHECKING:
    from pytest_agent_sandbox.plugin.sandbox_choice import SandboxChoice
    from pytest_agent_sandbox.sandbox.workspace import Workspace


class WorkspaceFactory:
    """The fixture `agent_workspace_factory`: each call starts one more workspace.

    Example::

        def test_two(agent_workspace_factory):
            small, large = agent_workspace_factory(memory="1g"), agent_workspace_factory()

    Args:
        item: The test.
        choice: Its settings and image.
    """

    def __init__(self, item: pytest.Item, choice: SandboxChoice) -> None:
        self._session = choice.session
        self._item = item
        self._choice = choice
        self._workspaces = OpenResources["Workspace"]("sandbox")
        #: Those whose desktop is recorded, and of which tests that is kept.
        self._videos: dict[Workspace, str] = {}

    def __call__(self, /, **settings: Any) -> Workspace:
        """Start a workspace.

        Args:
            settings: Changes to the test's settings, by the names of the options:
                `agent_workspace_factory(memory="2g", network="my-net")`.

        Raises:
            SettingsError: A name is unknown or a value cannot be used.
            SandboxStartFailed: The container did not start, or its server never answered.
        """
        changed, image = self._choice.with_overrides(settings, source="agent_workspace_factory()")
        recorder = self._session.evidence.recorder(self._item)
        log = recorder.new_log()
        workspace = self._session.start_workspace(
            changed, image, test=self._item.nodeid, log_path=log, clean_log=recorder.mask
        )
        self._workspaces.add(workspace)
        if changed.video != "none":
            workspace.record_desktop()
            self._videos[workspace] = changed.video
        workspace.on_command = collect.recording_commands(recorder)
        command_agents.follow(self._session, self._item, workspace)
        self._session.uses.started(workspace, "test", log=log)
        return workspace

    def for_scope(self, scope: str) -> Workspace:
        """Return the workspace of the test's scope, as `agent_workspace` gives it.

        Args:
            scope: One of pytest's.
        """
        if scope_node(self._item, scope) is self._item:  # a class of no class is the test itself
            return self()
        return self._session.scoped.get(self._item, scope, self._choice)

    #: As calling it, without blocking the event loop: `await agent_workspace_factory.astart()`.
    astart = InThread(__call__)

    def _keep(self, workspace: Workspace) -> None:
        recorder, name = self._session.evidence.recorder(self._item), workspace.name
        workspace.keep()
        with collect.MAY_FAIL:
            try:
                workspace.close()
            except SandboxError as error:
                recorder.note(f"The sandbox could not be kept: {error}")
            else:
                recorder.record_sandbox(name, **{"kept as": workspace.name})

    def __repr__(self) -> str:
        return f"<WorkspaceFactory, workspaces: {len(list(self._workspaces))}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        workspaces = self._workspaces.end()
        failed = outcome.failed(self._item)
        if "all" in self._videos.values():
            self._session.evidence.want(self._item)
        # A log that nobody is going to read need not be complete.
        is_wanted = self._session.evidence.wants_evidence(self._item)
        with ExitStack() as closing:
            for workspace in workspaces:
                if self._session.keeps(failed=failed):
                    closing.callback(self._keep, workspace)
                else:
                    closing.callback(workspace.close, wait=is_wanted)
            if is_wanted:
                closing.enter_context(collect.MAY_FAIL)
                recorder = self._session.evidence.recorder(self._item)
                for workspace in workspaces:
                    self._session.uses.collect(workspace)
                for workspace, kept_of in self._videos.items():
                    if failed or kept_of == "all":
                        collect.video(recorder, workspace)
