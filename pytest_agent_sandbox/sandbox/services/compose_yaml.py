"""A compose file's YAML as plain values that know their lines; what is too much is refused.

All scalars are texts, as they are written: a port is no number of minutes, `on` is no truth.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.errors import SettingsError

EXTRA = "pytest-agent-sandbox[compose]"
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null")}
_TAGS |= {"tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"}
_LARGEST = 1_000_000  # bytes
# Values and levels, with all that is written once and named often.
_MOST = 20_000
_DEEPEST = 50


class Table(dict[str, Any]):
    """A mapping that knows the lines of its keys."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


def read_yaml(path: Path, change: Callable[[str], str]) -> Table:
    """Return what a file holds.

    Args:
        path: The file.
        change: Given each text that is no key; returns what it means.

    Raises:
        SettingsError: There is no such file, or it is no mapping in YAML; the message has the line.
    """
    try:
        import yaml
    except ImportError:
        raise SettingsError(
            f"agent_services: {path.name} needs PyYAML: pip install '{EXTRA}'"
        ) from None
    text = _read(path)
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        raise SettingsError(f"{path}{line}: this is no YAML: {problem}") from None
    except RecursionError:
        raise SettingsError(f"{path}: values in values, deeper than {_DEEPEST}") from None
    if node is None:
        raise SettingsError(f"{path}: the file is empty; it needs `services:`")
    found = _Reader(path, change).value(node)
    if not isinstance(found, Table):
        raise SettingsError(f"{path}: this is no compose file: it needs `services:`")
    return found


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise SettingsError(f"{path}: a compose file has at most {_LARGEST:,} bytes")
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise SettingsError(f"agent_services: there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: it cannot be read: {error}") from None


class _Reader:
    """Makes values of YAML's nodes, so many of them at most."""

    def __init__(self, path: Path, change: Callable[[str], str]) -> None:
        self._path = path
        self._change = change
        self._left = _MOST

    def value(self, node: Any, depth: int = 0) -> Any:
        self._left -= 1
        if self._left < 0:
            raise self._refusal(node, f"the file holds more than {_MOST:,} values")
        if depth > _DEEPEST:
            raise self._refusal(node, f"values in values, deeper than {_DEEPEST}")
        if node.tag not in _TAGS:
            raise self._refusal(node, f"the tag {node.tag!s:.50} is not supported")
        if node.id == "mapping":
            return self._table(node, depth)
        if node.id == "sequence":
            return [self.value(item, depth + 1) for item in node.value]
        if node.style is None and node.value in ("", "~", "null", "Null", "NULL"):
            return None
        try:
            return self._change(node.value)
        except SettingsError as error:
            raise self._refusal(node, str(error)) from None

    def _table(self, node: Any, depth: int) -> Table:
        table, merged = Table(), Table()
        for key, value in node.value:
            if key.id != "scalar":
                raise self._refusal(key, "a key is no text")
            if key.value == "<<" and key.style is None:
                self._merge(merged, value, depth)
                continue
            if key.value in table:
                raise self._refusal(key, f"{key.value!r:.50} is there twice")
            table[key.value] = self.value(value, depth + 1)
            table.lines[key.value] = key.start_mark.line + 1
        for name, value in merged.items():
            if name not in table:
                table[name] = value
                table.lines[name] = merged.lines[name]
        return table

    def _merge(self, merged: Table, node: Any, depth: int) -> None:
        for one in node.value if node.id == "sequence" else [node]:
            found = self.value(one, depth + 1)
            if not isinstance(found, Table):
                raise self._refusal(one, "<< takes a mapping")
            for name, value in found.items():
                if name not in merged:
                    merged[name] = value
                    merged.lines[name] = found.lines[name]

    def _refusal(self, node: Any, problem: str) -> SettingsError:
        return SettingsError(f"{self._path}:{node.start_mark.line + 1}: {problem}")
