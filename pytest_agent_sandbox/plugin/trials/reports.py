"""Reports of trials, awaited in the process that writes pytest's reports.

Standard library and pytest only: it is there in each run with workers, and most have no trials.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

Count = Callable[[pytest.Session | None, pytest.TestReport | str], None]

#: The attribute of a trial's last report that says what became of it; xdist carries it along.
ATTRIBUTE = "agent_trial"
#: The outcome of a report that stands for an attempt that does not count; pytest-rerunfailures
#: calls it so too.
RERUN = "rerun"
#: In the id of each trial.
_TRIAL = "trial"
_NAME = "agent_sandbox_trial_reports"


class TrialReports:
    """Plugin that calls what gives verdicts, once there is something to give them on.

    Args:
        count: Given the session, and the last report of each trial; or the id of a test whose
            worker has crashed.
        end: Called at the end.
    """

    def __init__(self, count: Count, end: Callable[[], None]) -> None:
        self._count = count
        self._end = end
        self._session: pytest.Session | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Keep the session."""
        self._session = session

    @pytest.hookimpl(trylast=True)  # the trial itself comes first
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a trial that has ended."""
        if hasattr(report, ATTRIBUTE):  # most runs have none
            self._count(self._session, report)

    def pytest_report_teststatus(
        self, report: pytest.TestReport
    ) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        """Show attempts that do not count, as pytest-rerunfailures does; it need not be there."""
        is_rerun = report.outcome == RERUN
        return (RERUN, "R", ("RERUN", {"yellow": True})) if is_rerun else None

    def pytest_unconfigure(self) -> None:
        """Clear up, however far the run has come."""
        self._end()

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str) -> None:
        """Count a trial as lost whose xdist worker has crashed: nobody else reports it."""
        if _TRIAL in crashitem:
            self._count(self._session, crashitem)


def register(config: pytest.Config, count: Count, end: Callable[[], None]) -> None:
    """Have this process wait for trials, unless it is a worker of xdist or does so already."""
    is_worker = hasattr(config, "workerinput")
    if not is_worker and not config.pluginmanager.has_plugin(_NAME):
        config.pluginmanager.register(TrialReports(count, end), _NAME)
