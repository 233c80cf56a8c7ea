"""The compose files that a test names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.plugin.options import NO_SERVICES, host_name

if TYPE_CHECKING:
    from pytest_agent_sandbox.sandbox.services.service import Service

#: The keyword that takes files too: `agent_services(services="compose.yaml")`.
FILES = "services"


def split_files(
    files: Iterable[Any], given: Mapping[str, Any]
) -> tuple[list[str | Path], dict[str, Any]]:
    """Return the files and the services among what is given.

    Args:
        files: What is given by position.
        given: What is given by keyword.

    Raises:
        SettingsError: What is given by position is no file.
    """
    services, found = dict(given), list(files)
    if isinstance(services.get(FILES), (str, Path)):
        found.append(services.pop(FILES))
    for file in found:
        if not isinstance(file, (str, Path)):
            raise SettingsError(
                f"agent_services: {file!r} is no compose file; give services by name=Service(…)"
            )
    return found, services


def services_of_files(item: pytest.Item, files: Iterable[str | Path]) -> dict[str, Service]:
    """Return the services of compose files, by their names.

    Args:
        item: The test; files are relative to its own.
        files: The files.

    Raises:
        SettingsError: One cannot be read or followed, or a name is there twice.
    """
    from pytest_agent_sandbox.sandbox.services.compose import read_compose

    found: dict[str, Service] = {}
    for file in files:
        for name, service in read_compose(item.path.parent / file, os.environ).items():
            if name in found:
                raise SettingsError(f"agent_services: {file}: there is a service {name!r} already")
            found[name] = service
    return found


def names_of_marks(item: pytest.Item, marks: Iterable[pytest.Mark]) -> Iterator[str]:
    """Yield the names of the services that markers start, those of compose files too.

    A file that cannot be read has none: the test itself says so.
    """
    for mark in marks:
        with suppress(SettingsError):
            files, given = split_files(mark.args, mark.kwargs)
            yield from (host_name(name) for name in given if name not in NO_SERVICES)
            yield from services_of_files(item, files)
