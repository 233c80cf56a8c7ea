"""A run of pytest: its id, its processes, and what is cleared away when it is over."""

from __future__ import annotations

import signal
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_agent_sandbox.evidence import folders
from pytest_agent_sandbox.host.lock_folder import lock_folder, lock_folder_path
from pytest_agent_sandbox.plugin.options import resolve

if TYPE_CHECKING:
    from pytest_agent_sandbox.settings.table import SandboxSettings

_RUN = pytest.StashKey[str]()
_RUN_INPUT = "agent_sandbox_run"


def end_on_sigterm() -> Callable[[], object]:
    """Make SIGTERM end the run like Ctrl-C does; return what undoes that.

    pytest (9.2) runs no teardown on SIGTERM. A handler that somebody else has set stays, and where
    none can be set (not the main thread, or Windows, which does not send it) nothing happens.
    """

    def end(number: int, _: object) -> None:
        # Once is enough: the clean-up that follows must not be cut short by the next one.
        signal.signal(number, signal.SIG_IGN)
        raise pytest.exit.Exception("terminated (SIGTERM)", returncode=128 + number)

    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        return lambda: None
    signal.signal(signal.SIGTERM, end)
    return lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL)


def run_id(config: pytest.Config) -> str:
    """Return the id of this run, the same in all its xdist workers; it labels its containers."""
    worker_input = getattr(config, "workerinput", {})
    if _RUN not in config.stash:
        config.stash[_RUN] = worker_input.get(_RUN_INPUT) or uuid.uuid4().hex
    return config.stash[_RUN]


def tell_worker(config: pytest.Config, worker_input: dict[str, Any]) -> None:
    """Give an xdist worker the id of the run."""
    worker_input[_RUN_INPUT] = run_id(config)


def clean_up_run(config: pytest.Config) -> None:
    """Remove the files of the run as a whole. For the main process; does nothing in a worker.

    Containers are removed by the process that they belong to, or by its watcher.
    """
    if is_worker(config) or _RUN not in config.stash:
        return
    folders.drop_if_empty(output_folder(config, resolve(config)))
    header = told_header(config)
    if header is not None:
        with suppress(OSError):
            header.unlink()
    if _left(f"sandboxes-{run_id(config)}.lock") is not None:
        from pytest_agent_sandbox.sandbox.allowance import remove_shared

        remove_shared(run_id(config))
    spent = _left(_ledger_name(run_id(config)))
    if spent is not None:
        from pytest_agent_sandbox.llm.budgets import SharedLedger

        with suppress(OSError):  # on Windows: a worker that is just ending still has it open
            SharedLedger(spent).remove()


def forget_trials(config: pytest.Config) -> None:
    """Remove what the processes of the run told one another of trials. For the main process."""
    told = _left(_trials_name(config))
    if told is not None:
        from pytest_agent_sandbox.trials.ledger import TrialLedger

        with suppress(OSError):  # on Windows: a worker that is just ending still has it open
            TrialLedger(told).remove()


def output_folder(config: pytest.Config, settings: SandboxSettings) -> Path:
    """Return the folder of the evidence of the run's tests.

    It is `wanted_folder`, or one beside it where another run was using that.
    """
    return folders.find_run(wanted_folder(config, settings), run_id(config))


def wanted_folder(config: pytest.Config, settings: SandboxSettings) -> Path:
    """Return the folder that the settings name for the evidence of the run's tests."""
    return Path(config.rootpath, settings.output)


def is_worker(config: pytest.Config) -> bool:
    """Tell whether this process is an xdist worker."""
    return hasattr(config, "workerinput")


def worker_id(config: pytest.Config) -> str:
    """Return the name of this process among those of the run."""
    return str(getattr(config, "workerinput", {}).get("workerid", "main"))


def worker_count(config: pytest.Config) -> int:
    """Return how many processes run the tests."""
    return int(getattr(config, "workerinput", {}).get("workercount", 1))


def trials_file(config: pytest.Config) -> Path:
    """Return the file by which the processes of the run tell one another of trials.

    Raises:
        SandboxError: Its folder cannot be used.
    """
    return lock_folder() / _trials_name(config)


def ledger_file(run: str) -> Path:
    """Return the file of what the run has spent on live LLMs, if it has a budget.

    Raises:
        SandboxError: Its folder cannot be used.
    """
    return lock_folder() / _ledger_name(run)


def header_file(config: pytest.Config) -> Path:
    """Return the file by which a worker tells the run's header.

    Raises:
        SandboxError: Its folder cannot be used.
    """
    return lock_folder() / _header_name(config)


def told_header(config: pytest.Config) -> Path | None:
    """Return that file, if it is there."""
    return _left(_header_name(config))


def _header_name(config: pytest.Config) -> str:
    return f"header-{run_id(config)}"


def _trials_name(config: pytest.Config) -> str:
    return f"trials-{run_id(config)}"


def _ledger_name(run: str) -> str:
    return f"spent-{run}"


def _left(name: str) -> Path | None:
    """Return the file of that name in the folder of locks, which few runs make, if there is one."""
    file = lock_folder_path() / name
    try:
        return file if file.exists() else None
    except OSError:  # the folder is another user's, so that nothing of the run is in it
        return None
