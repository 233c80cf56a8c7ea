"""What one test leaves behind, written to files as it happens."""

from __future__ import annotations

import contextlib
import json
import re
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
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Recorder:
    """The evidence of one attempt at a test, in a folder of its own.

    Everything is on disk at once, so that it outlives the container and pytest itself. End it with
    `finish` (keeps the folder) or `discard` (removes it).

    Args:
        output: The run's output folder.
        node_id: The test's.
        attempt: Which attempt at it this is, counted from 1.
        redactor: Masks secrets in all that is written.
    """

    def __init__(self, output: Path, node_id: str, redactor: Redactor, *, attempt: int = 1) -> None:
        self.folder = folders.make_folder(output, folders.folder_name(node_id, attempt))
        self._node_id = node_id
        self._recorded: set[tuple[str, str]] = set()
        self._redactor = redactor
        self._lock = threading.Lock()
        self._started = time.time()
        #: Whether `finish` or `discard` has ended it.
        self.ended = False
        self._transcript = Transcript(redactor)
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
        """Appends one event of a conversation to `events.jsonl`, unless it is there already."""
        line = json.dumps({"conversation": conversation_id, "event": event.raw}, default=str)
        with self._lock:
            if event.is_persisted:
                if (conversation_id, event.id) in self._recorded:
                    return
                self._recorded.add((conversation_id, event.id))
            with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
                file.write(self._redactor(line) + "\n")
            self._transcript.add(conversation_id, event)

    def record_diff(self, container: str, diff: str) -> None:
        """Adds what changed on a workspace's disk to `workspace.diff`."""
        path = self.folder / "workspace.diff"
        # Of one workspace it is a diff and nothing else; of several it says whose each is.
        title = f"# {container}\n" if path.exists() or len(self._logs) > 1 else ""
        with path.open("a", encoding="utf-8") as file:
            file.write(self._redactor(f"{title}{diff}"))

    def record_sandbox(self, **facts: str | float | None) -> None:
        """Adds one container's facts (image, id, exit code, …) to the result."""
        self._facts.append(dict(facts))

    def record_conversation(self, **facts: str | float | None) -> None:
        """Adds one conversation's facts (id, status, cost, tokens, …) to the result."""
        self._conversations.append(dict(facts))

    def finish(self, phases: Mapping[str, DataclassInstance]) -> list[tuple[str, str]]:
        """Completes the folder and returns the sections of the failure report.

        Args:
            phases: How the test's phases went, by name; any dataclass of plain values. A test that
                was interrupted has none.

        Returns:
            Pairs of a title and a text, for people.
        """
        self.ended = True
        for log in self._logs:
            self._mask(log)
        self._write_result(phases)
        sections = [
            ("agent transcript", self._transcript.render()),
            ("container log", self._log_tails()),
            ("workspace changes", self._diff_head()),
            ("agent evidence", f"{self.folder}\n"),
        ]
        return [(title, _printable(text)) for title, text in sections if text]

    def end_interrupted(self) -> None:
        """Completes the folder of a test that never came to its end; nothing where it did."""
        if not self.ended:
            with contextlib.suppress(OSError):
                self.finish({})

    def discard(self) -> None:
        """Removes the folder."""
        self.ended = True
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

    def _write_result(self, phases: Mapping[str, DataclassInstance]) -> None:
        result = {
            "version": RESULT_VERSION,
            "test": self._node_id,
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


def _printable(text: str) -> str:
    """The text without control characters: what a sandbox prints must not steer a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def _text(lines: str) -> str:
    return f"{lines.rstrip()}\n" if lines.strip() else ""
