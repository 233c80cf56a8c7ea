"""What tests ask for: each fixture a few lines over the layers below, which load on first use."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pytest

from pytest_agent_sandbox.plugin import options
from pytest_agent_sandbox.settings.table import SandboxSettings

if TYPE_CHECKING:
    from pytest_agent_sandbox.plugin.agent_llm import AgentLLM
    from pytest_agent_sandbox.plugin.conversation_factory import ConversationFactory
    from pytest_agent_sandbox.plugin.services import ServiceFactory
    from pytest_agent_sandbox.plugin.session import SandboxSession
    from pytest_agent_sandbox.plugin.wider_scopes import WorkspaceStarter
    from pytest_agent_sandbox.plugin.workspace_factory import WorkspaceFactory
    from pytest_agent_sandbox.sandbox.workspace import Workspace

#: What the run's sandbox tests share; there once its collection has found one.
SESSION: pytest.StashKey[SandboxSession] = pytest.StashKey()
#: The numbers of the workers' sandboxes, in that process.
WORKERS_STATISTICS: pytest.StashKey[list[dict[str, Any]]] = pytest.StashKey()
#: Set in that process.
HAS_WORKERS: pytest.StashKey[bool] = pytest.StashKey()
#: Whether the test's function runs at this moment.
IS_CALLED: pytest.StashKey[bool] = pytest.StashKey()
#: The test under way, and when it began, in seconds since 1970.
CURRENT: pytest.StashKey[pytest.Item] = pytest.StashKey()
BEGAN: pytest.StashKey[float] = pytest.StashKey()
#: The workspaces that programs have started before there was anything to tell it.
STARTED: pytest.StashKey[list[Workspace]] = pytest.StashKey()
#: What is to be checked of a test once its function has returned.
CHECKS: pytest.StashKey[list[Callable[[], None]]] = pytest.StashKey()

#: A test that asks for one of these, directly or through another fixture, needs an engine.
_NEED_A_SANDBOX = {
    "agent_workspace",
    "shared_agent_workspace",
    "agent_workspace_factory",
    "agent_workspace_starter",
    "agent_conversation",
    "agent_services",
    "sandbox_image",
}


@runtime_checkable
class Waiting(Protocol):
    """What has begun to start something."""

    def wait(self) -> None:
        """Wait until that is ready."""


def count_sandbox_tests(items: Iterable[pytest.Item]) -> int:
    """Count the tests that ask for a sandbox."""
    return sum(not _NEED_A_SANDBOX.isdisjoint(getattr(item, "fixturenames", ())) for item in items)


def is_tried(metafunc: pytest.Metafunc) -> bool:
    """Tell whether the run wants each sandbox test several times, and this is one."""
    if not _NEED_A_SANDBOX.union({"agent_llm"}).intersection(metafunc.fixturenames):
        return False
    return options.trials(metafunc.config) is not None


def is_trial(item: pytest.Item) -> bool:
    """Tell whether this is one of several trials; a test may have a parameter of that name."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    param = params.get(options.TRIAL_FIXTURE)
    if param is None:
        return False
    from pytest_agent_sandbox.plugin.trials.marks import Trial

    return isinstance(param, Trial)


def forget_checks(item: pytest.Item) -> None:
    """Let go of what was to be checked of a test that is over: its item lives on."""
    if CHECKS in item.stash:
        del item.stash[CHECKS]


@pytest.fixture(scope="session")
def sandbox_settings(pytestconfig: pytest.Config) -> SandboxSettings:
    """The settings of this run; override it in a conftest.py to change them in code.

    Those that concern the run as a whole, `artifacts`, `keep`, `live`, `llm_prices`, `max`,
    `max_reuses`, `no_engine`, `output`, `pause_on_failure`, `pool_size` and the run's budget, are
    taken from the flag, the environment or the ini file only.
    """
    return _session(pytestconfig).settings


@pytest.fixture(scope="session")
def sandbox_image(pytestconfig: pytest.Config, sandbox_settings: SandboxSettings) -> str:
    """The name of the sandboxes' image; override it to give a suite an image of its own."""
    return _session(pytestconfig).choose_image(sandbox_settings)


@pytest.fixture
def agent_trial(request: pytest.FixtureRequest) -> int:
    """Which trial of its test this is, from 1; see `@pytest.mark.agent_trials`."""
    param = getattr(request, "param", 1)
    return int(getattr(param, "number", param))


