"""Which process something belongs to, and whether it lives."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host.lock_folder import lock_folder, lock_folder_path
from pytest_agent_sandbox.host.ownership import (
    OWNER,
    PLACE,
    Owner,
    forget,
    forget_ended,
    owner_file,
    owner_state,
)

posix = pytest.mark.skipif(os.name != "posix", reason="about owners, modes and links of POSIX")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_owners() -> None:
    with Owner() as owner:
        assert owner_state(owner.labels) == "alive"
        assert owner_state({**owner.labels, PLACE: "elsewhere"}) == "unknown"
        assert owner_state({**owner.labels, OWNER: "../../etc/passwd"}) == "unknown"
        assert owner_state({}) == "unknown"
    assert owner_state(owner.labels) == "dead"
    assert not owner_file(owner.id).exists()


@posix
def test_nothing_is_written_through_links(temporary: Path) -> None:
    precious = temporary / "precious"
    precious.write_text("data")
    (lock_folder() / "place.new").symlink_to(precious)
    with Owner() as owner:
        assert owner_state(owner.labels) == "alive"
    assert precious.read_text() == "data"


@posix
def test_nothing_is_done_in_a_folder_that_others_can_write_to(temporary: Path) -> None:
    """SECURITY.md: one that is open to others is an error, and what is there stays as it is."""
    precious = temporary / "precious"
    precious.write_text("data")
    with Owner() as owner:
        folder = lock_folder_path()
        folder.chmod(0o777)
        (folder / "place.new").symlink_to(precious)
        before = sorted(path.name for path in folder.iterdir())
        for refused in (
            Owner,
            lambda: owner_state(owner.labels),
            lambda: owner_file(owner.id),
            forget_ended,
        ):
            with pytest.raises(SandboxError, match="is open to other users"):
                refused()
        forget(owner.id)
        assert sorted(path.name for path in folder.iterdir()) == before
    assert precious.read_text() == "data"


def test_processes_that_begin_together_are_in_one_place(tmp_path: Path) -> None:
    program = (
        "from pytest_agent_sandbox.host.ownership import Owner\n"
        "with Owner() as owner: print(owner.labels['owner-place'])"
    )
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(tmp_path))
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    places = {process.communicate(timeout=60)[0] for process in started}
    assert len(places) == 1
    assert len(places.pop().strip()) == 16


@pytest.mark.parametrize("days", [1000, -1000])
def test_a_clock_that_jumps_ends_no_owner(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """Whether it lives is told by its lock."""
    now = time.time
    with Owner() as living:
        monkeypatch.setattr(time, "time", lambda: now() + days * 86_400)
        with Owner() as later:
            forget_ended()
            assert owner_state(living.labels) == owner_state(later.labels) == "alive"
    assert owner_state(living.labels) == "dead"
