"""Variables in a compose file: `${NAME:-default}`, and files of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host import seldom

logger = seldom.logger(__name__)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOW = re.compile(r":?[-?+]")
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][\w.-]*)\s*=\s*(.*)", re.S)
# A default may hold another variable with a default.
_DEEPEST = 20


def interpolate(text: str, variables: Mapping[str, str], *, depth: int = 0) -> str:
    """Return a text with its variables replaced, as Compose does it.

    Args:
        text: The text: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:?problem}`,
            `${NAME:+instead}`, each also without the colon, and `$$` for a dollar.
        variables: The variables.
        depth: How many of them it stands in.

    Raises:
        SettingsError: It cannot be read, or a variable is missing that must be there.
    """
    if depth > _DEEPEST:
        raise SettingsError(f"variables in variables, deeper than {_DEEPEST}")
    parts, at = [], 0
    while (dollar := text.find("$", at)) >= 0:
        parts.append(text[at:dollar])
        value, at = _replaced(text, dollar + 1, variables, depth)
        parts.append(value)
    return "".join([*parts, text[at:]])


def read_variables(path: Path, outer: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a file with a `NAME=value` on each line.

    Args:
        path: The file.
        outer: Variables that values may name.

    Raises:
        SettingsError: It cannot be read; the message says where.
    """
    found: dict[str, str] = {}
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}") from None
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        parts = _LINE.fullmatch(line)
        if parts is None:
            raise SettingsError(f"{path}:{number}: this is not of the form NAME=value")
        try:
            found[parts[1]] = _value(parts[2], {**found, **outer})
        except SettingsError as error:
            raise SettingsError(f"{path}:{number}: {parts[1]}: {error}") from None
    return found


def _value(written: str, variables: Mapping[str, str]) -> str:
    quote = written[:1]
    if quote in ("'", '"'):
        inner, closing, _ = written[1:].partition(quote)
        if not closing:
            raise SettingsError("the quotation mark is not closed")
        return inner if quote == "'" else interpolate(inner, variables)
    return interpolate(re.split(r"\s+#", written)[0].rstrip(), variables)


def _replaced(text: str, at: int, variables: Mapping[str, str], depth: int) -> tuple[str, int]:
    """Return what a variable is replaced by whose dollar is before `at`, and where it ends."""
    if text.startswith("$", at):
        return "$", at + 1
    has_braces = text.startswith("{", at)
    name = _NAME.match(text, at + has_braces)
    if name is None:
        raise SettingsError(f"{text!r:.100} has a $ without a variable's name; write $$ for a $")
    if not has_braces:
        return _found(name[0], variables), name.end()
    end = _closing(text, name.end())
    inner = text[name.end() : end]
    how = _HOW.match(inner)
    if how is None:
        if inner:
            raise SettingsError(f"${{{name[0]}{inner:.50}}} is no variable that Compose knows")
        return _found(name[0], variables), end + 1
    value, rest = variables.get(name[0]), inner[how.end() :]
    is_there = value is not None and (bool(value) or not how[0].startswith(":"))
    if how[0].endswith("+"):
        return interpolate(rest, variables, depth=depth + 1) if is_there else "", end + 1
    if is_there:
        return value or "", end + 1
    other = interpolate(rest, variables, depth=depth + 1)
    if how[0].endswith("?"):
        raise SettingsError(f"the variable {name[0]} is not set{f': {other}' if other else ''}")
    return other, end + 1


def _found(name: str, variables: Mapping[str, str]) -> str:
    if name not in variables:
        logger.warning("a compose file names the variable %s, which is not set: it is empty", name)
    return variables.get(name, "")


def _closing(text: str, at: int) -> int:
    """Return where the brace is closed that is open at a place."""
    level = 1
    for place in range(at, len(text)):
        if text[place] == "}":
            level -= 1
            if not level:
                return place
        elif text.startswith("${", place):
            level += 1
    raise SettingsError(f"{text!r:.100} has a ${{ that is not closed")