@pytest.fixture
def agent_workspace_factory(
    request: pytest.FixtureRequest, sandbox_settings: SandboxSettings, sandbox_image: str
) -> Iterator[WorkspaceFactory]:
    """What starts workspaces: `agent_workspace_factory(memory="2g")`; it closes all of them."""
    from pytest_agent_sandbox.plugin.sandbox_choice import SandboxChoice
    from pytest_agent_sandbox.plugin.workspace_factory import WorkspaceFactory

    markers = list(request.node.iter_markers(options.MARKER))
    settings = options.for_test(sandbox_settings, markers)
    # A marker wins over the fixture `sandbox_image`, also where it names what the ini file names.
    image = settings.image if any("image" in marker.kwargs for marker in markers) else sandbox_image
    choice = SandboxChoice(_session(request.config), settings, image, sandbox_settings)
    with WorkspaceFactory(request.node, choice) as factory:
        yield factory


@pytest.fixture
def agent_workspace(
    request: pytest.FixtureRequest,
    sandbox_settings: SandboxSettings,
    agent_workspace_factory: WorkspaceFactory,
) -> Workspace:
    """A workspace of the test's own: an agent server in a container that is as good as fresh.

    Unless `isolation` says otherwise: what that means is in docs/speed.md. With
    `@pytest.mark.agent_sandbox(scope="module")` it is one for the tests of the module.
    """
    from pytest_agent_sandbox.plugin import skip_forecast

    if reason := skip_forecast.why_skipped(request.node, sandbox_settings):
        pytest.skip(reason)  # before a sandbox starts
    scope = options.scope_of(request.node.iter_markers(options.MARKER))
    return agent_workspace_factory.for_scope(scope)


@pytest.fixture(scope="session")
def agent_workspace_starter(
    request: pytest.FixtureRequest, sandbox_settings: SandboxSettings, sandbox_image: str
) -> Iterator[WorkspaceStarter]:
    """What starts workspaces for fixtures of any scope; each is closed with its fixture."""
    from pytest_agent_sandbox.plugin.sandbox_choice import SandboxChoice
    from pytest_agent_sandbox.plugin.wider_scopes import FixturesBeingSetUp, WorkspaceStarter

    choice = SandboxChoice(
        _session(request.config), sandbox_settings, sandbox_image, sandbox_settings
    )
    setting_up = FixturesBeingSetUp()
    request.config.pluginmanager.register(setting_up)
    yield WorkspaceStarter(choice, setting_up)
    request.config.pluginmanager.unregister(setting_up)


@pytest.fixture(scope="session")
def shared_agent_workspace(
    request: pytest.FixtureRequest, sandbox_settings: SandboxSettings, sandbox_image: str
) -> Iterator[Workspace]:
    """One workspace for all the tests of this process that accept to share it."""
    from pytest_agent_sandbox.plugin import wider_scopes

    with wider_scopes.start(
        _session(request.config),
        sandbox_settings,
        sandbox_image,
        whom=wider_scopes.SHARED,
        facts={"scope": "session"},
    ) as workspace:
        yield workspace


@pytest.fixture
def agent_services(
    request: pytest.FixtureRequest, sandbox_settings: SandboxSettings, sandbox_image: str
) -> Iterator[ServiceFactory]:
    """What starts services beside the test's sandboxes: `agent_services(db=Service(…)).db`."""
    from pytest_agent_sandbox.plugin import skip_forecast
    from pytest_agent_sandbox.plugin.services import ServiceFactory

    if reason := skip_forecast.why_skipped(request.node, sandbox_settings):
        pytest.skip(reason)  # before anything starts
    with ServiceFactory(request.node, _session(request.config), sandbox_image) as factory:
        for marker in reversed(list(request.node.iter_markers(options.SERVICES_MARKER))):
            factory.begin(marker)
        yield factory


@pytest.fixture
def agent_llm(
    request: pytest.FixtureRequest, sandbox_settings: SandboxSettings
) -> Iterator[AgentLLM]:
    """What answers the agent's LLM calls in this test: a script, its cassette, or a live LLM."""
    from contextlib import ExitStack

    from pytest_agent_sandbox.plugin import command_agents
    from pytest_agent_sandbox.plugin.report import llm_usage, outcome

    run = _session(request.config)
    markers = list(request.node.iter_markers(options.MARKER))
    settings = options.for_test(sandbox_settings, markers)
    # A test's own budget is what its markers say; what the run says is for all tests together.
    own = options.for_test(SandboxSettings(), markers)
    with run.agent_llm(request.node, settings, own) as llm, ExitStack() as ending:
        request.node.stash[CHECKS] = [llm.verify]
        llm.observe = lambda name: run.evidence.recorder(request.node).llm_observer(name)
        request.node.stash[command_agents.LLM] = llm
        ending.callback(request.node.stash.__delitem__, command_agents.LLM)
        yield llm
        try:
            llm.finish(
                passed=outcome.passed(request.node),
                evidence=lambda: (
                    run.evidence.recorder(request.node).folder
                    if outcome.failed(request.node) or outcome.passed(request.node)
                    else None
                ),
            )
        finally:
            recorder = request.node.stash.get(outcome.RECORDER, None)
            if recorder is not None:
                recorder.note(*llm.usage.notes)
                if outcome.failed(request.node):
                    recorder.note(*llm.asides)
            llm_usage.attach(llm.usage, request.node.user_properties)


