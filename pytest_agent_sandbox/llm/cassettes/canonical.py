"""The canonical form of a request, by which recordings are made and found."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
from pytest_agent_sandbox.llm.exchange import Exchange

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
#: What stands in place of a picture's data: no two are the same, as a cursor blinks.
_PICTURE = "<picture>"
_PICTURE_URL = re.compile(r"(data:image/[\w.+-]+(?:;[\w.+=-]+)*;base64,).", re.IGNORECASE)
#: Fields by which a request hands credentials on to tools of the provider.
_SECRET_FIELDS = {"api_key", "authorization", "authorization_token"}


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
    walk = _Walk(normalise)
    if isinstance(body, Mapping):
        content = walk.canonical(
            {name: value for name, value in body.items() if name not in _NAMES_OF_CALLER}
        )
        if isinstance(body.get("model"), str):
            content["model"] = body["model"]  # the day of its release is part of its name
    else:
        content = walk.canonical(body)
    return CanonicalRequest(dialect, method, normalise(path), content)


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
    return {
        name: item if _is_arguments(value, name) else without_tool_output(item)
        for name, item in value.items()
        if name not in dropped
    }


def _picture(owner: Mapping[str, Any], name: str) -> str:
    """What stands for a field that holds a picture's data; empty for other fields."""
    # OpenAI's chat has the URL in an object, its responses have it in the field itself.
    if name in ("image_url", "url"):
        found = _PICTURE_URL.match(owner[name])
        return f"{found[1]}{_PICTURE}" if found else ""
    media_type = owner.get("media_type")
    is_picture = isinstance(media_type, str) and media_type.lower().startswith("image/")
    if name == "data" and owner.get("type") == "base64" and is_picture:
        return _PICTURE
    return ""


def _is_arguments(owner: Mapping[str, Any], name: str) -> bool:
    """Whether a field holds a tool's arguments, in which names mean whatever the tool says."""
    return name == "input" and str(owner.get("type")).endswith("tool_use")


class _Walk:
    """One pass over a request: ids are counted in the order in which they turn up."""

    def __init__(self, normalise: Normaliser) -> None:
        self._normalise = normalise
        self._ids: dict[str, str] = {}

    def canonical(self, value: Any, *, plain: bool = False) -> Any:
        """The value without what differs from run to run.

        Args:
            value: Any JSON.
            plain: Whether fields called `id` and the like may be anything, as in arguments.
        """
        match value:
            case str():
                return self._normalise(value)
            case list():
                return [self.canonical(item, plain=plain) for item in value]
            case dict():
                return self._object(value, plain=plain)
        return value

    def _object(self, value: dict[str, Any], *, plain: bool) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for name in value:
            normalised = self._normalise(name)
            while normalised in content:  # two dates, for example, are one name now
                normalised += "'"
            content[normalised] = self._field(value, name, plain=plain)
        return content

    def _field(self, owner: dict[str, Any], name: str, *, plain: bool) -> Any:
        value = owner[name]
        if isinstance(value, str) and not plain:
            if name in _ID_FIELDS:
                return self._ids.setdefault(value, f"id-{len(self._ids) + 1}")
            if name in _SIGNATURE_FIELDS or (
                name == "data" and owner.get("type") == "redacted_thinking"
            ):
                return "<signature>"
            if picture := _picture(owner, name):
                return picture
            if name.lower() in _SECRET_FIELDS:
                return "<secret>"
        # Not in the schema of a tool's parameters, one of which may be called so.
        if isinstance(value, dict) and name == "headers" and owner.get("type") == "mcp":
            return dict.fromkeys(value, "<secret>")
        return self.canonical(value, plain=plain or _is_arguments(owner, name))


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
