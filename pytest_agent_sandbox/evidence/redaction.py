"""Known secret values, replaced wherever evidence is written."""

from __future__ import annotations

import json
import threading

#: What stands in a secret's place.
MASK = "***"

#: Shorter values are words that also occur by chance; masking them would garble the evidence.
MIN_LENGTH = 8


class Redactor:
    """Replaces secret values in text; one serves a whole run, and learns as it goes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: tuple[str, ...] = ()

    def add(self, *secrets: str) -> None:
        """Learns values that must never be shown; those shorter than `MIN_LENGTH` are ignored."""
        # A line break at the end of a variable is not sent along; what is shown has none.
        stripped = [value.strip() for value in secrets]
        values = [value for value in [*secrets, *stripped] if len(value) >= MIN_LENGTH]
        # In JSON, a value with quotes, newlines or other than ASCII letters is spelled otherwise.
        spelled = [
            json.dumps(value, ensure_ascii=way)[1:-1] for value in values for way in (False, True)
        ]
        with self._lock:
            known = {*self._secrets, *values, *spelled}
            # The longest first: one secret may be part of another.
            self._secrets = tuple(sorted(known, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """The text with every known secret masked."""
        return self.count(text)[0]

    def count(self, text: str) -> tuple[str, int]:
        """The same, and how many were there."""
        found = 0
        for secret in self._secrets:
            if secret in text:
                found += text.count(secret)
                text = text.replace(secret, MASK)
        return text, found
