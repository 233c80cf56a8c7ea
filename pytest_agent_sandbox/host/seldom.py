"""Loggers that say the same only seldom: a sandbox decides how often, and at what length."""

from __future__ import annotations

import logging
import threading
from collections import Counter

#: The most characters of a message, and of a traceback.
LONGEST = 1000
LONGEST_TRACEBACK = 20_000

_FORMATTER = logging.Formatter()
_IN_A_TRACEBACK = "\n\t"


class _Seldom(logging.Filter):
    """Lets pass the first of a kind, then the tenth, the hundredth and so on.

    A kind is what a place in the code logs: the message before anything is put into it. So there
    are no more kinds than such places.

    Args:
        first: How many of a kind pass at first.
    """

    def __init__(self, first: int) -> None:
        super().__init__()
        self._first = first
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def forget(self) -> None:
        """Begin to count anew."""
        with self._lock:
            self._counts.clear()

    def filter(self, record: logging.LogRecord) -> bool:
        with self._lock:
            self._counts[str(record.msg)] += 1
            count = self._counts[str(record.msg)]
        if count > self._first and not _is_power_of_ten(count):
            return False
        text = harmless(record.getMessage(), LONGEST)
        record.msg = text if count <= self._first else f"{text} (the {count:,}th time)"
        record.args = ()
        if record.exc_info:
            trace = _FORMATTER.formatException(record.exc_info)
            record.exc_text = harmless(trace, LONGEST_TRACEBACK, allowed=_IN_A_TRACEBACK)
        return True


_FILTERS: dict[str, _Seldom] = {}


def logger(name: str, first: int = 1) -> logging.Logger:
    """Return the logger of this name, which says the same only seldom from now on.

    Args:
        name: As for `logging.getLogger`.
        first: How many messages of a kind are logged before it becomes seldom.
    """
    found = logging.getLogger(name)
    found.addFilter(_FILTERS.setdefault(name, _Seldom(first)))
    return found


def begin_anew() -> None:
    """Let everything be said once more, as at the beginning of a test."""
    for one in list(_FILTERS.values()):
        one.forget()


def harmless(text: str, longest: int, allowed: str = "") -> str:
    """Return a text without its middle, if it is long, and with control characters spelled out.

    Args:
        text: Anything.
        longest: The most of its characters that are kept.
        allowed: Control characters that stay as they are.
    """
    if len(text) > longest:
        half = longest // 2
        text = f"{text[:half]} … {len(text) - 2 * half:,} characters … {text[-half:]}"
    return "".join(
        letter if letter.isprintable() or letter in allowed else ascii(letter)[1:-1]
        for letter in text
    )


def _is_power_of_ten(count: int) -> bool:
    return str(count).strip("0") == "1"
