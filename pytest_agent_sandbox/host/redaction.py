"""Known secret values, replaced wherever they would be shown."""

from __future__ import annotations

import threading

from pytest_agent_sandbox.host.spellings import spellings

#: The text in a secret's place.
MASK = "***"

#: Shorter values are words that also occur by chance; masking them would garble what is shown.
MIN_LENGTH = 8

#: A text is looked at in steps: of whatever is as long as `MIN_LENGTH`, one step meets one of the
#: first `_STEP` pieces. So a line costs the same however many secrets a run knows.
_PIECE = 4
_STEP = MIN_LENGTH - _PIECE + 1


class Redactor:
    """The secret values to replace in text; one serves a whole run, and learns as it goes.

    It knows them as JSON, base64 and addresses spell them too, also as parts of longer texts there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[str] = set()
        #: What is to be replaced, by each of its first pieces. Read without the lock.
        self._by_piece: dict[str, tuple[str, ...]] = {}

    def add(self, *secrets: str) -> None:
        """Learn values that must never be shown; those shorter than `MIN_LENGTH` are ignored."""
        # Logs and diffs show a key of several lines line by line, and without the line break that a
        # variable may end with.
        parts = [part for value in secrets for part in (value, *value.splitlines())]
        values = {value for part in parts for value in (part, part.strip())}
        with self._lock:
            for value in values:
                if len(value) >= MIN_LENGTH and value not in self._known:
                    for spelled in spellings(value):
                        self._learn(spelled)

    def _learn(self, spelled: str) -> None:
        if len(spelled) < MIN_LENGTH or spelled in self._known:
            return
        self._known.add(spelled)
        for start in range(_STEP):
            piece = spelled[start : start + _PIECE]
            self._by_piece[piece] = (*self._by_piece.get(piece, ()), spelled)

    def __call__(self, text: str) -> str:
        """Return the text with every known secret masked."""
        return self.count(text)[0]

    def count(self, text: str) -> tuple[str, int]:
        """Return the same, and how many were there."""
        found = 0
        for secret in self._may_be_in(text):
            if secret in text:
                found += text.count(secret)
                text = text.replace(secret, MASK)
        return text, found

    def _may_be_in(self, text: str) -> list[str]:
        """Return all secrets that are in a text and some others: the longest first."""
        known = self._by_piece
        pieces = {
            piece
            for start in range(0, len(text), _STEP)
            if (piece := text[start : start + _PIECE]) in known
        }
        secrets = {secret for piece in pieces for secret in known[piece]}
        # One secret may be part of another.
        return sorted(secrets, key=len, reverse=True)
