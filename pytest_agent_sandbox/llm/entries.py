"""The entries of a script: a check of each, and its description for messages."""

from __future__ import annotations

import inspect
import json
import math
from dataclasses import astuple, replace
from typing import Any

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.llm.replies import (
    DelayedReply,
    Entry,
    ErrorReply,
    Reply,
    ScriptedToolCall,
)

_LONGEST_DESCRIPTION = 120
#: How many times as many characters are looked at, for white space goes.
_SPLIT = 20


def check_entry(entry: Any, where: str, *, functions: bool = True) -> None:
    """Check an entry, so that a mistake in a script shows before any agent has run.

    Args:
        entry: The entry.
        where: The entry's place, for the message: "Reply 3 of the script".
        functions: Whether the entry may be a function of the request.

    Raises:
        SettingsError: The entry is nothing that an LLM could answer.
    """
    match entry:
        case Reply():
            _check_reply(entry, where)
        case ScriptedToolCall():
            _check_call(entry, where)
        case ErrorReply():
            _check_error(entry, where)
        case DelayedReply():
            seconds = entry.seconds
            if not _is_number(seconds) or not math.isfinite(seconds) or seconds < 0:
                raise SettingsError(f"{where} is delayed by {seconds!r}: give seconds, 0 or more.")
            check_entry(entry.reply, where, functions=functions)
        case _ if functions and callable(entry) and not isinstance(entry, type):
            if inspect.iscoroutinefunction(entry):
                raise SettingsError(f"{where} is an async function: give an ordinary one.")
        case _:
            wanted = "say(...), tool(...), error(...) or delay(...)"
            raise SettingsError(
                f"{where} is {shorten(repr(entry))} ({type(entry).__name__}): give {wanted}"
                + (", or a function of the request." if functions else ".")
            )


def describe(entry: Entry) -> str:
    """Return an entry on one line, in the words that made it."""
    match entry:
        case Reply():
            inner = ", ".join([repr(entry.text), *(describe(call) for call in entry.calls)])
            text = f"say({inner})"
        case ScriptedToolCall():
            given = "".join(f", {name}={value!r}" for name, value in entry.arguments.items())
            text = f"tool({entry.name!r}{given})"
            text = text if entry.is_checked else f"unchecked({text})"
        case ErrorReply():
            text = f"error({entry.status}, {entry.message!r})"
        case DelayedReply():
            text = f"delay({entry.seconds:g}, {describe(entry.reply)})"
        case _:
            text = f"the function {getattr(entry, '__name__', repr(entry))}"
    return shorten(text)


def shorten(text: str, longest: int = _LONGEST_DESCRIPTION) -> str:
    """Return a text on one line of at most so many characters."""
    # Only its beginning is split into words: the rest may be megabytes.
    begin = text[: _SPLIT * longest]
    line = " ".join(begin.split())
    if len(line) <= longest and len(begin) == len(text):
        return line
    return f"{line[: longest - 1]}…"


def _check_reply(reply: Reply, where: str) -> None:
    for name in ("text", "reasoning"):
        if not isinstance(getattr(reply, name), str):
            kind = type(getattr(reply, name)).__name__
            raise SettingsError(f"{where}: its {name} is of type {kind}, and must be a string.")
    if reply.finish_reason is not None and not isinstance(reply.finish_reason, str):
        raise SettingsError(f"{where}: its finish_reason must be a string.")
    calls: tuple[Any, ...] = reply.calls
    for call in calls:
        if not isinstance(call, ScriptedToolCall):
            given = f"{shorten(repr(call))} ({type(call).__name__})"
            raise SettingsError(f"{where}: {given} stands where a tool(...) belongs.")
        _check_call(call, where)
    usage = reply.usage
    if usage is None:
        return
    if not all(map(_is_count, astuple(replace(usage, cost=0)))):
        raise SettingsError(f"{where}: the tokens of its usage must be whole numbers, 0 or more.")
    if usage.cost is not None:
        raise SettingsError(f"{where}: a scripted reply costs nothing, but its usage has a cost.")
    if usage.cache_read_tokens + usage.cache_write_tokens > usage.prompt_tokens:
        raise SettingsError(f"{where}: more tokens of its usage are cached than its prompt has.")
    if usage.cache_write_1h_tokens > usage.cache_write_tokens:
        raise SettingsError(
            f"{where}: more tokens of its usage are cached for an hour than are cached."
        )


def _check_call(call: ScriptedToolCall, where: str) -> None:
    if not isinstance(call.name, str) or not call.name.strip():
        raise SettingsError(f"{where} calls the tool {call.name!r}: a tool has a name.")
    try:
        json.dumps(dict(call.arguments), allow_nan=False)
    except (TypeError, ValueError) as problem:
        raise SettingsError(
            f"{where}: the arguments of the tool {call.name!r} cannot be sent as JSON: {problem}."
        ) from problem


def _check_error(entry: ErrorReply, where: str) -> None:
    status = entry.status
    if not _is_count(status) or not 400 <= status <= 599:  # noqa: PLR2004 - HTTP's own numbers
        raise SettingsError(f"{where} is an error with status {status!r}: give 400 to 599.")
    if not isinstance(entry.message, str):
        raise SettingsError(f"{where} is an error whose message is not a string.")
    for name, value in entry.headers.items():
        if not (_is_header_text(name) and _is_header_text(value)):
            raise SettingsError(f"{where}: the header {name!r} cannot be sent with {value!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_header_text(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()
