"""pytest's door: hooks only. Standard library and pytest, nothing else, until a test needs more."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pytest_agent_sandbox.plugin import fixtures, options, quiet_logs
from pytest_agent_sandbox.plugin.fixtures import SESSION
from pytest_agent_sandbox.sandbox import started

if TYPE_CHECKING:
    from pytest_agent_sandbox.plugin.session import SandboxSession
    from pytest_agent_sandbox.settings.table import SandboxSettings

#: How pytest calls the plugin, and how its header and the package index call it.
_PLUGIN, _DISTRIBUTION = "agent_sandbox", "agent-sandbox"
STATISTICS = "agent_sandbox_statistics"


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the options and ini keys, unless `-p no:agent-sandbox` keeps the plugin out."""
    if not pluginmanager.is_blocked(_DISTRIBUTION):
        options.add_options(parser)


def pytest_plugin_registered(plugin_name: str, manager: pytest.PytestPluginManager) -> None:
    """Let `-p no:agent-sandbox` keep the plugin out, as its own name, `agent_sandbox`, does."""
    if plugin_name == _PLUGIN and manager.is_blocked(_DISTRIBUTION):
        manager.set_blocked(_PLUGIN)  # it unregisters it; a second installation is not loaded


def pytest_configure(config: pytest.Config) -> None:
    """Add the markers and the fixtures."""
    config.addinivalue_line(
        "markers",
        f"{options.MARKER}(**settings): change sandbox settings for a test, class or module, "
        "such as memory='2g'; the names are those of the --sandbox-… options. scope='module' makes "
        "agent_workspace one for the tests of the module; also 'class', 'package', 'session'.",
    )
    config.addinivalue_line(
        "markers",
        f"{options.TRIALS_MARKER}(n=5, pass_rate=1.0, early_stop=True): run a test n times, each "
        "in a sandbox of its own, and fail it where fewer than pass_rate of the trials pass.",
    )
    config.addinivalue_line(
        "markers",
        f"{options.SERVICES_MARKER}(*files, **services): start services beside the test's "
        "sandboxes, such as db=Service('postgres:17', ports=[5432]), or those of 'compose.yaml', "
        "and wait until they are ready.",
    )
    config.pluginmanager.register(fixtures, "agent_sandbox_fixtures")
    listener = partial(fixtures.follow_started, config)
    started.listeners.append(listener)
    config.add_cleanup(partial(started.forget, listener))


@pytest.hookimpl(wrapper=True)  # conftest.py files have flags too
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, None, None]:
    """Say what a misspelled flag is called."""
    yield
    if any(argument.startswith(options.FLAG_BEGINNINGS) for argument in args):
        from pytest_agent_sandbox.plugin import misspelled

        misspelled.check_flags(early_config, parser, args)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Keep what libraries log on our behalf out of captured logs."""
    quiet_logs.keep_out(session.config)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Have a test's services begin to start before its sandbox does."""
    name, names = options.SERVICES_MARKER, getattr(item, "fixturenames", None)
    # The tests of one function share the list; pytest sets up what comes first, once.
    if names and names[0] == name:
        return
    if names is not None and item.get_closest_marker(name) is not None:
        names.insert(0, name)


@pytest.hookimpl(tryfirst=True)  # an error while tests are collected is shown as one of theirs
def pytest_collection(session: pytest.Session) -> None:
    """Check how often tests are to be run."""
    options.trials(session.config)


