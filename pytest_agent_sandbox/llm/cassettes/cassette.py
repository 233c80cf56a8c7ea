"""Cassettes: the LLM calls of one test, in a file that people can read and compare."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from pytest_agent_sandbox.errors import CassetteError
from pytest_agent_sandbox.llm.cassettes import readable_json, stored_form, unreadable
from pytest_agent_sandbox.llm.cassettes.canonical import CanonicalRequest
from pytest_agent_sandbox.llm.cassettes.request_store import (
    Marks,
    RequestStore,
    StoredRequest,
    Turn,
)

FORMAT = "pytest-agent-sandbox cassette"
VERSION = 1
#: Bytes of a file: hundreds of times those of a long conversation.
_LARGEST = 256 * 1024**2
_LONGEST_REASON = 400


@dataclass(frozen=True)
class RecordedEvent:
    """One event of a streamed answer."""

    #: Milliseconds after the request had come in.
    ms: int
    #: The event's kind; empty where the provider names none.
    name: str
    #: Its content: an object or a list where it is JSON, else text.
    data: Any


@dataclass(frozen=True)
class RecordedAnswer:
    """An answer as it is replayed."""

    status: int
    headers: Mapping[str, str]
    #: US dollars that the recorded call cost; None where that is not known.
    cost: float | None
    #: Milliseconds from the request to the end of the answer.
    ms: int
    #: An object or a list where it is JSON, else text, or bytes where it is not text either.
    body: Any = None
    #: The events of a streamed answer, which has no body, in order.
    events: Sequence[RecordedEvent] | None = None


@dataclass(frozen=True)
class Interaction:
    """A request and its answer."""

    request: CanonicalRequest
    answer: RecordedAnswer


@dataclass
class StoredInteraction:
    """An interaction in memory, and whether this run has replayed it."""

    request: StoredRequest
    answer: RecordedAnswer
    is_used: bool = False


class Interactions(Sequence[Interaction]):
    """The interactions of a conversation, in order; each is put together on access."""

    def __init__(self, interactions: Iterable[Interaction] = ()) -> None:
        self.stored: list[StoredInteraction] = []
        self._requests = RequestStore()
        for interaction in interactions:
            self.add(interaction)

    def add(self, interaction: Interaction) -> None:
        """Add an interaction at the end."""
        request = self._requests.add(interaction.request)
        self.stored.append(StoredInteraction(request, interaction.answer))

    def add_continuation(
        self,
        place: CanonicalRequest,
        number: int,
        field: str,
        new: Any,
        marks: Marks | None,
        answer: RecordedAnswer,
    ) -> None:
        """Add an interaction whose request continues an earlier one, given by its number."""
        known = self.stored[number - 1].request
        request = self._requests.add_continuation(place, known, field, new, marks)
        self.stored.append(StoredInteraction(request, answer))

    def __len__(self) -> int:
        return len(self.stored)

    @overload
    def __getitem__(self, position: int) -> Interaction: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Interaction]: ...
    def __getitem__(self, position: int | slice) -> Interaction | Sequence[Interaction]:
        if isinstance(position, slice):
            return [self[number] for number in range(*position.indices(len(self)))]
        stored = self.stored[position]
        return Interaction(stored.request.whole(), stored.answer)

    def __repr__(self) -> str:
        return repr(list(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass
class Cassette:
    """The interactions of one test, by lane: the content of its file."""

    #: The test's node id, for people.
    test: str
    #: The agent's model as LiteLLM spells it; a replay has to ask for the same one.
    model: str
    lanes: dict[str, Sequence[Interaction]] = field(default_factory=dict)

    def save(self, file: Path) -> None:
        """Write the cassette, whole or not at all.

        Raises:
            CassetteError: The file cannot be written.
        """
        content = {
            "format": FORMAT,
            "version": VERSION,
            "test": self.test,
            "model": self.model,
            "lanes": {name: _lane_to_json(lane) for name, lane in self.lanes.items()},
        }
        try:
            _write_atomically(file, readable_json.encode(content))
        except OSError as problem:
            raise CassetteError(f"The cassette {file} cannot be written: {problem}") from problem

    @classmethod
    def load(cls, file: Path) -> Cassette:
        """Read a cassette.

        Raises:
            CassetteError: The file is not a cassette that this version can read.
        """
        content = _content_of(file)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise CassetteError(f"{file} is no cassette of pytest-agent-sandbox. {_RECORD_ANEW}")
        if content.get("version") != VERSION:
            raise CassetteError(
                f"The cassette {file} has version {content.get('version')!r:.20}, and this release "
                f"reads version {VERSION}: update pytest-agent-sandbox where that is newer. "
                f"{_RECORD_ANEW}"
            )
        try:
            stored_form.check(content)
            lanes = {name: _lane_from_json(lane) for name, lane in content["lanes"].items()}
            return cls(str(content["test"]), str(content["model"]), {**lanes})
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as problem:
            reason = f"{type(problem).__name__}: {problem}"
            raise CassetteError(
                f"The cassette {file} is damaged ({reason:.{_LONGEST_REASON}}). {_RECORD_ANEW}"
            ) from problem


def _content_of(file: Path) -> Any:
    """Return the JSON in a cassette's file."""
    try:
        # What is no file may have no end: git keeps links to /dev/zero too.
        if not file.is_file():
            raise OSError("there is no such file")
        with file.open("rb") as opened:
            data = opened.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise OSError(f"it is larger than {_LARGEST >> 20} MB")
    except OSError as problem:
        raise CassetteError(
            f"The cassette {file} cannot be read: {problem}. {_RECORD_ANEW}"
        ) from problem
    try:
        return readable_json.decode(data.decode("utf-8"))
    except (RecursionError, TypeError, ValueError) as problem:
        reason = unreadable.why(data, problem)
        raise CassetteError(
            f"The cassette {file} cannot be read: {reason} {_RECORD_ANEW}"
        ) from problem


