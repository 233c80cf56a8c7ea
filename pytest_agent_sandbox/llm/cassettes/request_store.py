"""The requests of a conversation in memory, with what they have in common stored only once.

An agent repeats the whole conversation with each request. The turns are therefore stored as a tree,
in which a request that continues another one is a longer path: a conversation takes about as much
memory as its last request.
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
#: Anthropic's mark of what is to be cached. It moves on with each request, so marks are stored
#: apart from the turns.
_MARK = "cache_control"
#: Each mark with its place: the turn's number, then the numbers of the parts inside the turn.
Marks = tuple[tuple[tuple[int, ...], Any], ...]


class Turn:
    """One turn of a conversation, and the turns before it."""

    __slots__ = ("_next", "before", "depth", "value")

    def __init__(self, value: Any, before: Turn | None) -> None:
        self.value = value
        self.before = before
        #: The number of turns up to and including this one; the empty root does not count.
        self.depth: int = 0 if before is None else before.depth + 1
        self._next: dict[bytes, Turn] = {}

    def then(self, values: Sequence[Any]) -> Turn:
        """Return the last of the turns that follow; turns that are stored already are reused."""
        turn = self
        for value in values:
            name = _digest(value)
            following = turn._next.get(name)
            if following is None:
                following = turn._next[name] = Turn(value, turn)
            turn = following
        return turn

    def since(self, earlier: Turn) -> list[Any]:
        """Return the turns after an earlier one on the path to this one."""
        values = []
        turn: Turn | None = self
        while turn is not None and turn is not earlier:
            values.append(turn.value)
            turn = turn.before
        return values[::-1]


@dataclass(frozen=True, eq=False)
class StoredRequest:
    """A request that shares what it can with the other requests of its store."""

    dialect: str
    method: str
    path: str
    #: The body without its turns; shared with other requests of the same store.
    rest: Any
    #: The field that holds the turns; empty where there is none.
    field: str
    #: The store's empty first turn, and this request's last one.
    root: Turn
    last: Turn
    #: The marks of all its turns, which are stored without them.
    marks: Marks = ()

    @property
    def body(self) -> Any:
        """The whole body, put together again."""
        if not self.field:
            return self.rest
        return {**self.rest, self.field: _with_marks(self.last.since(self.root), self.marks)}

    def whole(self) -> CanonicalRequest:
        """Return the whole request, put together again."""
        return CanonicalRequest(self.dialect, self.method, self.path, self.body)

    @cached_property
    def key(self) -> str:
        """See `CanonicalRequest`."""
        return self.whole().key

    @cached_property
    def skeleton(self) -> str:
        """See `CanonicalRequest`."""
        return self.whole().skeleton


class RequestStore:
    """The requests of one conversation."""

    def __init__(self) -> None:
        self._root = Turn(None, None)
        self._rests: dict[bytes, Any] = {}

    def add(self, request: CanonicalRequest) -> StoredRequest:
        """Store a request. Its content must not be changed afterwards."""
        body = request.body
        field = next((name for name in _TURNS if _has_turns(body, name)), "")
        rest, turns = ({**body, field: None}, body[field]) if field else (body, [])
        # The digest covers the field as well: a body may hold null there.
        rest = self._rests.setdefault(_digest([field, rest]), rest)
        turns, marks = _without_marks(turns)
        last = self._root.then(turns)
        return StoredRequest(
            request.dialect, request.method, request.path, rest, field, self._root, last, marks
        )

    def add_continuation(
        self,
        place: CanonicalRequest,
        known: StoredRequest,
        field: str,
        new: Any,
        marks: Marks | None = None,
    ) -> StoredRequest:
        """Store a request that continues another one.

        Args:
            place: Dialect, method and path of the request; its body is ignored.
            known: The request that it continues, from this store.
            field: The field that has grown.
            new: The turns that were added there.
            marks: The marks of all its turns. None, as in cassettes of earlier releases, stands
                for those of the known request and of the new turns.
        """
        if field == known.field:
            new, its_own = _without_marks(new, known.last.depth)
            if marks is None:
                marks = (*known.marks, *its_own)
            last = known.last.then(new)
            _with_marks(last.since(self._root), marks)  # raises where a mark belongs to no turn
            return StoredRequest(
                place.dialect, place.method, place.path, known.rest, field, self._root, last, marks
            )
        body = known.body
        whole = {**body, field: [*body[field], *new]}
        return self.add(CanonicalRequest(place.dialect, place.method, place.path, whole))


def _has_turns(body: Any, name: str) -> bool:
    return isinstance(body, Mapping) and isinstance(body.get(name), list)


def _without_marks(turns: Sequence[Any], first: int = 0) -> tuple[list[Any], Marks]:
    """Return turns without their marks, and the marks; the first turn gets the number `first`."""
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
    """Return the turns with their marks; marked turns are copied, for other requests share them."""
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
