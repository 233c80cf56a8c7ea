"""The canonical form of a request, by which recordings are made and found."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
from pytest_agent_sandbox.llm.exchange import Exchange

#: Fields of a request that name the conversation or its user, and change no answer.
_NAMES_OF_CALLER = {
    "client_metadata",
    "metadata",
    "prompt_cache_key",
    "safety_identifier",
    "user",
}
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
#: Replaces a picture's data: no two screenshots are the same, for a cursor blinks.
_PICTURE = "<picture>"
_PICTURE_FIELDS = {"data", "image_url", "url"}
_PICTURE_URL = re.compile(r"(data:image/[\w.+-]+(?:;[\w.+=-]+)*;base64,).", re.IGNORECASE)
#: Fields by which a request hands credentials on to tools of the provider.
_SECRET_FIELDS = {"api_key", "authorization", "authorization_token"}
#: Fields that hold a JSON schema, as that of a tool's parameters.
_SCHEMA_FIELDS = {"parameters", "input_schema", "schema", "guided_json"}
#: Fields of a schema whose values are examples, not schemas.
_SCHEMA_VALUES = {"const", "default", "enum", "example", "examples"}
#: Fields that hold a tool's arguments, or lists of such; some servers take an object for the text.
_ARGUMENTS_FIELDS = {"arguments", "input_examples"}
#: Fields of a request that hold what is said.
_MESSAGES = {"input", "messages", "system"}
#: Names of fields whose numbers are times, and the years 2023 to 2030 in seconds since 1970.
_TIME_FIELD = re.compile(r"(?:^|_)(?:time|timestamp|created|updated|started|at|ts)(?:_ms)?$")
_TIMES = (1_700_000_000, 1_920_000_000)

#: Characters of a request in which something is looked for that differs from run to run: more than
#: any model reads. The rest is left as it is, but for secrets.
_MOST_NORMALISED = 8 * 1024 * 1024

#: The part of a request that a value is in: the `request` itself, its `messages`, or its other
#: fields, the `settings`. In `arguments` and in a `schema`, names mean whatever a tool says.
_Part = Literal["request", "messages", "settings", "arguments", "schema"]
_OF_TOOLS = ("arguments", "schema")


@dataclass(frozen=True)
class _Place:
    """The place of a value in a request."""

    #: The names of the fields around it, each after a dot.
    path: str
    part: _Part
    #: If the value is in arguments or a schema: where in the path the name of those begins.
    entry: int | None = None


_OUTSIDE = _Place("", "request")


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
        """A hash that is equal for requests that mean the same."""
        return _digest([self.dialect, self.method, self.path, self.body])

    @cached_property
    def skeleton(self) -> str:
        """A hash that is equal for requests that differ in nothing but what tools printed."""
        return _digest([self.dialect, self.method, self.path, without_tool_output(self.body)])


def request_as_it_came(exchange: Exchange) -> CanonicalRequest:
    """Return the request of an exchange, still with all that differs from run to run."""
    path = f"{exchange.path}?{exchange.query}" if exchange.query else exchange.path
    body = exchange.content or exchange.body.decode("utf-8", "backslashreplace")
    return CanonicalRequest(exchange.dialect.name, exchange.method, path, body)


def canonical_request(request: CanonicalRequest, normalise: Normaliser) -> CanonicalRequest:
    """Return the canonical form of a request."""
    return canonical(request.dialect, request.method, request.path, request.body, normalise)


def canonical(
    dialect: str, method: str, path: str, body: Any, normalise: Normaliser
) -> CanonicalRequest:
    """Return the canonical form of a request, which may be in this form already."""
    walk = _Walk(normalise)
    if isinstance(body, Mapping):
        content = walk.canonical(
            {name: value for name, value in body.items() if name not in _NAMES_OF_CALLER}
        )
        if isinstance(body.get("model"), str):
            content["model"] = body["model"]  # the day of its release is part of its name
        if isinstance(content.get("tools"), list):  # MCP servers start in any order
            content["tools"] = sorted(content["tools"], key=as_text)
    else:
        content = walk.canonical(body)
    return CanonicalRequest(dialect, method, normalise(path), content)


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two canonical pieces of JSON are equal. Python's own `==` takes 1 for True."""
    return as_text(one) == as_text(other)


