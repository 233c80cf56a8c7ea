"""The door: what a lane's token opens. A path is read once, here, before anything acts on it.

Each dialect names its own paths. Nothing else below the provider's address is within reach of the
key, unless a setting names it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_agent_sandbox.llm.dialects import DIALECTS, dialect_of
from pytest_agent_sandbox.llm.dialects.dialect import Dialect
from pytest_agent_sandbox.llm.dialects.foreign import spoken
from pytest_agent_sandbox.llm.exchange import REFUSED, UNSPOKEN, Refusal
from pytest_agent_sandbox.llm.strict_json import (
    UnclearJSONError,
    has_too_many,
    read_object,
    too_many,
)

PREFIX = "/v1"
#: Two libraries read the same variable; one of them adds the prefix, and the other does not.
_WITHOUT_PREFIX = {dialect.path for dialect in DIALECTS}

#: Nothing that two programs could read differently: no escapes, no empty segments, no parameters.
_SEGMENT = r"/[A-Za-z0-9._~:@+=,-]+"
_PATH = re.compile(rf"(?:{_SEGMENT})+")
_CLIMBS = {".", ".."}
#: Printable ASCII without the sign that begins a fragment.
_QUERY = re.compile(r'[!"$-~]*')
#: The models, or one of them, whose name may have its maker before it.
_MODELS = re.compile(rf"/models(?:{_SEGMENT}){{0,2}}")

_COMPLETIONS = {dialect.path for dialect in DIALECTS}
_COUNTS = {dialect.counting for dialect in DIALECTS} - {""}
_BESIDE = {path for dialect in DIALECTS for path in dialect.beside}


@dataclass(frozen=True)
class Entry:
    """A request that is let in."""

    #: Below `/v1`.
    path: str
    #: Whether it costs nothing: models are listed, tokens are counted.
    is_free: bool
    #: Whether its body is JSON that is read here, and passed on as it was read.
    is_read: bool = False


def enter(method: str, path: str, query: str, allowed: Collection[str] = ()) -> Entry | Refusal:
    """Let a request in, or say why not.

    Args:
        method: Its method.
        path: Its path as it came, undecoded.
        query: Its query as it came, without the question mark.
        allowed: Beginnings of further paths below `/v1`, in whole segments.
    """
    if not is_below(path):
        message = f"{method} {path} is not here: the base URL ends with /v1, below which there are "
        return Refusal(UNSPOKEN, f"{message}{spoken()}.")
    if problem := _misleading(path, query):
        return Refusal(REFUSED, problem)
    path = path.removeprefix(PREFIX)
    if method == "GET" and _MODELS.fullmatch(path):
        return Entry(path, is_free=True)
    if method == "POST" and path in _COMPLETIONS | _COUNTS | _BESIDE:
        return Entry(path, is_free=path in _COUNTS, is_read=True)
    if any(f"{path}/".startswith(f"/{name}/") for name in allowed):
        return Entry(path, is_free=method == "GET")
    return Refusal(
        UNSPOKEN,
        f"{method} {PREFIX}{path} is not let through to the LLM's provider. There are {spoken()}, "
        f"{', '.join(f'POST {PREFIX}{other}' for other in sorted(_COUNTS | _BESIDE))} and "
        f"GET {PREFIX}/models. The setting llm_allow_paths names further paths, such as files.",
    )


def is_below(path: str) -> bool:
    """Tell whether a path is below the base URL; what else programs ask for is no LLM call."""
    return path.startswith(f"{PREFIX}/") or path in _WITHOUT_PREFIX


def _misleading(path: str, query: str) -> str:
    """Return why two programs might read a path differently; empty if they would not."""
    if not _PATH.fullmatch(path) or not _QUERY.fullmatch(query):
        return (
            "The path holds what none here does: an escape (%), a fragment (#), an empty segment, "
            "or another sign than letters, digits and . _ ~ : @ + = , -"
        )
    if _CLIMBS & set(path.split("/")):
        return "The path holds dots that would lead out of it."
    return ""


def read_body(
    body: bytes, headers: Mapping[str, str], *, is_read: bool
) -> tuple[dict[str, Any] | None, bytes] | Refusal:
    """Read a body as JSON; return it with its text written anew, or why it is refused.

    Args:
        body: The body.
        headers: The request's headers.
        is_read: Whether it has to be JSON; any other stays as it is, and is looked at where it is.
    """
    if not is_read:
        is_object = body.lstrip().startswith(b"{")
        return Refusal(REFUSED, too_many()) if is_object and has_too_many(body) else (None, body)
    try:
        return read_object(body)
    except UnclearJSONError as problem:
        encoding = headers.get("content-encoding", "identity")
        if encoding == "identity":
            return Refusal(REFUSED, str(problem))
        return Refusal(REFUSED, f"The request's body is encoded ({encoding}): send it as JSON.")


def form_of(path: str, headers: Mapping[str, str]) -> Dialect:
    """Return the dialect in which to refuse a request whose path may be any text."""
    path = path.removeprefix(PREFIX)
    for dialect in DIALECTS:
        if re.match(rf"{dialect.path}(?![\w-])", path):
            return dialect
    if "anthropic-version" in headers:  # at a path of no dialect's
        return dialect_of("/messages")
    return dialect_of(path)
