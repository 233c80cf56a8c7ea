"""The variables that name the hosts which no proxy may be asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

#: The names that programs know: some the one, some the other.
NO_PROXY = ("NO_PROXY", "no_proxy")
_SEPARATORS = re.compile(r"[,\s]+")


def without_proxy(variables: Iterable[Mapping[str, str]], hosts: Iterable[str]) -> dict[str, str]:
    """Return `NO_PROXY` in both spellings, with the hosts in it that no proxy may be asked for.

    Args:
        variables: What a program is told, from several sources; the later ones win.
        hosts: Names and addresses.
    """
    said = dict.fromkeys(NO_PROXY, "")
    for source in variables:
        given = {name: source[name] for name in NO_PROXY if name in source}
        if given:  # even in one spelling only, it is meant for all programs
            either = next(iter(given.values()))
            said = {name: given.get(name, either) for name in NO_PROXY}
    return {name: _with(value, hosts) for name, value in said.items()}


def _with(value: str, hosts: Iterable[str]) -> str:
    if value.strip() == "*":  # which means all hosts
        return value
    entries = [entry for entry in _SEPARATORS.split(value) if entry]
    return ",".join(dict.fromkeys([*entries, *hosts]))