def without_tool_output(value: Any) -> Any:
    """Return a canonical body without what tools printed, in any dialect."""
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
    """Return the placeholder for a field with a picture's data; empty for other fields."""
    if name not in _PICTURE_FIELDS:
        return ""
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
    """Tell whether a field holds a tool's arguments, in which names mean whatever the tool says."""
    if name == "input":
        return str(owner.get("type")).endswith("tool_use")
    return name in _ARGUMENTS_FIELDS


class _Walk:
    """One pass over a request: ids are counted in the order in which they turn up."""

    def __init__(self, normalise: Normaliser) -> None:
        self._normalise = normalise
        self._ids: dict[str, str] = {}
        self._left = _MOST_NORMALISED

    def canonical(self, value: Any, place: _Place = _OUTSIDE) -> Any:
        """Return any JSON without what differs from run to run."""
        match value:
            case str():
                return self._text(value)
            case float() if value.is_integer():
                return int(value)  # 1.0 and 1 are the same number
            case list():
                return [self.canonical(item, place) for item in value]
            case dict():
                return self._object(value, place)
        return value

    def _text(self, text: str) -> str:
        self._left -= len(text)
        return self._normalise(text) if self._left >= 0 else self._normalise.scrub(text)

    def _object(self, value: dict[str, Any], place: _Place) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for name, item in value.items():
            path = f"{place.path}.{name}"
            if self._normalise.ignores(name, path, place.entry):
                continue
            # In these parts, a field that is null counts as missing.
            if item is None and place.part in ("request", "messages"):
                continue
            normalised = self._text(name)
            while normalised in content:  # two names with dates, for example, have become one
                normalised += "'"
            content[normalised] = self._field(value, name, place)
        return content

    def _field(self, owner: dict[str, Any], name: str, place: _Place) -> Any:
        value, part = owner[name], place.part
        if part != "arguments":
            found = self._by_name(owner, name) if isinstance(value, str) else None
            if found is not None:
                return found
            # Not in the schema of a tool's parameters, one of which may be called so.
            if isinstance(value, dict) and name == "headers" and owner.get("type") == "mcp":
                return dict.fromkeys(value, "<secret>")
        if part not in _OF_TOOLS and _is_time(name, value):
            return "<date>"
        inner = _inner(owner, name, place)
        content = self.canonical(value, inner)
        if inner.part == "schema" and name == "required" and isinstance(content, list):
            return sorted(content, key=as_text)
        return content

    def _by_name(self, owner: dict[str, Any], name: str) -> str | None:
        """Return the placeholder that a field's name calls for; None if the text stays."""
        value = owner[name]
        if name in _ID_FIELDS:
            return self._ids.setdefault(value, f"id-{len(self._ids) + 1}")
        if name in _SIGNATURE_FIELDS or (
            name == "data" and owner.get("type") == "redacted_thinking"
        ):
            return "<signature>"
        if name.lower() in _SECRET_FIELDS:
            return "<secret>"
        return _picture(owner, name) or None


def _inner(owner: Mapping[str, Any], name: str, place: _Place) -> _Place:
    """Return the place of a field's value."""
    path = f"{place.path}.{name}"
    part = _part_of(owner, name, path, place.part)
    is_entered = part in _OF_TOOLS and place.entry is None
    return _Place(path, part, len(place.path) if is_entered else place.entry)


def _part_of(owner: Mapping[str, Any], name: str, path: str, around: _Part) -> _Part:
    if around == "arguments":
        return around
    if around == "schema":
        # A property may be called so; what it is set to has no schema.
        is_value = name in _SCHEMA_VALUES and not path.endswith(f".properties.{name}")
        return "arguments" if is_value else around
    if _is_arguments(owner, name):
        return "arguments"
    is_schema = name in _SCHEMA_FIELDS or path.endswith(".structured_outputs.json")
    if is_schema and isinstance(owner[name], dict):
        return "schema"
    if around == "request":
        return "messages" if name in _MESSAGES else "settings"
    return around


def _is_time(name: str, value: Any) -> bool:
    """Tell by a field's name and a number's size whether it is a time since 1970, in s or ms."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return bool(_TIME_FIELD.search(name)) and any(
        first <= value < last for first, last in (_TIMES, [1000 * time for time in _TIMES])
    )


def as_text(value: Any) -> str:
    """Return JSON as text; equal values give equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _digest(value: Any) -> str:
    return hashlib.sha256(as_text(value).encode("ascii")).hexdigest()
