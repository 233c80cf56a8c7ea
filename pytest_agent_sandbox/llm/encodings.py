"""The encodings of an answer's body, such as gzip: which of them can be undone here."""

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


def decoded(chunks: AsyncIterator[bytes], encodings: Sequence[str]) -> AsyncIterator[bytes]:
    """A body as it reads, as soon as its pieces come.

    Args:
        chunks: The body as it came.
        encodings: In the order in which they were applied; all of them can be undone here.

    Raises:
        httpx.DecodingError: While it is read: the body is not encoded so.
    """
    for name in reversed(encodings):
        chunks = _gunzipped(chunks) if name == "gzip" else _by_httpx(chunks, name)
    return chunks


async def _gunzipped(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """All members of a gzip; httpx reads the first one alone."""
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
