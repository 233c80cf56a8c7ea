"""The comparison of a value with what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from pytest_agent_sandbox.errors import SettingsError

_LONGEST = 120
#: Characters shown before the place where two texts part.
_BEFORE = 30


def matches(expected: Any, actual: Any) -> bool:
    """Tell whether a value is what was expected.

    Args:
        expected: A compiled regular expression is searched for in the text; a function says
            whether it accepts the value; `...` takes anything; a dict names some of the keys, a
            list all of the items; anything else has to be equal.
        actual: The value. Servers fill in None for what an agent left out; no regular expression
            is found in that.

    Raises:
        SettingsError: The regular expression is for bytes.
    """
    if expected is ...:
        return True
    if isinstance(expected, re.Pattern):
        if isinstance(expected.pattern, bytes):
            raise SettingsError(
                f"re.compile({expected.pattern!r:.60}) is for bytes: an argument is a text."
            )
        return actual is not None and expected.search(str(actual)) is not None
    if isinstance(expected, Mapping):
        return isinstance(actual, Mapping) and all(
            name in actual and matches(value, actual[name]) for name, value in expected.items()
        )
    if isinstance(expected, list | tuple):
        return (
            isinstance(actual, Sequence)
            and not isinstance(actual, str)
            and len(actual) == len(expected)
            and all(map(matches, expected, actual))
        )
    if callable(expected):
        return _accepts(expected, actual)
    return bool(expected == actual)


def text_matches(expected: object, actual: str) -> bool:
    """Tell whether a text contains the expected text, or else matches as `matches` says.

    Raises:
        SettingsError: Something is expected that no text can be.
    """
    check_expectation(expected)
    return expected in actual if isinstance(expected, str) else matches(expected, actual)


def check_expectation(expected: object) -> None:
    """Check an expectation of a text.

    Raises:
        SettingsError: Something is expected that no text can be.
    """
    if not (isinstance(expected, str | re.Pattern) or callable(expected)):
        raise SettingsError(
            "A text is expected as a part of it, a compiled regular expression or a function, not "
            f"as {type(expected).__name__}: {expected!r}"
        )


def check_number(value: Any, what: str, *, least: int, kind: Any = int) -> None:
    """Check a number, which may be None.

    Raises:
        SettingsError: The value is not a number, or too small.
    """
    if value is None:
        return
    if not isinstance(value, kind) or isinstance(value, bool) or value < least:
        raise SettingsError(f"{what}={value!r} must be a number, {least} at least")


def differences(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> Iterator[str]:
    """Yield the differences from what was expected, a line or two each."""
    for name, value in expected.items():
        if name not in actual:
            yield f"{name}: expected {spelled(value)}, and there is none"
        elif not matches(value, actual[name]):
            wanted, found = _apart(value, actual[name])
            yield f"{name}: expected {wanted}"
            yield f"{' ' * len(name)}       was {found}"


def likeness(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> float:
    """Return how near values come to what was expected, from 0 to 1."""
    if not expected:
        return 1.0
    there = [name for name in expected if name in actual]
    return sum(_likeness(expected[name], actual[name]) for name in there) / len(expected)


def spelled(value: object) -> str:
    """Return a value for people, on one line, not too long."""
    if isinstance(value, re.Pattern):
        return f"/{value.pattern}/"
    if value is ...:
        return "anything"
    if callable(value):
        return f"what {getattr(value, '__name__', value)} accepts"
    line = " ".join(repr(value).splitlines())  # white space in a text is a difference like others
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def cut(text: str, longest: int = _LONGEST) -> str:
    """Return a text on one line, cut if it is too long."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[:longest]}…"


def checked_text(value: object, what: str) -> str:
    """Return the value if it is a text.

    Raises:
        SettingsError: The value is not a text, or empty.
    """
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{what} is a text, not {value!r}")
    return value


def _accepts(function: Callable[[Any], object], actual: Any) -> bool:
    try:
        return bool(function(actual))
    except (AttributeError, TypeError):
        if actual is None:  # the function was written for a value, and there is none
            return False
        raise


def _likeness(expected: Any, actual: Any) -> float:
    if matches(expected, actual):
        return 1.0
    if isinstance(expected, re.Pattern):
        expected = expected.pattern  # its letters are the nearest thing to a text
    if isinstance(expected, str) and isinstance(actual, str):
        return 0.9 * SequenceMatcher(None, expected[:1000], actual[:1000]).ratio()
    return 0.0


def _apart(expected: Any, actual: Any) -> tuple[str, str]:
    """Return both values; of long texts, only the place where they part."""
    texts = (expected, actual)
    if not all(isinstance(text, str) for text in texts) or max(map(len, texts)) <= _LONGEST:
        return spelled(expected), spelled(actual)
    same = next(
        (at for at, (one, other) in enumerate(zip(*texts, strict=False)) if one != other),
        min(map(len, texts)),
    )
    start = max(0, same - _BEFORE)
    before = "…" if start else ""
    wanted, found = (before + spelled(text[start:]) for text in texts)
    return wanted, found


#: An expectation of a text: a part of it, a regular expression, or a function that accepts it.
TextExpectation = str | re.Pattern[str] | Callable[[str], object]
