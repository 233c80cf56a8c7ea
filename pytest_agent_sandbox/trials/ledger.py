"""The outcomes of a run's trials, for all of its processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    from pytest_agent_sandbox.trials.group import TrialOutcome


class TrialLedger:
    """A file with a line for each trial that has ended.

    Args:
        file: The file, which need not exist yet; a lock is put beside it.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = FileLock(f"{file}.lock")

    def add(self, group: str, place: int, outcome: TrialOutcome) -> None:
        """Note the outcome of a trial.

        Args:
            group: The group's node id.
            place: The trial's place among the selected ones of its group, from 0.
            outcome: The trial's outcome.

        Raises:
            OSError: The file cannot be written, as on a full disk.
        """
        with self._lock, self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps([group, place, outcome]) + "\n")

    def outcomes(self, group: str) -> dict[int, TrialOutcome]:
        """Return the outcomes of a group's trials so far, by their places."""
        if not self._file.exists():
            return {}
        with self._lock:
            lines = self._file.read_text(encoding="utf-8").splitlines()
        found = map(json.loads, lines)
        return {place: outcome for of, place, outcome in found if of == group}

    def remove(self) -> None:
        """Delete the file, and the lock beside it."""
        self._file.unlink(missing_ok=True)
        Path(f"{self._file}.lock").unlink(missing_ok=True)
