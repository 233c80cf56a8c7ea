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

if TYPE_CHECKING:
    from pytest_agent_sandbox.plugin.session import SandboxSession
    from pytest_agent_sandbox.sandbox.workspace import Workspace
    from pytest_agent_sandbox.settings.table import SandboxSettings


class WorkspaceFactory:
    """The fixture `agent_workspace_factory`: each call starts one more workspace.

    Example::

        def test_two(agent_workspace_factory):
            small, large = agent_workspace_factory(memory="1g"), agent_workspace_factory()

    Args:
        session: What the run shares.
        item: The test.
        settings: Its settings.
        image: Name of the image.
        run_settings: The settings of the run, by which the image was chosen.
    """

    def __init__(
        self,
        session: SandboxSession,
        item: pytest.Item,
        settings: SandboxSettings,
        image: str | None,
        run_settings: SandboxSettings,
    ) -> None:
        self._session = session
        self._item = item
        self._settings = settings
        self._image = image
        self._run_settings = run_settings
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
        changed = self._settings.with_overrides(settings, source="agent_workspace_factory()")
        image = changed.image if "image" in settings else self._image
        if changed.platform != self._run_settings.platform and image == self._chosen():
            image = None  # the choice was for another platform
        recorder = self._session.evidence.recorder(self._item)
        workspace = self._session.start_workspace(
            changed,
            image or self._session.choose_image(changed),
            test=self._item.nodeid,
            log_path=recorder.new_log(),
            clean_log=recorder.mask,
        )
        self._workspaces.add(workspace)
        if changed.video != "none":
            workspace.record_desktop()
            self._videos[workspace] = changed.video
        workspace.on_command = collect.recording_commands(recorder)
        command_agents.follow(self._session, self._item, workspace)
        with collect.MAY_FAIL:
            collect.at_start(recorder, workspace)
        return workspace

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

    def _chosen(self) -> str:
        """Return the image that the run's settings mean, where no fixture says otherwise."""
        return self._session.choose_image(self._run_settings)

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
                    collect.at_end(recorder, workspace)
                    collect.changes(recorder, workspace)
                for workspace, kept_of in self._videos.items():
                    if failed or kept_of == "all":
                        collect.video(recorder, workspace)
