"""Cassettes: the LLM calls of one test, in a file that a person can read and compare."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from pytest_agent_sandbox.errors import CassetteError
from pytest_agent_sandbox.llm.cassettes import readable_json, unreadable
from pytest_agent_sandbox.llm.cassettes.canonical import CanonicalRequest
from pytest_agent_sandbox.llm.cassettes.held import HeldRequest, Marks, Shelf, Turn

FORMAT = "pytest-agent-sandbox cassette"
VERSION = 1


@dataclass(frozen=True)
class RecordedEvent:
    """One event of a streamed answer."""

    #: Milliseconds after the request had come in.
    ms: int
    #: The event's kind; empty where the provider names none.
    name: str
    #: What it says: an object or a list where it is JSON, else text.
    data: Any


@dataclass(frozen=True)
class RecordedAnswer:
    """An answer as it is served again."""

    status: int
    headers: Mapping[str, str]
    #: What it cost in US dollars; None where that is not known.
    cost: float | None
    #: Milliseconds from the request to the end of the answer.
    ms: int
    #: An object or a list where it is JSON, else text, or bytes where it is no text either.
    body: Any = None
    #: Of a streamed answer, which has no body, in order.
    events: Sequence[RecordedEvent] | None = None


@dataclass(frozen=True)
class Interaction:
    """A request and its answer."""

    request: CanonicalRequest
    answer: RecordedAnswer


class Interactions(Sequence[Interaction]):
    """The interactions of a conversation, in order; each is put together when it is looked at."""

    def __init__(self, interactions: Iterable[Interaction] = ()) -> None:
        #: As they are held.
        self.held: list[tuple[HeldRequest, RecordedAnswer]] = []
        self._shelf = Shelf()
        for interaction in interactions:
            self.add(interaction)

    def add(self, interaction: Interaction) -> None:
        """Add one at the end."""
        self.held.append((self._shelf.hold(interaction.request), interaction.answer))

    def go_on(
        self,
        place: CanonicalRequest,
        number: int,
        field: str,
        new: Any,
        marks: Marks | None,
        answer: RecordedAnswer,
    ) -> None:
        """Add one whose request says more than an earlier one, which is told by its number."""
        known = self.held[number - 1][0]
        self.held.append((self._shelf.go_on(place, known, field, new, marks), answer))

    def __len__(self) -> int:
        return len(self.held)

    @overload
    def __getitem__(self, position: int) -> Interaction: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Interaction]: ...
    def __getitem__(self, position: int | slice) -> Interaction | Sequence[Interaction]:
        if isinstance(position, slice):
            return [self[number] for number in range(*position.indices(len(self)))]
        request, answer = self.held[position]
        return Interaction(request.whole(), answer)

    def __repr__(self) -> str:
        return repr(list(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass
class Cassette:
    """The LLM calls of one test, by lane."""

    #: The test's node id, for people.
    test: str
    #: The agent's model as LiteLLM spells it: a replay has to ask for the same.
    model: str
    lanes: dict[str, Sequence[Interaction]] = field(default_factory=dict)

    def save(self, file: Path) -> None:
        """Write it, whole or not at all.

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
            CassetteError: The file is no cassette that this version can read.
        """
        content = _content_of(file)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise CassetteError(f"{file} is no cassette of pytest-agent-sandbox. {_RECORD_ANEW}")
        if content.get("version") != VERSION:
            raise CassetteError(
                f"The cassette {file} has version {content.get('version')!r}, and this release "
                f"reads version {VERSION}: update pytest-agent-sandbox where that is newer. "
                f"{_RECORD_ANEW}"
            )
        try:
            lanes = {name: _lane_from_json(lane) for name, lane in content["lanes"].items()}
            return cls(str(content["test"]), str(content["model"]), {**lanes})
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as problem:
            raise CassetteError(
                f"The cassette {file} is damaged ({type(problem).__name__}: {problem}). "
                f"{_RECORD_ANEW}"
            ) from problem


def _content_of(file: Path) -> Any:
    """What a cassette's file holds, as JSON."""
    try:
        data = file.read_bytes()
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
    held = lane if isinstance(lane, Interactions) else Interactions(lane)
    # Which request was the last that ended so, and whether it has marks; the keys stay alive with
    # the lane.
    ends: dict[tuple[int, int, str], tuple[int, bool]] = {}
    content = []
    for number, (request, answer) in enumerate(held.held, start=1):
        asked = _request_to_json(request, ends)
        content.append({"request": asked, "answer": _answer_to_json(answer)})
        ends[_end(request, request.last)] = number, bool(request.marks)
    return content


def _end(request: HeldRequest, turn: Turn) -> tuple[int, int, str]:
    return id(request.rest), id(turn), f"{request.dialect} {request.method} {request.path}"


def _request_to_json(
    request: HeldRequest, ends: Mapping[tuple[int, int, str], tuple[int, bool]]
) -> dict[str, Any]:
    """A request; one that goes on where an earlier one ended says only what is new."""
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
            if has_marks or request.marks:  # all of them: those of the earlier one have moved on
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
        lane.go_on(CanonicalRequest(*place, None), number, field, new, marks, answer)
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
    if not isinstance(content["status"], int):
        raise TypeError(f"an answer's status is {content['status']!r}")
    body = base64.b64decode(content["base64"]) if "base64" in content else content.get("body")
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
