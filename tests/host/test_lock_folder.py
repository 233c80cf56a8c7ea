"""The folder of locks: where it is, and when it is not used."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host import lock_folder as module
from pytest_agent_sandbox.host.lock_folder import lock_folder, lock_folder_path

pytestmark = pytest.mark.skipif(os.name != "posix", reason="each user has temporary files apart")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files that all users share, and no runtime folder."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(module, "_runtime_folders", list)
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_folder_that_is_made_is_nobody_elses(temporary: Path, umask: int) -> None:
    """SECURITY.md: "in a folder of mode 0700 that is yours"."""
    before = os.umask(umask)
    try:
        folder = lock_folder()
    finally:
        os.umask(before)
    assert folder.parent == temporary
    assert mode(folder) == 0o700
    assert lock_folder() == folder


def link_to_own(path: Path) -> None:
    target = path.with_name("elsewhere")
    target.mkdir(mode=0o700)
    path.symlink_to(target)


def open_to(number: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        path.chmod(number)

    return make


def server(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        here = Path.cwd()
        os.chdir(path.parent)  # such a path may not be long
        try:
            end.bind(path.name)
        finally:
            os.chdir(here)


MADE_BEFORE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link to a folder": (link_to_own, "is a link"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), "is a link"),
    "a link to itself": (lambda path: path.symlink_to(path), "is a link"),
    "a file": (Path.touch, "is not a folder"),
    "a pipe": (os.mkfifo, "is not a folder"),
    "a socket": (server, "is not a folder"),
    "open to all": (open_to(0o777), r"is open to other users \(mode 777\)"),
    "open to all, sticky": (open_to(0o1777), r"is open to other users \(mode 1777\)"),
    "open to a group": (open_to(0o770), r"is open to other users \(mode 770\)"),
    "to be read": (open_to(0o755), r"is open to other users \(mode 755\)"),
    "to be passed": (open_to(0o701), r"is open to other users \(mode 701\)"),
}


@pytest.mark.parametrize("name", MADE_BEFORE)
def test_what_somebody_else_may_have_made(temporary: Path, name: str) -> None:
    """SECURITY.md: "one that is a link, … or open to others is an error that names it"."""
    make, complaint = MADE_BEFORE[name]
    make(lock_folder_path())
    with pytest.raises(SandboxError, match=complaint) as raised:
        lock_folder()
    assert str(lock_folder_path()) in str(raised.value)
    assert "Have it removed, or set TMPDIR" in str(raised.value)


def test_another_users_folder(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SECURITY.md: "another user's … is an error that names it"."""
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    lock_folder_path().mkdir(mode=0o700)
    with pytest.raises(SandboxError, match=rf"belongs to another user \(number {me}\)"):
        lock_folder()


@pytest.mark.parametrize("variable", ["LOGNAME", "USER", "LNAME", "USERNAME"])
def test_variables_do_not_make_it_another_users(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    mine = lock_folder_path()
    monkeypatch.setenv(variable, "../somebody")
    assert lock_folder_path() == mine


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    monkeypatch.setattr(module, "_runtime_folders", list)
    with pytest.raises(SandboxError, match=f"Cannot make the lock folder {tmp_path}/missing/"):
        lock_folder()


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    module._runtime_folders.cache_clear()
    yield folder
    module._runtime_folders.cache_clear()


@pytest.mark.parametrize(
    ("temporary_mode", "runtime_mode", "chosen"),
    [
        (0o1777, 0o700, "runtime"),
        (0o777, 0o700, "runtime"),
        (0o1777, 0o777, "tmp"),
        (0o1777, None, "tmp"),
        (0o700, 0o700, "tmp"),  # the user's own already: TMPDIR tells runs apart
        (0o775, 0o700, "tmp"),  # as with umask 002
    ],
)
def test_where_it_is(
    tmp_path: Path,
    runtime: Path,
    monkeypatch: pytest.MonkeyPatch,
    temporary_mode: int,
    runtime_mode: int | None,
    chosen: str,
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    temporary.chmod(temporary_mode)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    runtime.rmdir() if runtime_mode is None else runtime.chmod(runtime_mode)
    assert lock_folder().parent == tmp_path / chosen
    # It does not move while tests change the environment.
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert lock_folder().parent == tmp_path / chosen


def test_a_relative_runtime_folder_is_none(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    module._runtime_folders.cache_clear()
    monkeypatch.setenv("XDG_RUNTIME_DIR", "here")
    assert module._runtime_folders() == []
    module._runtime_folders.cache_clear()
