"""JSON that every program reads alike, for bodies that are checked here and acted on elsewhere.

Programs disagree about two equal names in an object, endless nesting, numbers of thousands of
digits and encodings other than UTF-8. Such a body is refused; any other is written anew, so that
what was checked is what is sent.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NoReturn

#: Schemas of tools stay below 50. What reads a body later is recursive.
_DEEPEST = 200
_LONGEST_NAME = 100


class UnclearJSONError(Exception):
    """The text is no JSON object that every program reads alike; the message says why."""


def read_object(body: bytes) -> tuple[dict[str, Any], bytes]:
    """Read a JSON object; return it, and its text as written anew.

    Raises:
        UnclearJSONError: It cannot be read, or programs may read it differently.
    """
    try:
        content = json.loads(
            body, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float
        )
    except RecursionError as problem:
        raise UnclearJSONError(_too_deep()) from problem
    except ValueError as problem:
        raise UnclearJSONError(f"The request's body is not JSON: {problem}.") from problem
    if not isinstance(content, dict):
        raise UnclearJSONError("The request's body is not a JSON object.")
    if _is_deeper(content, _DEEPEST):
        raise UnclearJSONError(_too_deep())
    return content, _written(content)


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
    return f"The request's body is not JSON of any use: it is nested deeper than {_DEEPEST} levels."


def _is_deeper(content: Any, levels: int) -> bool:
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
