"""The kinds of values that settings have: each turns text into a value, or says what is wrong.

Standard library only: see `table`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def text(value: str) -> str:
    """Read any text but none."""
    if not value.strip():
        raise ValueError("must not be empty")
    return value.strip()


def size(value: str) -> str:
    """Read a size in bytes, as Docker spells it."""
    # Compiled here, not by every run of pytest.
    if not re.fullmatch(r"[1-9]\d*(\.\d+)?[bkmg]?", value.strip(), re.IGNORECASE):
        raise ValueError("must be a size such as 512m or 2g")
    return value.strip().lower()


def positive_number(value: str) -> float:
    """Read a number above 0."""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise ValueError("must be a number above 0")
    return number


def positive_integer(value: str) -> int:
    """Read a whole number above 0."""
    if not value.strip().isdecimal() or int(value) == 0:
        raise ValueError("must be a whole number above 0")
    return int(value)


def count_or_auto(value: str) -> int | None:
    """Read a whole number, or `auto`, which is None."""
    if value.strip().lower() == "auto":
        return None
    if not value.strip().isdecimal():
        raise ValueError("must be a whole number, or auto")
    return int(value)


def patterns(value: str) -> tuple[str, ...]:
    """Read regular expressions, one a line."""
    found = tuple(line.strip() for line in value.splitlines() if line.strip())
    for pattern in found:
        try:
            matches_nothing = re.compile(pattern).match("")
        except re.error as error:
            raise ValueError(f"must be regular expressions, one a line: {error}") from None
        if matches_nothing:
            raise ValueError(f"must not hold a pattern that matches nothing at all: {pattern}")
    return found


def field_names(value: str) -> tuple[str, ...]:
    """Read names of fields, each with those around it before a dot where that matters."""
    found = names(value)
    for name in found:
        if "" in name.split(".") or any(sign.isspace() for sign in name):
            raise ValueError(f"must be names such as create_time or message.create_time: {name}")
    return found


def path_names(value: str) -> tuple[str, ...]:
    """Read beginnings of URL paths, in whole segments."""
    found = names(value)
    for name in found:
        segments = name.split("/")
        if {".", ".."} & set(segments) or not all(
            re.fullmatch(r"[A-Za-z0-9._~-]+", segment) for segment in segments
        ):
            raise ValueError(f"must be names such as files or messages/batches, not {name}")
    return found


def switch(value: str) -> bool:
    """Read yes or no."""
    word = value.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("must be true or false")
    return word in _TRUE


def names(value: str) -> tuple[str, ...]:
    """Read a list, separated by commas or lines."""
    return tuple(part.strip() for part in re.split(r"[\n,]", value) if part.strip())


def choice(*choices: str) -> Callable[[str], str]:
    """Make a kind of value that is one of these."""

    def parse(value: str) -> str:
        if value not in choices:
            from pytest_agent_sandbox.settings.suggest import did_you_mean

            hint = did_you_mean(value, choices)
            raise ValueError(f"must be one of {', '.join(choices)}. {hint}".rstrip(". "))
        return value

    return parse
