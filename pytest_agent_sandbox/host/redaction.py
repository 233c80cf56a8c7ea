"""Known secret values, replaced wherever they would be shown."""

from __future__ import annotations

import json
import threading

#: The text in a secret's place.
MASK = "***"

#: Shorter values are words that also occur by chance; masking them would garble what is shown.
MIN_LENGTH = 8

#: The depth of JSON inside of JSON: a tool call's arguments in an LLM's answer in a record.
_JSON_LEVELS = 3


class Redactor:
    """The secret values to replace in text; one serves a whole run, and learns as it goes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: tuple[str, ...] = ()

    def add(self, *secrets: str) -> None:
        """Learn values that must never be shown; those shorter than `MIN_LENGTH` are ignored."""
        # Logs and diffs show a key of several lines line by line, and without the line break that a
        # variable may end with.
        parts = [part for value in secrets for part in (value, *value.splitlines())]
        values = {value for part in parts for value in (part, part.strip())}
        spelled = {value for value in values if len(value) >= MIN_LENGTH}
        for _ in range(_JSON_LEVELS):
            # JSON spells quotes, line breaks and what is not ASCII in its own way.
            spelled |= {
                json.dumps(value, ensure_ascii=way)[1:-1]
                for value in spelled
                for way in (False, True)
            }
        with self._lock:
            known = {*self._secrets, *spelled}
            # The longest first: one secret may be part of another.
            self._secrets = tuple(sorted(known, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """Return the text with every known secret masked."""
        return self.count(text)[0]

    def count(self, text: str) -> tuple[str, int]:
        """Return the same, and how many were there."""
        found = 0
        for secret in self._secrets:
            if secret in text:
                found += text.count(secret)
                text = text.replace(secret, MASK)
        return text, found
