"""The compose files that a test names, by its call and by its marker."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.plugin.service_files import (
    names_of_marks,
    services_of_files,
    split_files,
)
from pytest_agent_sandbox.sandbox.services.service import Service

DB = Service("a")


@pytest.fixture
def item(tmp_path: Path) -> pytest.Item:
    (tmp_path / "a.yaml").write_text("services: {cache: {image: '${IMAGE:-redis}'}}")
    (tmp_path / "bad.yaml").write_text("services: [")
    return cast(Any, SimpleNamespace(path=tmp_path / "test_a.py"))


@pytest.mark.parametrize("name", ["a.yaml", Path("a.yaml")])
def test_a_file_by_position_or_keyword(name: str | Path) -> None:
    assert split_files([name], {"db": DB}) == ([name], {"db": DB})
    assert split_files([], {"services": name, "db": DB}) == ([name], {"db": DB})


def test_a_service_may_have_the_name_services() -> None:
    assert split_files([], {"services": DB}) == ([], {"services": DB})


def test_a_service_without_a_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="is no compose file"):
        split_files([DB], {})


def test_files_are_relative_to_the_tests_file(
    item: pytest.Item, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert services_of_files(item, ["a.yaml"])["cache"].image == "redis"
    monkeypatch.setenv("IMAGE", "valkey")
    assert services_of_files(item, [item.path.parent / "a.yaml"])["cache"].image == "valkey"
    with pytest.raises(SettingsError, match="'cache' already"):
        services_of_files(item, ["a.yaml", "a.yaml"])


def test_the_names_of_markers(item: pytest.Item) -> None:
    marks = [
        pytest.mark.agent_services("a.yaml", my_db=DB, scope="module").mark,
        pytest.mark.agent_services(services="none.yaml").mark,
        pytest.mark.agent_services("bad.yaml").mark,
    ]
    assert list(names_of_marks(item, marks)) == ["my-db", "cache"]
