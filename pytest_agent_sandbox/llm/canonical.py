"""The canonical form of a request, by which recordings are made and found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pytest_agent_sandbox.llm.exchange import Exchange
from pytest_agent_sandbox.llm.normalising import Normaliser

#: Fields of a request that name the conversation or its user, and change no answer.
_NAMES_OF_CALLER = {"prompt_cache_key", "safety_identifier", "user", "metadata"}
#: Fields that hold an id made by the provider: what matters is which of them are the same.
_ID_FIELDS = {
    "id",
    "call_id",
    "item_id",
    "previous_response_id",
    "response_id",
    "tool_call_id",
    "tool_use_id",
}
#: Fields that prove to a provider that reasoning is its own.
_SIGNATURE_FIELDS = {"encrypted_content", "signature", "thought_signature"}


@dataclass(frozen=True)
class CanonicalRequest:
    """A request as it would be worded in any other run."""

    dialect: str
    method: str
    #: Below `/v1`, with its query.
    path: str
    #: The JSON body without what differs from run to run, or the text of a body of another kind.
    body: Any

    @cached_property
    def key(self) -> str:
        """The same for requests that mean the same."""
        return _digest([self.dialect, self.method, self.path, self.body])

    @cached_property
    def skeleton(self) -> str:
        """The same for requests that differ in nothing but what tools printed."""
        return _digest([self.dialect, self.method, self.path, without_tool_output(self.body)])


def canonical_request(exchange: Exchange, normalise: Normaliser) -> CanonicalRequest:
    """The canonical form of a request that has come in."""
    path = f"{exchange.path}?{exchange.query}" if exchange.query else exchange.path
    body = exchange.content or exchange.body.decode("utf-8", "backslashreplace")
    return canonical(exchange.dialect.name, exchange.method, path, body, normalise)


def canonical(
    dialect: str, method: str, path: str, body: Any, normalise: Normaliser
) -> CanonicalRequest:
    """The canonical form of a request, also of one that was in this form before."""
    if isinstance(body, Mapping):
        body = {name: value for name, value in body.items() if name not in _NAMES_OF_CALLER}
    return CanonicalRequest(
        dialect, method, normalise(path), _Walk(normalise).canonical(body, ids=True)
    )


def without_tool_output(value: Any) -> Any:
    """A canonical body without what tools printed, in any dialect."""
    if isinstance(value, list):
        return [without_tool_output(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("type")
    dropped: set[str] = set()
    if value.get("role") == "tool" or kind == "tool_result":
        dropped = {"content", "is_error"}
    elif isinstance(kind, str) and kind.endswith("_output"):
        dropped = {"output"}
    return {name: without_tool_output(item) for name, item in value.items() if name not in dropped}


class _Walk:
    """One pass over a request: ids are counted in the order in which they turn up."""

    def __init__(self, normalise: Normaliser) -> None:
        self._normalise = normalise
        self._ids: dict[str, str] = {}

    def canonical(self, value: Any, *, ids: bool) -> Any:
        """The value without what differs from run to run.

        Args:
            value: Any JSON.
            ids: Whether fields called `id` hold ids; in a tool's arguments they may be anything.
        """
        match value:
            case str():
                return self._normalise(value)
            case list():
                return [self.canonical(item, ids=ids) for item in value]
            case dict():
                return {name: self._field(value, name, ids=ids) for name in value}
        return value

    def _field(self, owner: dict[str, Any], name: str, *, ids: bool) -> Any:
        value = owner[name]
        if isinstance(value, str):
            if ids and name in _ID_FIELDS:
                return self._ids.setdefault(value, f"id-{len(self._ids) + 1}")
            if name in _SIGNATURE_FIELDS or (
                name == "data" and owner.get("type") == "redacted_thinking"
            ):
                return "<signature>"
        is_arguments = name == "input" and owner.get("type") == "tool_use"
        return self.canonical(value, ids=ids and not is_arguments)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