@pytest.hookimpl(trylast=True)  # the trial comes last in a test's id
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make several tests of one that is to be tried several times."""
    is_marked = metafunc.definition.get_closest_marker(options.TRIALS_MARKER) is not None
    if is_marked or fixtures.is_tried(metafunc):
        from pytest_agent_sandbox.plugin.trials import marks

        marks.repeat(metafunc)
        _await_trials(metafunc.config)


@pytest.hookimpl(tryfirst=True)  # the terminal asks for the header in this same hook
def pytest_collection_finish(session: pytest.Session) -> None:
    """Prepare the run, where at least one test asks for a sandbox."""
    if fixtures.count_sandbox_tests(session.items) == 0:
        return
    from pytest_agent_sandbox.errors import SettingsError
    from pytest_agent_sandbox.plugin.session import SandboxSession

    try:
        settings = options.resolve(session.config)
        run = SandboxSession(session.config, settings, session.items)
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from None
    session.config.stash[SESSION] = run
    _check_holding(session.config, settings)
    run.prestart.start_ahead()
    if options.is_first_worker(session.config):
        from pytest_agent_sandbox.plugin import workers_header

        workers_header.tell(session.config, run.header(fixtures.count_sandbox_tests(session.items)))


def pytest_report_collectionfinish(
    config: pytest.Config, items: Sequence[pytest.Item]
) -> list[str]:
    """Say which engine and image the sandbox tests run on; nothing where there are none."""
    run = config.stash.get(SESSION, None)
    return [] if run is None else run.header(fixtures.count_sandbox_tests(items))


@pytest.hookimpl(tryfirst=True)  # pytest's own runs the test
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Follow which tests are still to come, to have their sandboxes ready; run trials."""
    run = item.config.stash.get(SESSION, None)
    if run is not None:
        run.prestart.begin(item, nextitem)
    is_run = not item.config.getoption("setuponly", False)  # also with --setup-plan
    if not (is_run and fixtures.is_trial(item)):
        return None
    from pytest_agent_sandbox.plugin.trials import items

    items.run(item, nextitem)
    return True  # nobody else is to run it


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin the evidence of a test that asks for a sandbox."""
    if item.get_closest_marker(options.TRIALS_MARKER) is not None:
        from pytest_agent_sandbox.plugin.trials import marks

        marks.check(item)
    if item.config.getoption("setupplan", False):
        return  # nothing is going to be run
    item.stash[fixtures.BEGAN] = time.time()
    stash = item.config.stash
    stash[fixtures.CURRENT] = item
    if SESSION in stash:
        is_announced = fixtures.count_sandbox_tests([item]) > 0
        stash[SESSION].begin_test(item, has_evidence=is_announced)
    if stash.get(fixtures.STARTED, None):
        fixtures.learn_of_started(item.config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a test whose LLM's script was not used as it says, or whose callbacks failed."""
    item.stash[fixtures.IS_CALLED] = True
    try:
        yield
    finally:
        item.stash[fixtures.IS_CALLED] = False
    for check in item.stash.get(fixtures.CHECKS, ()):
        check()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep each phase's outcome for the evidence, and failures free of our own frames."""
    run = item.config.stash.get(SESSION, None)
    if run is None:
        report = yield
    else:
        from pytest_agent_sandbox.plugin.report import outcome

        outcome.prepare_failure(item, call, run.redactor)
        report = _noted(run, item, call, (yield))
    is_of_subtest = item.stash.get(fixtures.IS_CALLED, False)
    if report.failed and is_of_subtest and fixtures.is_trial(item):
        from pytest_agent_sandbox.plugin.trials import items

        items.note_subtest(item, report)
    return report


def _noted(
    run: SandboxSession, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
) -> pytest.TestReport:
    from pytest_agent_sandbox.plugin.report import finish, outcome

    report = outcome.masked_report(item, report, run.redactor)
    outcome.note_phase(item, call, report, run.redactor)
    if report.failed:
        run.uses.note_failure()
    if call.when == "call" and run.has_services:
        run.services.function_is_over()
    if report.when == "setup":
        finish.show_setup(run, item, report)
    elif report.when == "call":
        finish.note_call(item, report)
    elif report.when == "teardown":
        finish.end_evidence(run, item, report)
        fixtures.forget_checks(item)  # they hold on to all that the test has had
    return report


