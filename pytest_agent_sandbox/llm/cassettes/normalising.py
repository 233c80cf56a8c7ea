"""What two runs of a test word differently although they mean the same: dates, ids, ports."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

_WEEKDAY = r"(?:Mon|Tue(?:s)?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?"
_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_DAY = r"[0-3]?\d"
_YEAR = r"(?:19|20)\d\d"
_SECONDS = r":[0-5]\d(?:[.,]\d+)?"
_TIME = rf"[0-2]?\d:[0-5]\d(?:{_SECONDS})?(?: [AP]M)?"
_ZONE = r"(?: ?(?:Z|UTC|GMT|BST|IST|JST|[CEMP][DS]T|[CEW]ES?T|[+-]\d\d:?\d\d))?"
_DATES = (
    # 2026-11-24, 2026-11-24T13:30:22.123Z, 2026-11-24 13:30:22 +0100
    rf"{_YEAR}-[01]\d-[0-3]\d(?:[T ]{_TIME}{_ZONE})?",
    # Nov 24 13:30:22 UTC 2026, as `date` prints it
    rf"{_MONTH} +{_DAY} [0-2]?\d:[0-5]\d{_SECONDS}(?: [AP]M)?{_ZONE} {_YEAR}",
    # Nov 24 13:30, as `ls` and logs print it
    rf"{_MONTH} +{_DAY} {_TIME}{_ZONE}",
    # Nov 24, 2026 and November 24 2026, with a time or without one
    rf"{_MONTH} +{_DAY},? +{_YEAR}(?:,? {_TIME}{_ZONE})?",
    # 24 November 2026 and 24 Nov 2026 13:30:22 +0000, as e-mail and HTTP write them
    rf"{_DAY}\.? {_MONTH} {_YEAR}(?:,? {_TIME}{_ZONE})?",
)
#: Times without a day, and seconds or milliseconds since 1970, of the years 2023 to 2030.
_TIMES = (rf"[0-2]\d:[0-5]\d{_SECONDS}", r"1(?:[78]\d|9[01])\d{7}(?:\d{3}|\.\d+)?")
_PATTERNS = {
    "uuid": r"\b(?:[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-f]{32})\b",
    "date": rf"\b(?:{_WEEKDAY},? )?(?:{'|'.join(_DATES)})\b(?: \({_WEEKDAY}\))?"
    rf"|\b(?:{'|'.join(_TIMES)})\b",
    # What a test runner says it took: in 0.12s, in 61.23s (0:01:01)
    "duration": r"(?<=\bin )\d+\.\d+ ?s(?:econds?)?\b(?: \(\d+:\d\d:\d\d\))?",
    # Ports that an engine or a system hands out, which are never the same twice
    "port": r"(?:(?<=localhost:)|(?<=127\.0\.0\.1:)|(?<=0\.0\.0\.0:)|(?<=docker\.internal:))"
    r"(?:3[2-9]\d{3}|[45]\d{4}|6[0-5]\d{3})\b",
    "path": r"/tmp/(?:tmp(?:[a-z0-9_]{8}|\.[A-Za-z0-9]{6,10})"  # noqa: S108
    r"|pytest-of-\w+/pytest-\d+(?:/popen-gw\d+)?)\b",
    # The browser's tool names the file of a screenshot by the hash of what it shows.
    "picture": r"(?<=\bbrowser_screenshot_)[0-9a-f]{8}(?=\.(?:png|jpe?g|gif|webp)\b)",
    # More than 32 bits: those may as well be a constant.
    "address": r"\b0x[0-9a-f]{9,16}\b",
}


#: What stands in the place of something; the user's patterns are not for these.
_PLACEHOLDER = re.compile(
    rf"(<(?:{'|'.join(_PATTERNS)}|container|folder|gateway|host|mac|secret|signature|volatile)>)"
)


class Normaliser:
    """Puts a name, such as `<date>`, in the place of what differs from run to run.

    Doing it twice changes nothing more. It may be used from any thread.

    Args:
        scrub: Masks the secrets in a text.
        patterns: Regular expressions of the user's own, for `<volatile>`.
        known: Names of values that are known to differ: `{"3f2a9c417d05": "host"}`.
    """

    def __init__(
        self,
        scrub: Callable[[str], str] = str,
        patterns: Iterable[str] = (),
        known: Mapping[str, str] | None = None,
    ) -> None:
        self._scrub = scrub
        self._own = [re.compile(pattern) for pattern in patterns]
        self._usual = re.compile("|".join(f"(?P<{n}>{p})" for n, p in _PATTERNS.items()))
        self._known: dict[str, str] = {}
        self._values: re.Pattern[str] | None = None
        # A conversation says all that it said before with every request.
        self._cache: dict[str, str] = {}
        self.learn(known or {})

    def learn(self, known: Mapping[str, str]) -> None:
        """More values that are known to differ."""
        self._known |= {value: name for value, name in known.items() if value}
        values = "|".join(re.escape(value) for value in sorted(self._known, key=len, reverse=True))
        # Not inside of a longer word or number: 172.17.0.2 is not in 172.17.0.25.
        self._values = re.compile(rf"(?<!\w)(?:{values})(?!\w)") if values else None
        self._cache = {}  # another thread may be filling the old one

    def __call__(self, text: str) -> str:
        """The text as it would be worded in any other run."""
        text = self._scrub(text)  # each time: more secrets may be known by now
        cache = self._cache
        if text not in cache:
            cache[text] = self._normalised(text)
        return cache[text]

    def scrub(self, text: str) -> str:
        """The text without secrets, and otherwise as it is."""
        return self._scrub(text)

    def _normalised(self, text: str) -> str:
        if self._values is not None:
            text = self._values.sub(lambda match: f"<{self._known[match[0]]}>", text)
        for pattern in self._own:
            parts = _PLACEHOLDER.split(text)
            parts[::2] = [pattern.sub("<volatile>", part) for part in parts[::2]]
            text = "".join(parts)
        return self._usual.sub(lambda match: f"<{match.lastgroup}>", text)
