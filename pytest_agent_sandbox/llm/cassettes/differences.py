"""The differences between a request that was not recorded and those that were."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from pytest_agent_sandbox.llm.cassettes.canonical import (
    CanonicalRequest,
    as_text,
    is_same,
    without_tool_output,
)

_WORD = re.compile(r"\w+|[^\w\s]")
#: Words shown before and after a difference.
_CONTEXT = 6
#: Between the first and the last difference: how many words are compared, and how many pairs of
#: equal ones are looked at. If there are more, they are shown as one difference.
_MOST_WORDS = 20_000
_MOST_PAIRS = 200_000
#: Characters of a text that are compared, from a little before the first difference.
_LONGEST_COMPARED = 500_000
_MOST_DIFFERENCES = 8
#: Of a summary: lines, and characters of each.
_MOST_LINES = 5
_WIDTH = 160
#: Characters that must not or cannot reach a terminal: controls and halves of surrogate pairs.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_LONGEST_SIDE = 400
#: How many times as many characters of it are looked at, for white space goes.
_SPLIT = 20
_LONGEST_DESCRIPTION = 8_000
_TURNS = ("messages", "input")
#: Stands for a missing value, which null may be mistaken for.
_ABSENT = object()


def describe_difference(recorded: CanonicalRequest, asked: CanonicalRequest) -> str:
    """Say where two requests differ, which message and which words, in a few lines each."""
    places = _all_places(recorded, asked)
    shown = places[:_MOST_DIFFERENCES]
    if len(places) > len(shown):
        shown.append(f"  … and {len(places) - len(shown)} more places")
    text = "\n".join(shown)
    return text if len(text) <= _LONGEST_DESCRIPTION else f"{text[:_LONGEST_DESCRIPTION]}… (cut)"


def summarise_difference(recorded: CanonicalRequest, asked: CanonicalRequest) -> str:
    """Say the same in lines that fit on a screen: the first places, and how many more there are."""
    places = _all_places(recorded, asked)
    lines: list[str] = []
    told = 0
    for place in places:
        more = place.splitlines()
        if lines and len(lines) + len(more) > _MOST_LINES:
            break
        lines += more[:_MOST_LINES]
        told += 1
    if told < len(places):
        lines.append(f"  … and {len(places) - told} more places, which the page shows")
    return "\n".join(line if len(line) <= _WIDTH else f"{line[:_WIDTH]}…" for line in lines)


def _all_places(recorded: CanonicalRequest, asked: CanonicalRequest) -> list[str]:
    before, now = _address(recorded), _address(asked)
    if before != now:
        places = [f"  the address:\n    - {before}\n    + {now}"]
    else:
        places = list(_differences(recorded.body, asked.body))
    return [_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", place) for place in places]


def drifted_messages(recorded: CanonicalRequest, asked: CanonicalRequest) -> set[str]:
    """Return the messages, as JSON, that differ from the recorded ones in what a tool printed."""
    pairs = zip(_turns(recorded.body), _turns(asked.body), strict=False)
    return {
        as_text(now)
        for before, now in pairs
        if not is_same(before, now)
        and is_same(without_tool_output(before), without_tool_output(now))
    }


def likeness(recorded: CanonicalRequest, asked: CanonicalRequest) -> tuple[int, int, int]:
    """Return how similar a recorded request is to another one; greater is more similar."""
    before, now = _turns(recorded.body), _turns(asked.body)
    same = sum(one == other for one, other in zip(before, now, strict=False))
    is_alike = recorded.dialect == asked.dialect and recorded.path == asked.path
    return int(is_alike), same, -abs(len(before) - len(now))


def _turns(body: Any) -> list[Any]:
    if isinstance(body, dict):
        for name in _TURNS:
            if isinstance(body.get(name), list):
                return list(body[name])
    return []


def _address(request: CanonicalRequest) -> str:
    method = "" if request.method == "POST" else f"{request.method} "
    return f"{request.dialect} {method}{request.path}"


def _differences(recorded: Any, asked: Any) -> Iterator[str]:
    if not isinstance(recorded, dict) or not isinstance(asked, dict):
        yield from _places("body", recorded, asked)
        return
    for name in sorted({*recorded, *asked}):
        before, now = recorded.get(name, _ABSENT), asked.get(name, _ABSENT)
        if isinstance(before, list) and isinstance(now, list):
            yield from _differences_in_list(name, before, now)
        else:
            yield from _places(name, before, now)


def _differences_in_list(name: str, recorded: Sequence[Any], asked: Sequence[Any]) -> Iterator[str]:
    what = {"messages": "message", "input": "input item", "tools": "tool"}.get(name, name)
    pairs = _tools_by_name(recorded, asked) if name == "tools" else None
    pairs = pairs or list(zip_longest(recorded, asked, fillvalue=_ABSENT))
    for position, (before, now) in enumerate(pairs, start=1):
        yield from _places(
            f"{what} {position}{_role(before if now is _ABSENT else now)}", before, now
        )


def _tools_by_name(recorded: Sequence[Any], asked: Sequence[Any]) -> list[tuple[Any, Any]] | None:
    """Pair the tools of the same name; None if their names do not tell them apart."""
    before, now = ({_role(tool): tool for tool in tools} for tools in (recorded, asked))
    if (len(before), len(now)) != (len(recorded), len(asked)):
        return None
    return [(before.get(name, _ABSENT), now.get(name, _ABSENT)) for name in {**before, **now}]


def _role(item: Any) -> str:
    if not isinstance(item, dict):
        return ""
    function = item.get("function")
    name = item.get("name") or (function.get("name") if isinstance(function, dict) else None)
    label = item.get("role") or name or item.get("type")
    return f" ({label})" if label else ""


def _places(title: str, recorded: Any, asked: Any) -> Iterator[str]:
    """Yield the places where two values differ."""
    if recorded is _ABSENT:
        yield f"  {title}: new:\n    + {_cut(_flat(asked))}"
    elif asked is _ABSENT:
        yield f"  {title}: recorded, and not asked for:\n    - {_cut(_flat(recorded))}"
    elif is_same(recorded, asked):
        return
    elif isinstance(recorded, dict) and isinstance(asked, dict):
        for name in {**recorded, **asked}:
            before, now = recorded.get(name, _ABSENT), asked.get(name, _ABSENT)
            yield from _places(f"{title}, {name}", before, now)
    elif isinstance(recorded, list) and isinstance(asked, list) and len(recorded) == len(asked):
        for number, (before, now) in enumerate(zip(recorded, asked, strict=True), start=1):
            yield from _places(f"{title} {number}", before, now)
    else:
        yield _place(title, recorded, asked)


def _place(title: str, recorded: Any, asked: Any) -> str:
    # A text and another value may look alike, as "1" and 1 do: JSON tells them apart.
    flat = _flat if isinstance(recorded, str) and isinstance(asked, str) else _as_json
    one, other = _from_difference(flat(recorded), flat(asked))
    before, now = _Words(one), _Words(other)
    if before.words == now.words:
        return f"  {title}: only the white space is different"
    # Most of two long prompts is the same: only what is between the ends is compared.
    start = _common(before.words, now.words)
    end = _common(before.words[start:][::-1], now.words[start:][::-1])
    lines = [f"  {title}:"]
    for (i, j), (k, m) in _changes(before, now, start, end):
        lines += before.shown(i, j, "-")
        lines += now.shown(k, m, "+")
    return "\n".join(lines[: 2 * _MOST_DIFFERENCES + 1])


def _changes(
    before: _Words, now: _Words, start: int, end: int
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield the spans of words that were replaced, with those that replace them."""
    old, new = (
        before.words[start : len(before.words) - end],
        now.words[start : len(now.words) - end],
    )
    if len(old) + len(new) > _MOST_WORDS or _pairs(old, new) > _MOST_PAIRS:
        yield (start, start + len(old)), (start, start + len(new))
        return
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new).get_opcodes():
        if tag != "equal":
            yield (start + i, start + j), (start + k, start + m)