@pytest.fixture
def agent_conversation(
    request: pytest.FixtureRequest,
    sandbox_settings: SandboxSettings,
    agent_llm: AgentLLM,
    agent_workspace_factory: WorkspaceFactory,  # noqa: ARG001 - closed after the conversations
) -> Iterator[ConversationFactory]:
    """What starts conversations with an agent in the test's workspace; it closes all of them.

    That is `shared_agent_workspace` for a test that asks for that one and not for its own. It is
    started with the first conversation that is given no other.
    """
    from pytest_agent_sandbox.plugin.conversation_factory import ConversationFactory, is_async

    asked_for = request.fixturenames
    shared = "shared_agent_workspace" in asked_for and "agent_workspace" not in asked_for
    name = "shared_agent_workspace" if shared else "agent_workspace"
    workspace = partial(request.getfixturevalue, name)
    if name in asked_for or is_async(request, name):
        workspace()
    settings = options.for_test(sandbox_settings, request.node.iter_markers(options.MARKER))
    with ConversationFactory(
        _session(request.config),
        request.node,
        workspace,
        agent_llm,
        run_timeout=settings.run_timeout,
    ) as factory:
        request.node.stash[CHECKS].insert(0, factory.check)
        yield factory


@pytest.fixture
def trajectory_snapshot(request: pytest.FixtureRequest, sandbox_settings: SandboxSettings) -> Any:
    """A snapshot of syrupy's for conversations: `assert conversation == trajectory_snapshot`."""
    try:
        snapshot = request.getfixturevalue("snapshot")
    except pytest.FixtureLookupError:
        from pytest_agent_sandbox.errors import SettingsError

        raise SettingsError(
            "trajectory_snapshot needs syrupy: pip install 'pytest-agent-sandbox[snapshots]'"
        ) from None
    from pytest_agent_sandbox.expectations.snapshots import with_trajectories

    settings = options.for_test(sandbox_settings, request.node.iter_markers(options.MARKER))
    return with_trajectories(snapshot, _session(request.config).normaliser(settings))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Wait for the services of a test's markers, which have been starting beside its sandbox."""
    yield
    services = getattr(item, "funcargs", {}).get(options.SERVICES_MARKER)
    if isinstance(services, Waiting):
        services.wait()


def follow_started(config: pytest.Config, workspace: Workspace) -> None:
    """Have evidence tell of a workspace that a program has started."""
    config.stash.setdefault(STARTED, []).append(workspace)
    if CURRENT in config.stash or SESSION in config.stash:
        learn_of_started(config)


def learn_of_started(config: pytest.Config) -> None:
    """Tell the run of the workspaces that programs have started."""
    from pytest_agent_sandbox.errors import SettingsError
    from pytest_agent_sandbox.plugin import command_agents
    from pytest_agent_sandbox.plugin.report.uses import started_by_tests

    started, config.stash[STARTED] = config.stash[STARTED], []
    try:
        run = _session(config)
        for workspace in started:
            run.redactor.add(*workspace.secrets())
            facts = started_by_tests(workspace)
            run.uses.started(workspace, "program", log=workspace.log_path, facts=facts)
            if workspace.on_agent_run is None:
                command_agents.follow(run, None, workspace)
    except SettingsError:  # of the run, or no place for evidence: no reason not to have started
        return


def _session(config: pytest.Config) -> SandboxSession:
    session = config.stash.get(SESSION, None)
    if session is None:  # a test that asked through request.getfixturevalue(), or a program
        from pytest_agent_sandbox.plugin.session import SandboxSession

        session = config.stash[SESSION] = SandboxSession(config, options.resolve(config))
        item = config.stash.get(CURRENT, None)
        if item is not None:
            session.uses.begin(item)
    return session
