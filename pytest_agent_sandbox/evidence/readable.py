"""Texts as people read them: amounts, and those of Python without the addresses of objects."""

from __future__ import annotations

import re

#: What colours a line of pytest's.
_COLOUR = r"(?:\x1b\[[\d;]*m)*"
_OBJECT = re.compile(r"<(?:[\w<>]+\.)*(\w+) object at 0x[0-9a-fA-F]+>")
#: What pytest says of a fixture or an argument above the test's code.
_ARGUMENT = re.compile(
    rf"^{_COLOUR}\w+{_COLOUR} {_COLOUR}={_COLOUR} {_COLOUR}{_OBJECT.pattern}{_COLOUR}\n",
    re.MULTILINE,
)
_ARGUMENTS_ALONE = re.compile(rf"\A(?:{_COLOUR}\s*\n)+")


def dollars(amount: float) -> str:
    """Return an amount of US dollars."""
    return f"${amount:.4f}" if amount else "no cost"


def without_addresses(text: str) -> str:
    """Return a text in which an object is its class: `<AgentLLM>`."""
    return _OBJECT.sub(r"<\1>", text)


def without_objects(report: str) -> str:
    """Return pytest's report of a failure without the arguments that are mere objects."""
    return _ARGUMENTS_ALONE.sub("", without_addresses(_ARGUMENT.sub("", report)))
