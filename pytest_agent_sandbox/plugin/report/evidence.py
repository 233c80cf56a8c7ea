"""Evidence of the tests of one pytest process: where it goes, and what of it is wanted."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.evidence import folders
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.scratch import ScratchFolder
from pytest_agent_sandbox.plugin import fixtures
from pytest_agent_sandbox.plugin.pytest_run import is_worker, run_id, wanted_folder, worker_id
from pytest_agent_sandbox.plugin.report import outcome
from pytest_agent_sandbox.plugin.report.rerun_command import rerun_command
from pytest_agent_sandbox.plugin.trials.marks import TrialId, trial_of

if TYPE_CHECKING:
    from pytest_agent_sandbox.evidence.recorder import Recorder
    from pytest_agent_sandbox.host.redaction import Redactor
    from pytest_agent_sandbox.plugin.report.live_terminal import LiveTerminal
    from pytest_agent_sandbox.settings.table import SandboxSettings


_WANTED = pytest.StashKey[bool]()


class RunEvidence(Closing):
    """Evidence of a run of pytest, as far as this process writes it; a context manager.

    Args:
        config: pytest's.
        settings: The settings of the run.
        redactor: Masks the secrets that the run knows.
    """

    def __init__(
        self, config: pytest.Config, settings: SandboxSettings, redactor: Redactor
    ) -> None:
        self._config = config
        self._settings = settings
        self._redactor = redactor
        self._output: Path | None = None
        self._open_recorders: list[Recorder] = []
        self._closing = ExitStack()

    def recorder(self, item: pytest.Item) -> Recorder:
        """Return the recorder of this attempt at a test; it begins when it is first asked for."""
        from pytest_agent_sandbox.evidence.recorder import Recorder

        if outcome.RECORDER not in item.stash:
            # pytest-rerunfailures and trials count the attempts at an item here, from 1.
            attempt = int(getattr(item, "execution_count", 1))
            worker = worker_id(self._config) if is_worker(self._config) else ""
            trial = trial_of(item)
            output = wanted_folder(self._config, self._settings)
            try:
                recorder = Recorder(
                    self.output,
                    item.nodeid,
                    self._redactor,
                    line=(item.location[1] or 0) + 1,
                    attempt=attempt,
                    group=TrialId.of(item, trial).name if trial else "",
                    rerun=rerun_command(self._config, item.nodeid),
                    worker=worker,
                )
            except OSError as error:
                raise SettingsError(
                    f"--sandbox-output: no evidence can be kept in {output}: {error}"
                ) from None
            # A test that no fixture of ours has announced has been running for a while.
            recorder.result.started = item.stash.get(fixtures.BEGAN, recorder.result.started)
            item.stash[outcome.RECORDER] = recorder
            self._open_recorders = [one for one in self._open_recorders if not one.ended]
            self._open_recorders.append(recorder)
        return item.stash[outcome.RECORDER]

    @property
    def output(self) -> Path:
        """Return the folder of the run's evidence, ready to be written to.

        Raises:
            OSError: It cannot be.
        """
        if self._output is None:
            if self._settings.artifacts == "none":
                self._output = self._closing.enter_context(ScratchFolder()).path
            else:
                self._output = self._hold()
        elif self._settings.artifacts != "none" and not folders.is_ours(self._output):
            # Somebody has removed it. Without its sign no later run would clear what comes now.
            self._output = self._hold()
        return self._output

    def _hold(self) -> Path:
        held = folders.hold(wanted_folder(self._config, self._settings), run_id(self._config))
        self._closing.callback(held.close)
        return held.output

    @property
    def has_own_output(self) -> bool:
        """Tell whether the output folder is the run's own, and so gets a page of the run."""
        return folders.is_of(self.output, run_id(self._config))

    @property
    def has_lost_output(self) -> bool:
        """Tell whether another run has taken the output folder since this one began it."""
        if self._output is None or self._settings.artifacts == "none":
            return False
        return folders.is_ours(self._output) and not folders.is_of(
            self._output, run_id(self._config)
        )

    def wants_evidence(self, item: pytest.Item) -> bool:
        """Tell whether there is a use for what a test has left behind, as it went so far."""
        is_wanted = self._settings.artifacts == "all" or item.stash.get(_WANTED, False)
        return is_wanted or outcome.failed(item)

    def want(self, item: pytest.Item) -> None:
        """Keep what a test leaves behind also where it passes."""
        item.stash[_WANTED] = True

    @cached_property
    def live_view(self) -> LiveTerminal | None:
        """Return what shows on the terminal what agents do, if that is wanted."""
        wanted = self._settings.live
        if wanted is None:
            wanted = self._config.get_verbosity() > 0
        if not wanted:
            return None
        from pytest_agent_sandbox.plugin.report.live_terminal import LiveTerminal

        try:
            return self._closing.enter_context(LiveTerminal.of(self._config))
        except OSError:  # a process without a terminal, its standard output closed
            return None

    def close(self) -> None:
        """Complete what interrupted tests have left, and let go of the terminal."""
        from pytest_agent_sandbox.plugin.report.complete import complete_interrupted

        with self._closing:
            for recorder in self._open_recorders:
                complete_interrupted(recorder)
