"""The ways in which programs spell a secret value: in JSON, in base64, in addresses."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from urllib.parse import quote

#: The depth of JSON inside of JSON: a tool call's arguments in an LLM's answer in a record.
_JSON_LEVELS = 3

#: What libraries leave as it is beside letters, digits and `_.-~`: nothing, Python's default,
#: JavaScript's for a part of an address and for a whole one, and RFC 3986's for its user, its path
#: and its query.
_SAFE = (
    "",
    "/",
    "!'()*",
    ";,/?:@&=+$!*'()#",
    "!$&'()*+,;=",
    "!$&'()*+,;=:@/",
    "!$&'()*+,;=:@/?",
)
_PERCENT = re.compile("%[0-9A-F]{2}")

#: The letters of base64 at the front that depend on what stands before the value too.
_SHARED_LETTERS = {0: 0, 1: 2, 2: 3}
_BITS_OF_A_LETTER = 6
#: The bytes of a line of base64 as `base64`, `openssl` and PEM wrap it.
_LINES = (57, 48)


def spellings(value: str) -> set[str]:
    """Return how a value may be spelled, itself included."""
    return {*_in_json(value), *_in_base64(value), *_percent_encoded(value)}


def _in_json(value: str) -> set[str]:
    """Spell quotes, line breaks and what is not ASCII in JSON's way, as often as it is nested."""
    spelled = {value}
    for _ in range(_JSON_LEVELS):
        spelled |= {
            json.dumps(one, ensure_ascii=way)[1:-1] for one in spelled for way in (False, True)
        }
    return spelled


def _in_base64(value: str) -> Iterator[str]:
    """Spell it in base64: alone, in lines, and as part of a text, such as `user:password`."""
    data = value.encode("utf-8", "surrogatepass")
    for altchars in (b"+/", b"-_"):
        for before, shared in _SHARED_LETTERS.items():
            letters = base64.b64encode(bytes(before) + data, altchars).decode("ascii")[shared:]
            yield letters  # at the text's end
            yield letters.rstrip("=")
            # With more behind it: those that hold bits of nothing but the value.
            yield letters[: (before + len(data)) * 8 // _BITS_OF_A_LETTER - shared]
        for size in _LINES:
            if len(data) > size:
                parts = (data[start : start + size] for start in range(0, len(data), size))
                yield from (base64.b64encode(part, altchars).decode("ascii") for part in parts)


def _percent_encoded(value: str) -> Iterator[str]:
    data = value.encode("utf-8", "surrogatepass")
    for safe in _SAFE:
        encoded = quote(data, safe=safe)
        for spelled in (encoded, encoded.replace("%20", "+"), encoded.replace("~", "%7E")):
            yield spelled
            yield _PERCENT.sub(lambda found: found[0].lower(), spelled)
