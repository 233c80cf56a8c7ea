"""Placeholders for what differs between two runs that mean the same: dates, ids, ports."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

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
_NUMERIC_DATES = (
    # 30/11/2026, 11/30/2026 and 2026/11/30, but not a part of a longer path or number
    rf"(?<![\w/.])(?:[0-3]?\d/[0-3]?\d/{_YEAR}|{_YEAR}/[01]\d/[0-3]\d)(?![\w/])",
    # 30.11.2026, which with fewer digits may as well be a version
    rf"(?<![\w.])[0-3]\d\.[01]\d\.{_YEAR}(?!\w|\.[\d<])",
)
#: A time of day says that it is one by what stands around it; 14:05 alone may be a line of a file.
_CLOCK = (
    r"\b[0-2]?\d:[0-5]\d (?:Z|UTC|GMT|BST|IST|JST|[CEMP][DS]T|[CEW]ES?T)\b",
    r"(?:(?<=[Tt]he time is )|(?<=[Cc]urrent time is )|(?<=[Cc]urrent time: )|(?<=now is )"
    r"|(?<=[Ii]t is now ))[0-2]?\d:[0-5]\d\b(?!:)",
)
#: A time of day with AM or PM. It counts only after a date: elsewhere it may be one that somebody
#: asks for.
_HALF_DAY_TIME = r"[0-2]?\d:[0-5]\d [AaPp][Mm]\b"
#: Words after which a duration in fractions of a second was measured, not asked for.
_TOOK = ("took ", "took: ", "elapsed: ")
_DONE = (
    *("built in ", "compiled in ", "completed in ", "executed in ", "finished in "),
    *("generated in ", "installed in ", "passed in ", "ran in ", "resolved in "),
)
_SHORT_TIME = (
    r"(?:\d+(?:\.\d+)? ?(?:[mµun]s|m(?:illi)?sec(?:ond)?s?)|\d+\.\d+ ?(?:s|sec|seconds?))\b"
)


def _after(*words: str) -> str:
    """Return a pattern for what follows any of some words, in either case of the first letter."""
    ways = (f"(?<=[{word[0].upper()}{word[0]}]{re.escape(word[1:])})" for word in words)
    return f"(?:{'|'.join(ways)})"


_HASH = r"[0-9a-f]{7,40}"
#: A hash that is neither a number nor a word.
_SURE_HASH = rf"(?=[a-f]*\d)(?=\d*[a-f]){_HASH}"
#: What `git commit` prints before the hash. Any name may be that of a branch, or the tracker's
#: before a number: `[ticket 1234567]`.
_COMMITTED = (
    rf"^\[(?:(?:main|master|detached HEAD)(?: \(root-commit\))?|[\w./-]+ \(root-commit\)"
    rf"|[\w./-]+(?= {_SURE_HASH}\] )) "
)
#: Patterns of later releases. They come after the others, which have already been applied to older
#: cassettes.
_LATER_PATTERNS = {
    "date": rf"(?:(?:\b{_WEEKDAY},? )?(?:{'|'.join(_NUMERIC_DATES)})|{'|'.join(_CLOCK)}"
    rf"|(?:(?<=[Tt]oday is )|(?<=[Tt]oday: )){_WEEKDAY}\b"
    rf"|(?:(?<=<date> )|(?<=<date>, )){_HALF_DAY_TIME})(?:,? {_HALF_DAY_TIME})*",
    # took 12 ms, finished in 350ms, and what the shell's `time` prints: 0m0.123s
    "duration": rf"{_after(*_TOOK)}{_SHORT_TIME}|\b\d+m\d+\.\d{{3}}s\b"
    rf"|{_after(*_DONE)}\d+(?:\.\d+)? ?(?:[mµun]s|milliseconds?)\b",
    # ULIDs of the years 2023 to 2030, in either case
    "ulid": r"(?<![0-9A-Za-z])01(?:[GHJKMNPQ][0-9A-HJKMNP-TV-Z]{23}"
    r"|[ghjkmnpq][0-9a-hjkmnp-tv-z]{23})(?![0-9A-Za-z])",
    # Claude Code's mark of each of its requests
    "signature": r"(?<=; cch=)[0-9a-f]{5}(?=;)",
    # A commit's hash where git itself prints it: its log, `commit`, `reset`, `pull` and `push`.
    # Elsewhere it may be one that somebody means.
    "commit": rf"(?m:(?P<kept>{_COMMITTED}){_HASH}(?=\] )"
    rf"|(?<=^commit )[0-9a-f]{{40}}\b|(?<=^Merge: ){_HASH}(?: {_HASH})+\b"
    rf"|(?<=^HEAD is now at ){_HASH}\b"
    rf"|(?<=^Updating ){_HASH}\.\.{_HASH}\b|(?<=^   ){_HASH}\.\.{_HASH}(?=  ))",
}


#: Fields of agents that are known to differ as a whole: Codex says when it has made an item.
_VOLATILE_FIELDS = ("internal_chat_message_metadata_passthrough.create_time",)

#: Characters of a text that is left as it is, but for secrets: it is a file.
_TOO_LONG = 1024 * 1024
#: Characters that are searched while no other thread has its turn: our own patterns take 1 ms for
#: 1 KB of the worst text. No match that counts is longer than the second number.
_STEP = 8 * 1024
_LONGEST_MATCH = 1024
#: Characters of all texts that are remembered.
_REMEMBERED = 16 * 1024 * 1024

#: Placeholders, to which the user's patterns are not applied.
_PLACEHOLDER = re.compile(
    rf"(<(?:{'|'.join(_PATTERNS | _LATER_PATTERNS)}"
    "|container|folder|gateway|host|mac|secret|signature|volatile)>)"
)


class Normaliser:
    """A function that replaces what differs from run to run by a name, such as `<date>`.

    Applying it twice changes nothing more. It may be used from any thread.

    Args:
        scrub: Masks the secrets in a text.
        patterns: Regular expressions of the user's own, for `<volatile>`.
        known: Names of values that are known to differ: `{"3f2a9c417d05": "host"}`.
        fields: Names or dotted paths of fields of requests that are as if they were not there.
    """

    def __init__(
        self,
        scrub: Callable[[str], str] = str,
        patterns: Iterable[str] = (),
        known: Mapping[str, str] | None = None,
        fields: Iterable[str] = (),
    ) -> None:
        self._scrub = scrub
        self._own = [re.compile(pattern) for pattern in patterns]
        self._usual = [_compiled(patterns) for patterns in (_PATTERNS, _LATER_PATTERNS)]
        self._fields = [f".{field}" for field in (*_VOLATILE_FIELDS, *fields)]
        self._last_names = {field.rpartition(".")[2] for field in self._fields}
        self._known: dict[str, str] = {}
        self._values: re.Pattern[str] | None = None
        # Each request of a conversation repeats all earlier texts.
        self._cache: dict[str, str] = {}
        self._room = _REMEMBERED
        self.learn(known or {})

    def learn(self, known: Mapping[str, str]) -> None:
        """Add values that are known to differ."""
        self._known |= {value: name for value, name in known.items() if value}
        values = "|".join(re.escape(value) for value in sorted(self._known, key=len, reverse=True))
        # Not inside of a longer word or number: 172.17.0.2 is not in 172.17.0.25.
        self._values = re.compile(rf"(?<!\w)(?:{values})(?!\w)") if values else None
        self._cache, self._room = {}, _REMEMBERED  # another thread may be filling the old one

    def __call__(self, text: str) -> str:
        """Return the text as it would be worded in any other run."""
        text = self._scrub(text)  # each time: more secrets may be known by now
        if len(text) > _TOO_LONG:
            return text
        cache = self._cache
        known = cache.get(text)
        if known is None:
            known = self._normalised(text)
            self._remember(text, known)
        return known

    def new_in(self, value: Any) -> int:
        """Return how many characters of the texts in some JSON were not met before."""
        match value:
            case str():
                return 0 if value in self._cache else len(value)
            case list():
                return sum(map(self.new_in, value))
            case dict():
                return sum(map(self.new_in, value.values()))
        return 0

    def ignores(self, name: str, path: str, entry: int | None = None) -> bool:
        """Tell whether a field differs from run to run as a whole.

        Args:
            name: The field's name.
            path: The names of the fields around it and its own, each after a dot; lists are left
                out.
            entry: If it is in a tool's arguments or schema: where in the path the name of those
                begins. A name in there means something else, unless the user's path leads into it.
        """
        if name not in self._last_names:
            return False
        fields = [field for field in self._fields if path.endswith(field)]
        return any(entry is None or len(path) - len(field) <= entry for field in fields)

    def scrub(self, text: str) -> str:
        """Return the text without secrets, and otherwise as it is."""
        return self._scrub(text)

    def _remember(self, text: str, normalised: str) -> None:
        self._room -= len(text)
        if self._room < 0:
            self._cache, self._room = {}, _REMEMBERED - len(text)
        if self._room >= 0:
            self._cache[text] = normalised

    def _normalised(self, text: str) -> str:
        if self._values is not None:
            longest = max(map(len, self._known)) + 1
            text = _replaced(
                self._values, lambda match: f"<{self._known[match[0]]}>", text, longest
            )
        for pattern in self._own:
            text = _without_own(pattern, text)
        for usual in self._usual:
            text = _replaced(usual, _named, text, _LONGEST_MATCH)
        return text


def _without_own(pattern: re.Pattern[str], text: str) -> str:
    parts = _PLACEHOLDER.split(text)
    parts[::2] = [pattern.sub("<volatile>", part) for part in parts[::2]]
    return "".join(parts)


def _replaced(
    pattern: re.Pattern[str], by: Callable[[re.Match[str]], str], text: str, longest: int
) -> str:
    """Do what `pattern.sub(by, text)` does, in steps between which other threads have their turn.

    Args:
        pattern: Matches no empty text.
        by: Returns what replaces a match.
        text: The text.
        longest: Characters of the longest match, and of what it looks at behind itself.
    """
    parts, done, start = [], 0, 0
    while start < len(text):
        stop = start + _STEP
        for match in pattern.finditer(text, start, stop + longest):
            if match.start() >= stop:
                break
            parts += [text[done : match.start()], by(match)]
            done = match.end()
        start = max(stop, done)
    return "".join([*parts, text[done:]])


def _compiled(patterns: Mapping[str, str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in patterns.items()))


def _named(match: re.Match[str]) -> str:
    return f"{match.groupdict().get('kept') or ''}<{match.lastgroup}>"
