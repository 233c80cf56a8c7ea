"""What one test leaves behind, written to files as it happens."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_agent_sandbox.evidence import container_log, folders
from pytest_agent_sandbox.evidence.transcript import Transcript

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from pytest_agent_sandbox.client.events import Event
    from pytest_agent_sandbox.evidence.redaction import Redactor

#: The form of result.json; counts up when a field changes its meaning.
RESULT_VERSION = 1
_LOG_TAIL_LINES = 30
_DIFF_LINES = 60


class Recorder:
    """The evidence of one attempt at a test, in a folder of its own.

    Everything is on disk at once, so that it outlives the container and pytest itself. End it with
    `finish` (keeps the folder) or `discard` (removes it).

    Args:
        output: The run's output folder.
        name: Name of the test's folder in it, from `folders.folder_name`.
        redactor: Masks secrets in all that is written.
    """

    def __init__(self, output: Path, name: str, redactor: Redactor) -> None:
        self.folder = folders.make_folder(output, name)
        self._redactor = redactor
        self._lock = threading.Lock()
        self._started = time.time()
        self._transcript = Transcript()
        self._logs: list[Path] = []
        self._facts: list[dict[str, Any]] = []
        self._conversations: list[dict[str, Any]] = []

    def new_log(self) -> Path:
        """A path for the log of one more container: `container.log`, then `container-2.log`."""
        with self._lock:
            number = len(self._logs) + 1
            path = self.folder / ("container.log" if number == 1 else f"container-{number}.log")
            self._logs.append(path)
        return path

    def record_event(self, conversation_id: str, event: Event) -> None:
        """Appends one event of a conversation to `events.jsonl`."""
        line = json.dumps({"conversation": conversation_id, "event": event.raw}, default=str)
        with self._lock:
            with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
                file.write(self._redactor(line) + "\n")
            self._transcript.add(conversation_id, event)

    def record_diff(self, diff: str) -> None:
        """Adds what changed on a workspace's disk to `workspace.diff`."""
        with (self.folder / "workspace.diff").open("a", encoding="utf-8") as file:
            file.write(self._redactor(diff))

    def record_sandbox(self, **facts: str | float | None) -> None:
        """Adds one container's facts (image, id, exit code, …) to the result."""
        self._facts.append(dict(facts))

    def record_conversation(self, **facts: str | float | None) -> None:
        """Adds one conversation's facts (id, status, cost, tokens, …) to the result."""
        self._conversations.append(dict(facts))

    def finish(
        self, node_id: str, phases: Mapping[str, DataclassInstance]
    ) -> list[tuple[str, str]]:
        """Completes the folder and returns the sections of the failure report.

        Args:
            node_id: The test's.
            phases: How its phases went, by name; any dataclass of plain values.

        Returns:
            Pairs of a title and a text, for people.
        """
        for log in self._logs:
            self._mask(log)
        self._write_result(node_id, phases)
        sections = [
            ("agent transcript", self._redactor(self._transcript.render())),
            ("container log", self._log_tails()),
            ("workspace changes", self._diff_head()),
            ("agent evidence", f"{self.folder}\n"),
        ]
        return [(title, text) for title, text in sections if text]

    def discard(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _mask(self, path: Path) -> None:
        # The engine writes the log as it comes; what a server said about its own keys is masked
        # here, once it is complete.
        if not path.exists():
            return
        text = path.read_text(encoding="utf-8", errors="replace")
        masked = self._redactor(text)
        if masked != text:
            path.write_text(masked, encoding="utf-8")

    def _write_result(self, node_id: str, phases: Mapping[str, DataclassInstance]) -> None:
        result = {
            "version": RESULT_VERSION,
            "test": node_id,
            "started": self._started,
            "phases": {name: asdict(phase) for name, phase in phases.items()},
            "sandboxes": self._facts,
            "conversations": self._conversations,
        }
        text = json.dumps(result, indent=2, default=str)
        (self.folder / "result.json").write_text(self._redactor(text) + "\n", encoding="utf-8")

    def _log_tails(self) -> str:
        tails = [container_log.tail(log, _LOG_TAIL_LINES) for log in self._logs]
        return _text("\n\n".join(tail for tail in tails if tail))

    def _diff_head(self) -> str:
        path = self.folder / "workspace.diff"
        if not path.exists():
            return ""
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > _DIFF_LINES:
            lines[_DIFF_LINES:] = [f"… {len(lines) - _DIFF_LINES} more lines are in {path.name}"]
        return _text("\n".join(lines))


def _text(lines: str) -> str:
    return f"{lines.rstrip()}\n" if lines.strip() else ""
