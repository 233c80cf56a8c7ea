"""The encodings of an answer's body, such as gzip, and how to undo them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from functools import cache

import httpx

_NONE = "identity"
#: Tells zlib that what comes is gzip.
_GZIP_BITS = zlib.MAX_WBITS | 16
#: Names by which old servers call an encoding.
_OTHER_NAMES = {"x-gzip": "gzip"}
#: An "x" in each encoding that httpx may know. It knows Brotli and Zstandard only if a library for
#: them is installed. A body in an encoding that it does not know it silently leaves as it is.
_PROBE = b"x"
_PROBES = {
    "gzip": gzip.compress(_PROBE),
    "deflate": zlib.compress(_PROBE),
    "br": bytes.fromhex("0b00807803"),
    "zstd": bytes.fromhex("28b52ffd200109000078"),
}


def encodings_of(headers: httpx.Headers) -> list[str]:
    """Return the encodings of a body, in the order in which they were applied."""
    listed = headers.get_list("content-encoding", split_commas=True)
    names = [name.strip().lower() for name in listed]
    return [_OTHER_NAMES.get(name, name) for name in names if name not in ("", _NONE)]


def can_decode(encodings: list[str]) -> bool:
    """Tell whether all of these encodings can be undone here."""
    return all(map(_is_known, encodings))


def decoded(chunks: AsyncIterator[bytes], encodings: Sequence[str]) -> AsyncIterator[bytes]:
    """Yield a body with its encodings undone, as soon as its pieces come.

    Args:
        chunks: The body as it came.
        encodings: The encodings, in the order in which they were applied. All of them have to be
            known here.

    Raises:
        httpx.DecodingError: While the body is read, if it is not encoded so.
    """
    for name in reversed(encodings):
        chunks = _gunzipped(chunks) if name == "gzip" else _by_httpx(chunks, name)
    return chunks


async def _gunzipped(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Decode all members of a gzip; httpx reads only the first one."""
    member = zlib.decompressobj(_GZIP_BITS)
    async for chunk in chunks:
        rest = chunk
        while rest:
            if member.eof:
                rest = rest.lstrip(b"\0")  # padding between members
                if not rest:
                    break
                member = zlib.decompressobj(_GZIP_BITS)
            try:
                content = member.decompress(rest)
            except zlib.error as problem:
                raise httpx.DecodingError(str(problem)) from problem
            if content:
                yield content
            rest = member.unused_data
    if content := member.flush():
        yield content


def _by_httpx(chunks: AsyncIterable[bytes], name: str) -> AsyncIterator[bytes]:
    return httpx.Response(200, headers={"content-encoding": name}, content=chunks).aiter_bytes()


def why_unreadable(encodings: str) -> str:
    """Return why a body cannot be read, and what to do about it, as the rest of a sentence."""
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
