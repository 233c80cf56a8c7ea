"""The tools that a request offers, and whether a scripted call fits them.

A request comes out of a sandbox: nothing in a schema is looked up, and no pattern in it is tried.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from pytest_agent_sandbox.llm import asides
from pytest_agent_sandbox.llm.entries import shorten
from pytest_agent_sandbox.llm.replies import LLMRequest, ScriptedToolCall

#: What agents of OpenHands ask of their LLM with each call, and do without.
_ASIDES = frozenset({"summary", "security_risk"})
#: Where the schema of a tool's arguments is: OpenAI's word, and Anthropic's.
_SCHEMAS = ("parameters", "input_schema")
#: What JSON calls the kinds of values; a bool is no number there.
_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
    "null": (type(None),),
}
#: How many tools, arguments and mistakes a message lists, and characters of a name.
_MOST, _LONGEST_NAME = 40, 60
_LONGEST_QUOTE, _LONGEST_PROBLEM = 100, 300


def why_refused(call: ScriptedToolCall, request: LLMRequest) -> str:
    """Say why an agent could not carry out a scripted call; empty if it could.

    Args:
        call: The call.
        request: The agent's request, which names its tools and what arguments they take.
    """
    tools = [*request.tools, *_in_input(request.body)]
    offered = dict(_offered(tools))
    if call.name not in offered and _is_nested(call.name, tools):
        return ""
    if not offered:
        asked = shorten(request.last_message, _LONGEST_QUOTE)
        return (
            f"calls the tool {call.name!r}, and the request that it answers offers no tools: "
            f"{asked!r}. {asides.ADVICE}"
        )
    if call.name not in offered:
        return (
            f"calls the tool {call.name!r}, which the agent does not have"
            f"{_suggested(call.name, offered)}. Its tools: {_listed(offered)}."
        )
    schema = offered[call.name]
    found = islice(_problems(call.arguments, schema), _MOST)
    problems = [shorten(problem, _LONGEST_PROBLEM) for problem in found]
    if not problems:
        return ""
    return (
        f"calls the tool {call.name!r} with arguments that its schema refuses: "
        f"{'; '.join(problems)}. It takes: {_listed(_known(schema)) or 'none'}."
    )


def _in_input(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the tools that come with the input of OpenAI's responses, as Codex 0.171 sends them."""
    items = body.get("input")
    for item in items if isinstance(items, list) else ():
        tools = item.get("tools") if isinstance(item, dict) else None
        yield from (
            (one for one in tools if isinstance(one, dict)) if isinstance(tools, list) else ()
        )


def _is_nested(name: str, tools: Any) -> bool:
    """Tell whether a tool is one of those that a free-form tool calls, by what that says of itself.

    Codex 0.171 offers one that runs programs, `await tools.exec_command(…)`, and takes calls of
    these by themselves too.
    """
    for tool in tools:
        members = tool.get("tools")
        if isinstance(members, list) and _is_nested(name, filter(_is_object, members)):
            return True
        text = tool.get("description") if tool.get("type") == "custom" else ""
        if isinstance(text, str) and f"tools.{name}(" in text:
            return True
    return False


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _offered(tools: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the names of tools with the schemas of their arguments, empty if there are none."""
    for tool in tools:
        members = tool.get("tools")  # of a namespace of OpenAI's responses
        for one in members if isinstance(members, list) else [tool]:
            if isinstance(one, dict):
                yield from _definition(one)


def _definition(tool: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    inner = tool.get("function")  # in OpenAI's chat completions
    definition = inner if isinstance(inner, dict) else tool
    name = definition.get("name") or tool.get("type")
    schemas = (definition.get(field) for field in _SCHEMAS)
    if isinstance(name, str):
        yield name, next((one for one in schemas if isinstance(one, dict)), {})


def _problems(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    known = _known(schema)
    is_closed = known and not (
        schema.get("additionalProperties") or schema.get("patternProperties")
    )
    for name, value in arguments.items():
        if name in known:
            yield from _problems_of(name, value, known[name])
        elif is_closed and name not in _ASIDES:
            yield f"it has no {name!r}{_suggested(name, known)}"
    for name in _required(schema):
        if name not in arguments and name not in _ASIDES:
            yield f"{_shown(name)} is missing"


def _problems_of(name: str, value: Any, wanted: Any) -> Iterator[str]:
    if not isinstance(wanted, dict):
        return
    kinds = _kinds(wanted)
    if kinds and not any(_is_a(value, kind) for kind in kinds):
        yield f"{name!r} is {shorten(repr(value))}, and not of type {' or '.join(kinds)}"
        return
    choices = wanted.get("enum")
    if isinstance(choices, list) and value not in choices:
        listed = ", ".join(shorten(repr(choice)) for choice in choices[:_MOST])
        yield f"{name!r} is {shorten(repr(value))}, and not one of {listed}"


def _kinds(wanted: Mapping[str, Any]) -> list[str]:
    """Return the types that a value may have; none where anything goes, as far as is known."""
    choices = wanted.get("anyOf")
    parts = choices if isinstance(choices, list) else [wanted]
    kinds = [part.get("type") if isinstance(part, dict) else None for part in parts]
    flat: list[Any] = [
        one for kind in kinds for one in (kind if isinstance(kind, list) else [kind])
    ]
    is_known = all(isinstance(one, str) and one in _KINDS for one in flat)
    return list(dict.fromkeys(flat)) if is_known else []


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, float) and kind == "integer":
        return value.is_integer()
    return isinstance(value, Mapping if kind == "object" else _KINDS[kind])


def _known(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    known = schema.get("properties")
    return known if isinstance(known, dict) else {}


def _required(schema: Mapping[str, Any]) -> list[str]:
    required = schema.get("required")
    return (
        [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
    )


def _listed(names: Mapping[str, Any]) -> str:
    shown = [_shown(name) for name in names if name not in _ASIDES]
    more = len(shown) - _MOST
    return ", ".join([*shown[:_MOST], *([f"… and {more} more"] if more > 0 else [])])


def _shown(name: str) -> str:
    short = shorten(name, _LONGEST_NAME)
    return short if short.isprintable() else repr(short)


def _suggested(name: str, known: Mapping[str, Any]) -> str:
    names = [one for one in islice(known, _MOST) if len(one) <= _LONGEST_NAME]
    near = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