@pytest.hookimpl(tryfirst=True)  # before pytest's own, which is the debugger
def pytest_exception_interact(
    node: pytest.Item | pytest.Collector, report: pytest.CollectReport | pytest.TestReport
) -> None:
    """Say how to look into the sandbox of a test that has failed, while it is held."""
    run = node.config.stash.get(SESSION, None)
    if run is None or not isinstance(node, pytest.Item):
        return
    is_debugged = node.config.getoption("usepdb", False)
    if run.settings.pause_on_failure or is_debugged:
        from pytest_agent_sandbox.plugin import hold

        hold.hold(run, node, report, is_debugged=is_debugged)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand a worker's numbers to the process that has a terminal; there, write the run's page."""
    run = session.config.stash.get(SESSION, None)
    output = getattr(session.config, "workeroutput", None)
    if output is None and (run is not None or fixtures.HAS_WORKERS in session.config.stash):
        from pytest_agent_sandbox.plugin.report import results_page

        lost = run is not None and run.evidence.has_lost_output
        results_page.write(session.config, has_lost_output=lost)
    if run is not None and output is not None:
        output[STATISTICS] = run.engine.statistics.as_json()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any) -> None:
    """Say which engine and image the sandbox tests run on, as soon as a worker knows."""
    from pytest_agent_sandbox.plugin import workers_header

    workers_header.show(node.config)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Keep the numbers that a worker handed over."""
    output = getattr(node, "workeroutput", {})
    if output.get(STATISTICS):
        node.config.stash.setdefault(fixtures.WORKERS_STATISTICS, []).append(output[STATISTICS])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what LLMs were asked, and what became of the sandboxes."""
    if not config.stash.get(fixtures.HAS_WORKERS, SESSION in config.stash):
        return
    from pytest_agent_sandbox.plugin.report import llm_usage, results_page

    reports = [report for some in terminalreporter.stats.values() for report in some]
    lines = llm_usage.summary(reports, verbosity=config.get_verbosity())
    if lines and config.get_verbosity() >= 0:
        terminalreporter.section("agent LLM calls")
        for line in lines:
            terminalreporter.write_line(line)
    if config.get_verbosity() >= 0:
        from pytest_agent_sandbox.plugin.report import skips
        from pytest_agent_sandbox.sandbox.statistics import SandboxStatistics

        for line in skips.summary(terminalreporter.stats.get("skipped", ())):
            terminalreporter.write_line(line)

        run = config.stash.get(SESSION, None)
        parts = config.stash.get(fixtures.WORKERS_STATISTICS, [])
        numbers = run.engine.statistics if run is not None else SandboxStatistics.sum_of(parts)
        for line in numbers.lines(verbose=config.get_verbosity() > 0):
            terminalreporter.write_line(line)
    for line in results_page.lines(config):
        if config.get_verbosity() >= 0 or line.startswith("::"):
            terminalreporter.write_line(line)
    if options.resolve(config).keep != "none":
        from pytest_agent_sandbox.plugin import hold

        for line in hold.kept_lines(config, config.stash.get(SESSION, None)):
            terminalreporter.write_line(line)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Close what the run shared; after workers, remove what a killed one could not."""
    run = config.stash.get(SESSION, None)
    try:
        if run is not None:
            run.close()
    finally:
        if run is not None or config.stash.get(fixtures.HAS_WORKERS, False):
            from pytest_agent_sandbox.plugin.pytest_run import clean_up_run

            clean_up_run(config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each xdist worker the id of the run, in the process that starts them."""
    from pytest_agent_sandbox.engines.registry import check_engine
    from pytest_agent_sandbox.errors import SettingsError
    from pytest_agent_sandbox.plugin.pytest_run import end_on_sigterm, tell_worker

    if not node.config.stash.get(fixtures.HAS_WORKERS, False):
        node.config.stash[fixtures.HAS_WORKERS] = True
        try:
            settings = options.resolve(node.config)
            check_engine(settings)
        except SettingsError as error:  # here, not in each worker
            raise pytest.UsageError(str(error)) from None
        _check_holding(node.config, settings)
        # Its workers end in good order only where it does so itself.
        node.config.add_cleanup(end_on_sigterm())
        _await_trials(node.config)
    tell_worker(node.config, node.workerinput)


def _await_trials(config: pytest.Config) -> None:
    """Have verdicts given once there are trials; few runs have any."""
    from pytest_agent_sandbox.plugin.trials import reports

    def count(session: pytest.Session | None, ended: pytest.TestReport | str) -> None:
        from pytest_agent_sandbox.plugin.trials import verdicts

        so_far = verdicts.of(config, session)
        so_far.lose(ended) if isinstance(ended, str) else so_far.count(ended)

    def end() -> None:
        from pytest_agent_sandbox.plugin.pytest_run import forget_trials

        forget_trials(config)

    reports.register(config, count, end)


def _check_holding(config: pytest.Config, settings: SandboxSettings) -> None:
    if settings.pause_on_failure and not hasattr(config, "workerinput"):
        from pytest_agent_sandbox.plugin import hold

        hold.check_terminal(config)
