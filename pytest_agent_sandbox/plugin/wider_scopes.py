"""Workspaces that several tests use: of `agent_workspace_starter`, and of a marker's scope."""

from __future__ import annotations

from collections.abc import Generator, Hashable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pytest_agent_sandbox.client.asynchronous import InThread
from pytest_agent_sandbox.errors import SandboxDied, SandboxError
from pytest_agent_sandbox.plugin import command_agents
from pytest_agent_sandbox.plugin.trials.marks import trial_of

if TYPE_CHECKING:
    from pytest_agent_sandbox.plugin.sandbox_choice import SandboxChoice
    from pytest_agent_sandbox.plugin.session import SandboxSession
    from pytest_agent_sandbox.sandbox.workspace import Workspace
    from pytest_agent_sandbox.settings.table import SandboxSettings

#: Whom a workspace is for that all tests may share.
SHARED = "(shared)"
#: Settings that tests may change by marker and still use one sandbox, beside those of their LLM.
_OF_A_TEST = {"run_timeout", "start_timeout", "pull", "video"}


class WorkspaceStarter:
    """The fixture `agent_workspace_starter`: each call starts a workspace, for a fixture to share.

    Example::

        @pytest.fixture(scope="module")
        def repository(agent_workspace_starter):
            workspace = agent_workspace_starter(memory="2g")
            workspace.upload("sample", ".")
            return workspace

    Args:
        choice: The run's settings and image.
        setting_up: The fixtures that are being set up.
    """

    def __init__(self, choice: SandboxChoice, setting_up: FixturesBeingSetUp) -> None:
        self._choice = choice
        self._setting_up = setting_up

    def __call__(self, /, **settings: Any) -> Workspace:
        """Start a workspace; it is closed with the fixture that calls this.

        In a test it is closed with the test, and elsewhere with the test run. It may be closed
        before that, as by `with`.

        Args:
            settings: Changes to the run's settings, by the names of the options:
                `agent_workspace_starter(memory="2g", network="isolated")`.

        Raises:
            SettingsError: A name is unknown or a value cannot be used.
            SandboxStartFailed: The container did not start, or its server never answered.
        """
        caller = self._setting_up.innermost()
        changed, image = self._choice.with_overrides(settings, source="agent_workspace_starter()")
        session = self._choice.session
        if caller is not None:
            whom, scope = f"{_place(caller.node)} ({caller.fixturename})", caller.scope
            end: Any = caller.addfinalizer
        elif session.uses.test is not None:
            whom, scope = session.uses.test.nodeid, "function"
            end = session.uses.test.addfinalizer
        else:
            whom, scope, end = "(session)", "session", None
        by = caller.fixturename if caller is not None else "agent_workspace_starter"
        workspace = start(session, changed, image, whom=whom, facts={"scope": scope, "fixture": by})
        if end is not None:
            end(workspace.close)
        return workspace

    #: As calling it, without blocking the event loop: `await agent_workspace_starter.astart()`.
    astart = InThread(__call__)


class FixturesBeingSetUp:
    """Plugin of pytest's that knows which fixtures are being set up right now."""

    def __init__(self) -> None:
        self._requests: list[pytest.FixtureRequest] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Follow the set-up of a fixture."""
        self._requests.append(request)
        try:
            return (yield)
        finally:
            self._requests.remove(request)

    def innermost(self) -> Any:
        """Return the request of the fixture whose function runs; None where none does."""
        return self._requests[-1] if self._requests else None


def start(
    session: SandboxSession,
    settings: SandboxSettings,
    image: str,
    *,
    whom: str,
    facts: dict[str, Any],
    first_test: str = "",
) -> Workspace:
    """Start a workspace that goes on after a test.

    Args:
        session: What the run shares.
        settings: Its settings; no desktop is recorded, for that would be of no single test.
        image: Name of the image.
        whom: Whom it is for.
        facts: What evidence says of that.
        first_test: The test that has been expected to ask for it.
    """
    log = session.new_log()
    workspace = session.start_workspace(
        replace(settings, video="none"), image, test=whom, log_path=log, first_test=first_test
    )
    still_open = [one for one in session.open_for_several if not one.is_closed]
    session.open_for_several = [*still_open, workspace]
    session.uses.started(workspace, "scope", log=log, facts=facts)
    command_agents.follow(session, None, workspace)
    return workspace


def scope_node(item: pytest.Item, scope: str) -> pytest.Item | pytest.Collector:
    """Return the node of pytest's that a scope of a test is, as it is for fixtures."""
    if scope == "class":
        return item.getparent(pytest.Class) or item
    if scope == "module":
        return item.getparent(pytest.Module) or item.session
    if scope == "package":
        return item.getparent(pytest.Package) or item.session
    return item.session if scope == "session" else item


def scope_key(item: pytest.Item, scope: str, settings: SandboxSettings, image: str) -> Hashable:
    """Return what two tests have in common that use one sandbox."""
    trial = trial_of(item)
    values = (
        getattr(settings, name)
        for name in settings.declared()
        if name not in _OF_A_TEST and not name.startswith("llm_")
    )
    # A trial must not find what another one of the same test has left.
    number = trial.number if trial is not None else 0
    return (scope_node(item, scope).nodeid, scope, number, image, *values)


@dataclass
class ScopedWorkspaces:
    """The workspaces of `@pytest.mark.agent_sandbox(scope=…)`, each for one scope and settings.

    Attributes:
        session: What the run shares.
    """

    session: SandboxSession

    def __post_init__(self) -> None:
        self._workspaces: dict[Hashable, Workspace] = {}

    def get(self, item: pytest.Item, scope: str, choice: SandboxChoice) -> Workspace:
        """Return the workspace of a test's scope; start it for the first test there.

        Where it has died, or a test has closed it, the next test gets a new one.

        Args:
            item: The test.
            scope: The scope, wider than `function`.
            choice: The test's settings and image.
        """
        settings, image = choice.with_overrides({}, source="agent_workspace")
        key = scope_key(item, scope, settings, image)
        workspace = self._workspaces.get(key)
        if workspace is not None and not _is_gone(workspace):
            self.session.uses.take(workspace)
            return workspace
        if workspace is not None:
            self.session.evidence.recorder(item).note(
                f"The {scope}'s sandbox {workspace.name} was no more; this test has got a new one."
            )
            with suppress(SandboxError):  # what is gone may not be there to be removed
                self._end(key)
        node = scope_node(item, scope)
        workspace = self._workspaces[key] = start(
            self.session,
            settings,
            image,
            whom=f"{_place(node)} ({scope})",
            facts={"scope": scope},
            first_test=item.nodeid,
        )
        node.addfinalizer(partial(self._end, key, workspace))
        return workspace

    def _end(self, key: Hashable, workspace: Workspace | None = None) -> None:
        if workspace is None or self._workspaces.get(key) is workspace:
            self._workspaces.pop(key).close(wait=False)


def _is_gone(workspace: Workspace) -> bool:
    if workspace.is_closed:
        return True
    try:
        workspace.connection.check()
    except SandboxDied:
        return True
    except SandboxError:  # the test meets it, and says so
        return False
    return False


def _place(node: Any) -> str:
    return str(node.nodeid) or "(session)"


def close_all(workspaces: list[Workspace]) -> None:
    """Close what is still open."""
    for workspace in workspaces:
        with suppress(SandboxError):
            workspace.close(wait=False)
