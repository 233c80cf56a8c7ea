"""The values of a compose file's keys, each checked; messages name file, line, service and key."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.sandbox.services.compose_yaml import Table

_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:us|ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"([\d.]+)([a-z]+)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# [[address:]host:]container[/protocol], each port a number or a range.
_PORT = re.compile(
    r"(?:(?:(?:\[[0-9a-fA-F:.]+\]|[\d.]+):)?(?:\d{0,5}(?:-\d{1,5})?):)?"
    r"(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?(?:/(?P<protocol>\w+))?"
)
# Each port is listened on, here and in each sandbox.
_MOST_PORTS = 64


class Values:
    """The keys of a service, or of what is in one.

    Args:
        file: The file.
        place: Where in the file: `service db`.
        table: The keys.
    """

    def __init__(self, file: Path, place: str, table: Table) -> None:
        self.file = file
        self.place = place
        self.table = table

    def refuse(self, key: str, problem: str) -> NoReturn:
        """Raise `SettingsError` about a key."""
        line = f":{self.table.lines[key]}" if key in self.table.lines else ""
        raise SettingsError(f"{self.file}{line}: {self.place}: {key}: {problem}")

    def only(self, known: Collection[str], problem: str) -> None:
        """Refuse keys that are not known, but for those of others (`x-…`)."""
        for key in self.table:
            if key not in known and not key.startswith("x-"):
                self.refuse(key, problem)

    def text(self, key: str) -> str | None:
        """Return a text; None where there is none."""
        value = self.table.get(key)
        if value is not None and not isinstance(value, str):
            self.refuse(key, "this is no text")
        return value

    def flag(self, key: str) -> bool:
        """Return a truth; False where there is none."""
        value = (self.text(key) or "false").lower()
        if value not in ("true", "false"):
            self.refuse(key, f"{value!r:.50} is neither true nor false")
        return value == "true"

    def seconds(self, key: str, default: float) -> float:
        """Return a duration such as 1m30s in seconds."""
        value = self.text(key)
        if value is None:
            return default
        if not _DURATION.fullmatch(value):
            self.refuse(key, f"{value!r:.50} is no duration such as 10s or 1m30s")
        return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value))

    def inner(self, key: str) -> Values:
        """Return the keys that are the value of a key."""
        value = self.table[key]
        if not isinstance(value, Table):
            self.refuse(key, "this is no mapping")
        return Values(self.file, f"{self.place}: {key}", value)

    def items(self, key: str) -> list[Any]:
        """Return a list of texts and mappings; a text alone is a list of one."""
        value = self.table.get(key)
        found = [] if value is None else [value] if isinstance(value, str) else value
        if not isinstance(found, list) or not all(isinstance(item, (str, Table)) for item in found):
            self.refuse(key, "this is no list of texts")
        return found

    def texts(self, key: str) -> list[str]:
        """Return a list of texts; a text alone is a list of one."""
        found = self.items(key)
        if not all(isinstance(item, str) for item in found):
            self.refuse(key, "this is no list of texts")
        return found

    def words(self, key: str) -> list[str] | None:
        """Return a command's words."""
        value = self.table.get(key)
        if not isinstance(value, str):
            return None if value is None else self.texts(key)
        try:
            return shlex.split(value)
        except ValueError as error:
            self.refuse(key, f"{error}")

    def pairs(self, key: str) -> dict[str, str | None]:
        """Return names and values, of a mapping or of a list of NAME=value; None for no value."""
        value = self.table.get(key)
        found: dict[str, Any] = {}
        if isinstance(value, Table):
            found |= value
        elif isinstance(value, str):
            self.refuse(key, "this is neither a mapping nor a list of NAME=value")
        else:
            split = [text.partition("=") for text in self.texts(key)]
            found |= {name: text if equals else None for name, equals, text in split}
        for name, one in found.items():
            if not name or "=" in name or "\0" in name:
                self.refuse(key, f"{name!r:.50} is not the name of a variable")
            if one is not None and (not isinstance(one, str) or "\0" in one):
                self.refuse(key, f"the value of {name} is no text")
        return found

    def ports(self, key: str) -> list[int]:
        """Return the container's side of ports."""
        found: list[int] = []
        for item in self.items(key):
            if isinstance(item, Table):
                long = Values(self.file, f"{self.place}: {key}", item)
                names = ("target", "published", "protocol", "mode", "host_ip", "name")
                long.only((*names, "app_protocol"), "this is not supported")
                written = f"{long.text('target') or ''}/{long.text('protocol') or 'tcp'}"
            else:
                written = item
            ports = self._port(key, written)
            if len(ports) + len(found) > _MOST_PORTS:
                self.refuse(key, f"these are more than {_MOST_PORTS} ports")
            found += ports
        return list(dict.fromkeys(found))

    def _port(self, key: str, written: str) -> range:
        parts = _PORT.fullmatch(written)
        if parts is None:
            self.refuse(key, f"{written!r:.50} is no port such as 5432 or '15432:5432'")
        if (parts["protocol"] or "tcp") != "tcp":
            self.refuse(key, f"{written!r:.50} is not TCP; only TCP is carried to services")
        first = int(parts["first"])
        return range(first, int(parts["last"] or first) + 1)
