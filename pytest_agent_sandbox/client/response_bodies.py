"""The bodies of HTTP answers: read whole, within limits, and what an error's body says."""

from __future__ import annotations

import time
from typing import Any

import httpx

from pytest_agent_sandbox.client.answers import as_text, decode
from pytest_agent_sandbox.errors import ServerError

_DETAIL_LIMIT = 2000
# Bytes of a body that are kept in memory.
_LARGEST_BODY = 1024**3
# The same of a JSON document, which takes several times as much once it is decoded.
_LARGEST_JSON = 256 * 1024**2
# Seconds that an answer may take once it has begun, where its request has no earlier end.
_LONGEST_ANSWER = 900.0
# Headers that tell how a body was sent, rather than what it is.
_OF_THE_WIRE = ("content-encoding", "content-length", "transfer-encoding")


def read_whole(response: httpx.Response) -> httpx.Response:
    """Read an answer to its end.

    Args:
        response: The answer.

    Returns:
        The same answer with its body.

    Raises:
        ServerError: It is too large, is packed, or takes too long.
    """
    check_plain(response)
    pieces = []
    size = 0
    deadline = time.monotonic() + _LONGEST_ANSWER
    what = f"{response.request.method} {response.request.url.path}"
    for piece in response.iter_raw():
        size += len(piece)
        if size > _LARGEST_BODY:
            raise ServerError(
                f"{what} was answered with over {_LARGEST_BODY:,} bytes. Large files are for "
                "`download`."
            )
        if time.monotonic() > deadline:
            raise ServerError(f"{what} was still answering after {_LONGEST_ANSWER:g} s.")
        pieces.append(piece)
    headers = [pair for pair in response.headers.multi_items() if pair[0] not in _OF_THE_WIRE]
    return httpx.Response(
        response.status_code, headers=headers, content=b"".join(pieces), request=response.request
    )


def check_plain(response: httpx.Response) -> None:
    """Check that a body is not packed, which nobody has asked for.

    Raises:
        ServerError: It is.
    """
    packed = response.headers.get("content-encoding", "identity").strip().lower()
    if packed not in ("", "identity"):
        request = response.request
        raise ServerError(
            f"{request.method} {request.url.path} was answered in the encoding {packed!r:.80}, "
            "which was not asked for."
        )


def decoded(response: httpx.Response) -> Any:
    """Return the JSON document that an answer is.

    Raises:
        ServerError: It is too large.
        ValueError: It is none.
    """
    if len(response.content) > _LARGEST_JSON:
        request = response.request
        raise ServerError(
            f"{request.method} {request.url.path} was answered with {len(response.content):,} "
            "bytes of JSON."
        )
    return decode(response.content)


def error_detail(response: httpx.Response) -> str:
    """Return what an error's body says, in one readable string; empty if it says nothing."""
    try:
        body = decode(response.content)
    except ValueError:
        return response.text.strip()[:_DETAIL_LIMIT]
    detail = body.get("detail", body) if isinstance(body, dict) else body
    if isinstance(detail, list):  # a refused body: one entry for each field
        detail = "; ".join(_field_error(entry) for entry in detail)
    text = as_text(detail)
    cause = body.get("exception") if isinstance(body, dict) else None
    if isinstance(cause, str) and cause not in text:
        text = f"{text}: {cause}"
    return text[:_DETAIL_LIMIT]


def _field_error(entry: Any) -> str:
    if not isinstance(entry, dict) or not isinstance(entry.get("loc"), list):
        return as_text(entry)
    place = ".".join(as_text(part) for part in entry["loc"])
    return f"{place}: {as_text(entry.get('msg', entry))}"
