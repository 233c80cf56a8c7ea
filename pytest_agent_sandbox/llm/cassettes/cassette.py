"""Cassettes: the LLM calls of one test, in a file that a person can read and compare."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.errors import CassetteError
from pytest_agent_sandbox.llm.cassettes import readable_json, unreadable
from pytest_agent_sandbox.llm.cassettes.canonical import CanonicalRequest

FORMAT = "pytest-agent-sandbox cassette"
VERSION = 1

#: The fields of a request that grow with the conversation.
_TURNS = ("messages", "input")


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


@dataclass
class Cassette:
    """The LLM calls of one test, by lane."""

    #: The test's node id, for people.
    test: str
    #: The agent's model as LiteLLM spells it: a replay has to ask for the same.
    model: str
    lanes: dict[str, list[Interaction]] = field(default_factory=dict)

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
            return cls(str(content["test"]), str(content["model"]), lanes)
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
    return [
        {
            "request": _request_to_json(interaction.request, lane[:position]),
            "answer": _answer_to_json(interaction.answer),
        }
        for position, interaction in enumerate(lane)
    ]


def _request_to_json(request: CanonicalRequest, earlier: Sequence[Interaction]) -> dict[str, Any]:
    """A request; one that goes on where an earlier one ended says only what is new."""
    head = {"dialect": request.dialect, "method": request.method, "path": request.path}
    for number in range(len(earlier), 0, -1):
        known = earlier[number - 1].request
        turns = _continued(known, request)
        if turns is not None:
            new = request.body[turns][len(known.body[turns]) :]
            return {**head, "continues": number, "new": {turns: new}}
    return {**head, "body": request.body}


def _continued(known: CanonicalRequest, request: CanonicalRequest) -> str | None:
    """The field in which a request goes on with an earlier one; None where it does not."""
    if (known.dialect, known.method, known.path) != (request.dialect, request.method, request.path):
        return None
    if not isinstance(known.body, dict) or not isinstance(request.body, dict):
        return None
    for turns in _TURNS:
        before, now = known.body.get(turns), request.body.get(turns)
        if (
            isinstance(before, list)
            and isinstance(now, list)
            and _is_same(now[: len(before)], before)
            and _is_same({**known.body, turns: None}, {**request.body, turns: None})
        ):
            return turns
    return None


def _is_same(one: Any, other: Any) -> bool:
    # Python's 1, 1.0 and True are equal; JSON's are not.
    return one == other and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _lane_from_json(content: Sequence[Mapping[str, Any]]) -> list[Interaction]:
    lane: list[Interaction] = []
    for entry in content:
        request = _request_from_json(entry["request"], lane)
        lane.append(Interaction(request, _answer_from_json(entry["answer"])))
    return lane


def _request_from_json(
    content: Mapping[str, Any], earlier: Sequence[Interaction]
) -> CanonicalRequest:
    if "continues" in content:
        number = content["continues"]
        if not 1 <= number <= len(earlier):
            raise ValueError(f"a request continues {number!r}")
        known = earlier[number - 1].request.body
        body = {**known, **{turns: [*known[turns], *new] for turns, new in content["new"].items()}}
    else:
        body = content["body"]
    return CanonicalRequest(content["dialect"], content["method"], content["path"], body)


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
