"""The names of services in a sandbox's /etc/hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_agent_sandbox.sandbox.services import hosts_inside

FIRST = "127.0.0.1\tlocalhost\n\n# by hand\n10.0.0.1  db\n"


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "hosts"
    path.write_text(FIRST)
    monkeypatch.setattr(hosts_inside, "_FILE", str(path))
    return path


def test_names_come_and_go(hosts: Path) -> None:
    names = {"db": "127.80.0.1", "cache": "127.80.0.2"}
    hosts_inside.change(names, are_wanted=True)
    lines = hosts.read_text().splitlines()
    assert lines[: len(FIRST.splitlines())] == FIRST.splitlines()
    assert [line.split()[:2] for line in lines[-2:]] == [
        ["127.80.0.2", "cache"],
        ["127.80.0.1", "db"],
    ]
    hosts_inside.change({"db": "127.80.0.1"}, are_wanted=False)
    assert "cache" in hosts.read_text()
    assert "127.80.0.1" not in hosts.read_text()
    hosts_inside.change(names, are_wanted=False)
    assert hosts.read_text() == FIRST


def test_a_name_that_is_there_is_left_alone_where_nobody_may_write(hosts: Path) -> None:
    hosts.write_text("127.80.0.1\tdb\n")
    hosts.chmod(0o400)
    before = hosts.stat().st_mtime_ns
    hosts_inside.change({"db": "127.80.0.1"}, are_wanted=True)
    assert hosts.stat().st_mtime_ns == before