def _pairs(old: Sequence[str], new: Sequence[str]) -> int:
    """Return how many pairs of equal words there are: the time that comparing takes grows so."""
    counts = Counter(new)
    return sum(counts[word] * count for word, count in Counter(old).items())


def _from_difference(one: str, other: str) -> tuple[str, str]:
    """Leave out what two very long texts have in common before they differ, and their far ends."""
    if max(len(one), len(other)) <= _LONGEST_COMPARED:
        return one, other
    low, high = 0, min(len(one), len(other))
    while low < high:  # in steps that no other thread waits for
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    start = max(0, low - _LONGEST_SIDE)
    stop = start + _LONGEST_COMPARED
    return one[start:stop], other[start:stop]


class _Words:
    """A text split into words."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._spans = [match.span() for match in _WORD.finditer(text)]
        self.words = [text[start:end] for start, end in self._spans]

    def shown(self, first: int, last: int, sign: str) -> list[str]:
        """Return a line that shows a span of words among its neighbours; none for an empty span."""
        if first == last:
            return []
        begin, end = self._spans[first][0], self._spans[last - 1][1]
        left = self._text[self._spans[max(0, first - _CONTEXT)][0] : begin]
        right = self._text[end : self._spans[min(len(self.words), last + _CONTEXT) - 1][1]]
        marked = f"{left}[{sign}{_cut(self._text[begin:end])}{sign}]{right}"
        return [f"    {sign} {' '.join(marked.split())}"]


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _flat(value: Any) -> str:
    return value if isinstance(value, str) else _as_json(value)


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _cut(text: str) -> str:
    begin = text[: _SPLIT * _LONGEST_SIDE]  # the rest may be megabytes
    line = " ".join(begin.split())
    more = max(0, len(line) - _LONGEST_SIDE) + len(text) - len(begin)
    return f"{line[:_LONGEST_SIDE]}… ({more} more characters)" if more else line
