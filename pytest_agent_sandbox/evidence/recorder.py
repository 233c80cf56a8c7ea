"""Recorder of what happens while one test runs, in files from the first moment."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_agent_sandbox.client.events import ACPToolCallEvent, ActionEvent, MessageEvent
from pytest_agent_sandbox.evidence import folders, limits, records
from pytest_agent_sandbox.evidence.llm_observer import LLMObserver
from pytest_agent_sandbox.evidence.picture_files import PictureFiles
from pytest_agent_sandbox.evidence.records import Records
from pytest_agent_sandbox.evidence.result import Result
from pytest_agent_sandbox.host import seldom

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from pytest_agent_sandbox.client.commands import CommandResult
    from pytest_agent_sandbox.client.events import Event
    from pytest_agent_sandbox.host.redaction import Redactor
    from pytest_agent_sandbox.llm.calls import LLMCall
    from pytest_agent_sandbox.llm.observer import Observer

logger = seldom.logger(__name__)


class Recorder:
    """Recorder of one attempt at a test, in a folder of its own.

    Everything is on disk at once, so that it outlives the container and pytest itself, and little
    of it is kept in memory. End it with `end` (keeps the folder) or `discard` (removes it).

    Args:
        output: The run's output folder.
        node_id: The test's.
        redactor: Masks secrets in all that is written.
        line: Where the test begins in its file.
        attempt: Which attempt at it this is, counted from 1.
        group: The test that it is a trial of; empty for one that runs once.
        rerun: The command that runs the test again.
        worker: xdist's name of this process.
    """

    def __init__(
        self,
        output: Path,
        node_id: str,
        redactor: Redactor,
        *,
        line: int = 1,
        attempt: int = 1,
        group: str = "",
        rerun: str = "",
        worker: str = "",
    ) -> None:
        self.folder = folders.make_folder(output, _folder_name(node_id, attempt, redactor))
        #: Whether `end` or `discard` has ended it.
        self.ended = False
        self.result = Result(
            # Masked here already: the run's table is made of it too.
            test=redactor(node_id),
            line=line,
            attempt=attempt,
            group=redactor(group),
            rerun=redactor(rerun),
            worker=worker,
            started=time.time(),
        )
        self._redactor = redactor
        self._masked = 0
        self._masked_in_phases = 0
        self._lock = threading.RLock()
        self._recorded: set[tuple[str, str]] = set()
        self._events = Records(self.folder / records.EVENTS, self.mask)
        self._llm_calls = Records(self.folder / records.LLM_CALLS, self.mask)
        self._commands = Records(self.folder / records.COMMANDS, self.mask)
        self._pictures = PictureFiles(self.folder, self.mask)
        self._logs: list[Path] = []
        self._service_logs: list[Path] = []
        self._videos = 0
        self._agent_runs = itertools.count(1)
        self._has_lost = False
        #: Why the last LLM call that has ended got no answer; empty if it did.
        self.unanswered = ""
        self.save()

    def mask(self, text: str) -> str:
        """Mask the secrets in a text, and count them."""
        masked, count = self._redactor.count(text)
        if count:
            with self._lock:
                self._masked += count
        return masked

    def new_log(self) -> Path:
        """Return a path for the log of one more container: container.log, then container-2.log."""
        with self._lock:
            number = len(self._logs) + 1
            path = self.folder / ("container.log" if number == 1 else f"container-{number}.log")
            self._logs.append(path)
        return path

    def new_service_log(self, name: str) -> Path:
        """Return the path for the log of a service: service-db.log, then service-db-2.log."""
        with self._lock:
            path, number = self.folder / f"service-{name}.log", 1
            while path in self._service_logs:
                number += 1
                path = self.folder / f"service-{name}-{number}.log"
            self._service_logs.append(path)
        self.record_service(name, log=path.name)
        return path

    def new_agent_run(self) -> int:
        """Return the number of one more run of a command-line agent; two may begin at once."""
        return next(self._agent_runs)

    def new_video(self) -> Path:
        """Return a path for the video of one more desktop: desktop.mp4, then desktop-2.mp4."""
        with self._lock:
            self._videos += 1
            return self.folder / f"desktop{'' if self._videos == 1 else f'-{self._videos}'}.mp4"

    def record_event(self, conversation_id: str, event: Event) -> None:
        """Append an event of a conversation to events.jsonl, unless it is there already."""
        with self._lock:
            if self.ended:
                return
            if event.is_persisted:
                if (conversation_id, event.id) in self._recorded:
                    return
                self._recorded.add((conversation_id, event.id))
            self.result.steps += self._is_step(conversation_id, event)
            self._add_event(conversation_id, event)

    def record_output(self, run: str, event: Event) -> None:
        """Append what a command-line agent printed: how much at once is no step of its own."""
        with self._lock:
            if not self.ended:
                self._add_event(run, event)

    def _add_event(self, conversation_id: str, event: Event) -> None:
        record = {"conversation": conversation_id, "received": time.time(), "event": event.raw}
        self._events.add(self._pictures.take_out(record))

    def _is_step(self, conversation_id: str, event: Event) -> bool:
        """Tell whether this is one more thing that an agent did."""
        if isinstance(event, ACPToolCallEvent):  # of which a call has several
            call = (conversation_id, f"call {event.tool_call_id}")
            is_known = call in self._recorded
            self._recorded.add(call)
            return not is_known
        return isinstance(event, ActionEvent) or (
            isinstance(event, MessageEvent) and event.source == "agent"
        )

    def llm_observer(self, conversation_id: str) -> Observer:
        """Return an observer that keeps the LLM calls of a conversation, in llm-calls.jsonl."""
        return LLMObserver(self.record_llm_call, conversation_id)

    def record_llm_call(self, record: dict[str, Any], ended: LLMCall | None = None) -> None:
        """Append a record to llm-calls.jsonl; a call that has ended counts in the totals."""
        with self._lock:
            record = self._pictures.take_out(record)
        line = self._llm_calls.line(record)  # without the lock, for it may be of megabytes
        with self._lock:
            if ended is not None:
                self.result.llm.add(ended)
                self.unanswered = ended.problem if ended.origin == "unanswered" else ""
            if self.ended:
                return
            self._llm_calls.add_line(line)
            if ended is not None:
                self.save()

    def record_command(self, result: CommandResult) -> None:
        """Append a command that the test itself ran to commands.jsonl."""
        with self._lock:
            if not self.ended:
                self._commands.add({"time": time.time() - result.duration, **asdict(result)})

    def record_diff(self, container: str, diff: str) -> None:
        """Add what changed on a workspace's disk to workspace.diff."""
        path = self.folder / folders.DIFF
        with self._lock:
            # Of one workspace it is a diff and nothing else; of several it says whose each is.
            title = f"# {container}\n" if path.exists() or len(self._logs) > 1 else ""
            text, cut = limits.shorten(self.mask(f"{title}{diff}"), limits.RECORDED_DIFF)
            if cut:
                self.result.cuts.append(f"{folders.DIFF} lacks {cut:,} characters in the middle.")
            if text and not text.endswith("\n"):
                text += "\n"  # the next one begins a line
            with path.open("a", encoding="utf-8", errors="replace") as file:
                file.write(text)

    def record_sandbox(self, container: str, **facts: str | float | None) -> None:
        """Add what is known of a container (image, limits, exit code, …), or change it."""
        self._record(self.result.sandboxes, {"container": container, **facts}, "container")

    def record_service(self, name: str, **facts: str | float | None) -> None:
        """Add what is known of a service (image, ports, state, …), or change it."""
        self._record(self.result.services, {"name": name, **facts}, "name")

    def record_conversation(self, number: int, **facts: str | float | None) -> None:
        """Add what is known of a conversation (id, status, cost, …), or change it."""
        self._record(self.result.conversations, {"number": number, **facts}, "number")

    def record_agent_run(self, name: str, **facts: str | float | None) -> None:
        """Add what is known of a run of a command-line agent (command, exit_code, …)."""
        self._record(self.result.agent_runs, {"name": name, **facts}, "name")

    def note(self, *texts: str) -> None:
        """Add what a reader should know."""
        with self._lock:
            self.result.notes += map(self.mask, texts)

    def lose(self, error: OSError) -> None:
        """Note, once, that something could not be kept: a full disk is not the test's failure."""
        with self._lock:
            is_known, self._has_lost = self._has_lost, True
        if not is_known:
            logger.warning("evidence of this test could not be kept: %s", error)
            self.note(f"Not all of the evidence could be kept: {error}")

    def record_phases(self, phases: Mapping[str, DataclassInstance]) -> None:
        """Keep how the test's phases went so far, in place of what was known of them.

        Args:
            phases: By their names; dataclasses with `outcome`, `duration`, `error`, `fault` and
                `report`.
        """
        kept = {name: asdict(phase) for name, phase in phases.items()}
        masked = 0
        for phase in kept.values():
            for name in ("error", "report"):
                text, count = self._redactor.count(phase.get(name, ""))
                phase[name], _ = limits.shorten(text, limits.FAILURE_TEXT)
                masked += count
        with self._lock:
            self._masked_in_phases = masked  # not added: they are recorded again and again
            self.result.phases = kept
            self.result.duration = sum(phase["duration"] for phase in kept.values())

    def end(self) -> None:
        """Complete the records; nothing is recorded from here on.

        Raises:
            OSError: The disk is full, or the like.
        """
        with self._lock:
            self.ended = True
            for file in (self._events, self._llm_calls, self._commands):
                file.end()
                if file.left_out:
                    self.result.cuts.append(
                        f"{file.left_out:,} records before the last ones found no room in "
                        f"{file.name}."
                    )
            if self._pictures.left_out:
                self.result.cuts.append(
                    f"{self._pictures.left_out:,} screenshots found no room, or hold a secret."
                )
            self.result.masked = self._masked + self._masked_in_phases

    def save(self) -> None:
        """Write result.json as things stand.

        Not only at the end: pytest may be killed at any moment, and no other file says of a test
        what this one does.

        Raises:
            OSError: The disk is full, or the like.
        """
        with self._lock:
            # Written several times: what is masked in it is not counted each time.
            self.result.write(self.folder, self._redactor)

    def masked_result(self) -> Result:
        """Return the result without secrets, those that became known late included."""
        with self._lock:
            return self.result.without_secrets(self._redactor)

    def discard(self) -> None:
        """Remove the folder; nothing is recorded from here on."""
        with self._lock:
            self.ended = True
        shutil.rmtree(self.folder, ignore_errors=True)

    def _record(self, known: list[dict[str, Any]], facts: dict[str, Any], key: str) -> None:
        facts = {
            name: self.mask(value) if isinstance(value, str) else value
            for name, value in facts.items()
        }
        with self._lock:
            for one in known:
                if one[key] == facts[key]:
                    one.update(facts)
                    break
            else:
                known.append(facts)
            self.save()


def _folder_name(node_id: str, attempt: int, redactor: Redactor) -> str:
    """Name the folder; a secret in a parameter's id must not be read there either."""
    masked = redactor(node_id)
    if masked != node_id:  # two tests may differ in nothing but their secrets
        masked += hashlib.sha256(node_id.encode()).hexdigest()[:12]
    return folders.folder_name(masked, attempt)
