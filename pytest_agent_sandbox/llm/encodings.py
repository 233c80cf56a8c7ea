"""The encodings of an answer's body, such as gzip: which of them can be undone here."""

from __future__ import annotations

import gzip
import zlib
from functools import cache

import httpx

_NONE = "identity"
#: Names by which old servers call an encoding.
_OTHER_NAMES = {"x-gzip": "gzip"}
#: An "x" in each encoding that httpx knows. Brotli and Zstandard it knows where a library of theirs
#: is installed; of those that it does not know it says nothing, and leaves the body as it is.
_PROBE = b"x"
_PROBES = {
    "gzip": gzip.compress(_PROBE),
    "deflate": zlib.compress(_PROBE),
    "br": bytes.fromhex("0b00807803"),
    "zstd": bytes.fromhex("28b52ffd200109000078"),
}


def encodings_of(headers: httpx.Headers) -> list[str]:
    """The encodings of a body, in the order in which they were applied; none for a plain one."""
    listed = headers.get_list("content-encoding", split_commas=True)
    names = [name.strip().lower() for name in listed]
    return [_OTHER_NAMES.get(name, name) for name in names if name not in ("", _NONE)]


def can_decode(encodings: list[str]) -> bool:
    """Whether all of them can be undone here."""
    return all(map(_is_known, encodings))


def told(encodings: str) -> str:
    """Why a body cannot be read, and what to do about it, as the rest of a sentence."""
    return (
        f"its content-encoding is {encodings}, although none was asked for, and that cannot be "
        "undone here. For br and zstd, pip install 'httpx[brotli,zstd]'"
    )


@cache
def _is_known(name: str) -> bool:
    if name not in _PROBES:
        return False
    try:
        return (
            httpx.Response(200, headers={"content-encoding": name}, content=_PROBES[name]).content
            == _PROBE
        )
    except httpx.DecodingError:
        return False
