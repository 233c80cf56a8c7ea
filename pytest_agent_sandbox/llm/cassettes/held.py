"""Requests held in memory: an agent says all that it said before with each of them.

What they have in common is held once. Their turns are a tree, in which a request that goes on where
another one ended is a longer way, so that a conversation takes as much as its last request.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pytest_agent_sandbox.llm.cassettes.canonical import CanonicalRequest

#: The fields of a request that grow with the conversation.
_TURNS = ("messages", "input")
#: Anthropic's mark of what is to be cached. It moves on with each request, so it is held apart.
_MARK = "cache_control"
#: Where a mark stands, the turn's number and those of the parts in it, and the mark.
Marks = tuple[tuple[tuple[int, ...], Any], ...]


class Turn:
    """One turn of a conversation, and the turns before it."""

    __slots__ = ("_next", "before", "depth", "value")

    def __init__(self, value: Any, before: Turn | None) -> None:
        self.value = value
        self.before = before
        #: How many turns there are up to this one.
        self.depth: int = 0 if before is None else before.depth + 1
        self._next: dict[bytes, Turn] = {}

    def then(self, values: Sequence[Any]) -> Turn:
        """The last of the turns that follow; those that others have said are theirs, too."""
        turn = self
        for value in values:
            name = _digest(value)
            following = turn._next.get(name)
            if following is None:
                following = turn._next[name] = Turn(value, turn)
            turn = following
        return turn

    def since(self, earlier: Turn) -> list[Any]:
        """The turns after an earlier one, which is among those before this."""
        values = []
        turn: Turn | None = self
        while turn is not None and turn is not earlier:
            values.append(turn.value)
            turn = turn.before
        return values[::-1]


@dataclass(frozen=True, eq=False)
class HeldRequest:
    """A request, held by what is new in it."""

    dialect: str
    method: str
    path: str
    #: The body, its turns left out where it has some; shared by requests of the same shelf.
    rest: Any
    #: The field of the turns; empty where there is none.
    field: str
    #: The first turn of all on the shelf, which says nothing, and the last one of this request.
    root: Turn
    last: Turn
    #: Those of all its turns, which are held without.
    marks: Marks = ()

    @property
    def body(self) -> Any:
        """The whole body, put together anew."""
        if not self.field:
            return self.rest
        return {**self.rest, self.field: _with_marks(self.last.since(self.root), self.marks)}

    def whole(self) -> CanonicalRequest:
        """The whole request, put together anew."""
        return CanonicalRequest(self.dialect, self.method, self.path, self.body)

    @cached_property
    def key(self) -> str:
        """See `CanonicalRequest`."""
        return self.whole().key

    @cached_property
    def skeleton(self) -> str:
        """See `CanonicalRequest`."""
        return self.whole().skeleton


class Shelf:
    """Where the requests of a conversation are held."""

    def __init__(self) -> None:
        self._root = Turn(None, None)
        self._rests: dict[bytes, Any] = {}

    def hold(self, request: CanonicalRequest) -> HeldRequest:
        """Take a request in. What is in it must not be changed any more."""
        body = request.body
        field = next((name for name in _TURNS if _has_turns(body, name)), "")
        rest, turns = ({**body, field: None}, body[field]) if field else (body, [])
        # By the field, too: null may be what is there.
        rest = self._rests.setdefault(_digest([field, rest]), rest)
        turns, marks = _without_marks(turns)
        last = self._root.then(turns)
        return HeldRequest(
            request.dialect, request.method, request.path, rest, field, self._root, last, marks
        )

    def go_on(
        self,
        place: CanonicalRequest,
        known: HeldRequest,
        field: str,
        new: Any,
        marks: Marks | None = None,
    ) -> HeldRequest:
        """Take a request in that says more than a known one.

        Args:
            place: Dialect, method and path of the request; its body does not count.
            known: Of this shelf.
            field: Where it says more.
            new: The turns that it says more.
            marks: Those of all its turns; None where they are those of the known request and of
                the new turns, as in cassettes of earlier releases.
        """
        if field == known.field:
            new, its_own = _without_marks(new, known.last.depth)
            if marks is None:
                marks = (*known.marks, *its_own)
            last = known.last.then(new)
            _with_marks(last.since(self._root), marks)  # raises where one is of no turn
            return HeldRequest(
                place.dialect, place.method, place.path, known.rest, field, self._root, last, marks
            )
        body = known.body
        whole = {**body, field: [*body[field], *new]}
        return self.hold(CanonicalRequest(place.dialect, place.method, place.path, whole))


def _has_turns(body: Any, name: str) -> bool:
    return isinstance(body, Mapping) and isinstance(body.get(name), list)


def _without_marks(turns: Sequence[Any], first: int = 0) -> tuple[list[Any], Marks]:
    """Turns without their marks, and those; the first turn has the number that is given."""
    marks: list[tuple[tuple[int, ...], Any]] = []
    bare = [_bare(turn, (number,), marks) for number, turn in enumerate(turns, start=first)]
    return bare, tuple(marks)


def _bare(value: Any, way: tuple[int, ...], marks: list[tuple[tuple[int, ...], Any]]) -> Any:
    if not isinstance(value, dict):
        return value
    before = len(marks)
    content = value.get("content")
    if isinstance(content, list):
        content = [_bare(item, (*way, number), marks) for number, item in enumerate(content)]
    if _MARK in value:
        marks.append((way, value[_MARK]))
    if len(marks) == before:
        return value
    return {
        name: content if name == "content" else item
        for name, item in value.items()
        if name != _MARK
    }


def _with_marks(turns: list[Any], marks: Marks) -> list[Any]:
    """The turns with their marks; those that have some are copied, for others share them."""
    turns = list(turns)
    for (*way, last), mark in marks:
        items = turns
        for number in way:
            items[number] = {**items[number], "content": list(items[number]["content"])}
            items = items[number]["content"]
        items[last] = {**items[last], _MARK: mark}
    return turns


def _digest(value: Any) -> bytes:
    return hashlib.blake2b(json.dumps(value).encode("ascii"), digest_size=16).digest()
