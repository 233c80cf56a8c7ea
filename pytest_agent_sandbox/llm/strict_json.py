"""JSON that every program reads alike, for bodies that are checked here and acted on elsewhere.

Programs disagree about two equal names in an object, endless nesting, numbers of thousands of
digits and encodings other than UTF-8. Such a body is refused; any other is written anew, so that
what was checked is what is sent.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

#: Schemas of tools stay below 50. What reads a body later is recursive.
DEEPEST = 200
_LONGEST_NAME = 100
#: Values and names in one body. A conversation of a million tokens has some 50,000. What reads or
#: writes JSON holds up every thread meanwhile: for 50 ms if it has so many.
_MOST_VALUES = 250_000
#: What stands before each value, and how a text begins.
_SIGNS = ",:[{"
_SIGN = re.compile(rf'["{re.escape(_SIGNS)}]')
#: A part of what is in a text: in pieces, for a text may be as large as the body.
_IN_TEXT = re.compile(r'(?s)(?:[^"\\]{1,4096}+|\\.){0,256}+')


class UnclearJSONError(Exception):
    """The text is no JSON object that every program reads alike; the message says why."""


def read_object(body: bytes) -> tuple[dict[str, Any], bytes]:
    """Read a JSON object; return it, and its text as written anew.

    Raises:
        UnclearJSONError: It cannot be read, or programs may read it differently.
    """
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        if has_too_many(text):
            raise UnclearJSONError(too_many())
        content = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float
        )
    except RecursionError as problem:
        raise UnclearJSONError(_too_deep()) from problem
    except ValueError as problem:
        raise UnclearJSONError(f"The request's body is not JSON: {problem}.") from problem
    if not isinstance(content, dict):
        raise UnclearJSONError("The request's body is not a JSON object.")
    if is_deeper(content, DEEPEST):
        raise UnclearJSONError(_too_deep())
    return content, _written(content)


def has_too_many(body: str | bytes) -> bool:
    """Tell whether there are more values in JSON than anybody can need.

    They take far more memory than their text, and time that no other thread gets.
    """
    text = body.decode("latin-1") if isinstance(body, bytes) else body
    if sum(map(text.count, _SIGNS)) <= _MOST_VALUES:  # wherever they stand
        return False
    values, at = 0, 0
    while values <= _MOST_VALUES and (sign := _SIGN.search(text, at)):
        at = sign.end()
        if sign[0] == '"':
            at = _end_of_text(text, at)
        else:
            values += 1
    return values > _MOST_VALUES


def too_many() -> str:
    """Return why such a body is refused."""
    return f"The request's body holds more than {_MOST_VALUES:,} values."


def _end_of_text(text: str, at: int) -> int:
    """Return where a text of JSON ends."""
    while (part := _IN_TEXT.match(text, at)) and part.end() > at:
        at = part.end()
    return at + 1


def _written(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can express
        return json.dumps(content, separators=(",", ":")).encode("ascii")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0][:_LONGEST_NAME]
        raise UnclearJSONError(f"The request's body has {twice!a} twice in one object.")
    return content


def _constant(name: str) -> NoReturn:
    raise UnclearJSONError(f"The request's body is not JSON: it holds {name}.")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise UnclearJSONError("The request's body holds a number that is too large.")
    return value


def _too_deep() -> str:
    return f"The request's body is not JSON of any use: it is nested deeper than {DEEPEST} levels."


def is_deeper(content: Any, levels: int) -> bool:
    """Tell whether JSON has more than so many levels."""
    inner = [content]
    for _ in range(levels):
        inner = [
            value
            for one in inner
            for value in (one.values() if isinstance(one, dict) else one)
            if isinstance(value, dict | list)
        ]
        if not inner:
            return False
    return True