_RECORD_ANEW = "Restore it from version control, or record the test anew with --llm-record=all."


def _lane_to_json(lane: Sequence[Interaction]) -> list[dict[str, Any]]:
    interactions = lane if isinstance(lane, Interactions) else Interactions(lane)
    # For each end of a request: the number of the last request that ended there, and whether it
    # has marks. The keys hold `id()`s, which stay valid as long as the lane is alive.
    ends: dict[tuple[int, int, str], tuple[int, bool]] = {}
    content = []
    for number, stored in enumerate(interactions.stored, start=1):
        request = stored.request
        asked = _request_to_json(request, ends)
        content.append({"request": asked, "answer": _answer_to_json(stored.answer)})
        ends[_end(request, request.last)] = number, bool(request.marks)
    return content


def _end(request: StoredRequest, turn: Turn) -> tuple[int, int, str]:
    return id(request.rest), id(turn), f"{request.dialect} {request.method} {request.path}"


def _request_to_json(
    request: StoredRequest, ends: Mapping[tuple[int, int, str], tuple[int, bool]]
) -> dict[str, Any]:
    """Return a request as JSON; one that continues an earlier one holds only what is new."""
    head: dict[str, Any] = {
        "dialect": request.dialect,
        "method": request.method,
        "path": request.path,
    }
    turn: Turn | None = request.last if request.field else None
    while turn is not None:
        found = ends.get(_end(request, turn))
        if found is not None:
            number, has_marks = found
            head |= {"continues": number, "new": {request.field: request.last.since(turn)}}
            if has_marks or request.marks:  # all marks: those of the earlier request have moved on
                head["marks"] = [{"at": list(at), "is": mark} for at, mark in request.marks]
            return head
        turn = turn.before
    return {**head, "body": request.body}


def _lane_from_json(content: Sequence[Mapping[str, Any]]) -> Interactions:
    lane = Interactions()
    for entry in content:
        request, answer = entry["request"], _answer_from_json(entry["answer"])
        place = (request["dialect"], request["method"], request["path"])
        if "continues" not in request:
            lane.add(Interaction(CanonicalRequest(*place, request["body"]), answer))
            continue
        number = request["continues"]
        if not 1 <= number <= len(lane):
            raise ValueError(f"a request continues {number!r}")
        ((field, new),) = request["new"].items()
        marks = request.get("marks")
        if marks is not None:
            marks = tuple((tuple(mark["at"]), mark["is"]) for mark in marks)
        lane.add_continuation(CanonicalRequest(*place, None), number, field, new, marks, answer)
    return lane


def _answer_to_json(answer: RecordedAnswer) -> dict[str, Any]:
    head = {
        "status": answer.status,
        "headers": dict(answer.headers),
        "cost": answer.cost,
        "ms": answer.ms,
    }
    if isinstance(answer.body, bytes):
        return {**head, "base64": base64.b64encode(answer.body).decode("ascii")}
    if answer.events is None:
        return {**head, "body": answer.body}
    events = [
        {"ms": event.ms, **({"event": event.name} if event.name else {}), "data": event.data}
        for event in answer.events
    ]
    return {**head, readable_json.ONE_LINE_EACH: events}


def _answer_from_json(content: Mapping[str, Any]) -> RecordedAnswer:
    body = (
        base64.b64decode(content["base64"], validate=True)
        if "base64" in content
        else content.get("body")
    )
    events = content.get(readable_json.ONE_LINE_EACH)
    return RecordedAnswer(
        content["status"],
        dict(content["headers"]),
        content["cost"],
        content["ms"],
        body,
        None if events is None else tuple(map(_event_from_json, events)),
    )


def _event_from_json(content: Mapping[str, Any]) -> RecordedEvent:
    return RecordedEvent(content["ms"], content.get("event", ""), content["data"])


def _write_atomically(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
