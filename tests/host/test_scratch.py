"""Folders for what a process needs only while it lives."""

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_agent_sandbox.host.lock_folder import lock_folder
from pytest_agent_sandbox.host.scratch import ScratchFolder

OWNER = """
import sys
from pytest_agent_sandbox.host.scratch import ScratchFolder
scratch = ScratchFolder()
(scratch.path / "some" / "log").parent.mkdir()
(scratch.path / "some" / "log").write_text("left")
print(scratch.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files, of this process and of those it starts."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


def left():
    return sorted(path.name for path in lock_folder().iterdir())


def owner():
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    return process


def test_it_is_there_until_it_is_closed():
    with ScratchFolder() as scratch:
        (scratch.path / "file").write_text("x")
        assert scratch.path.is_dir()
        scratch.close()
    assert left() == []


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are others there")
def test_nobody_else_may_look_into_it():
    with ScratchFolder() as scratch:
        assert scratch.path.stat().st_mode & 0o077 == 0


def test_what_a_killed_process_has_left_is_removed_by_the_next():
    killed = owner()
    killed.kill()
    killed.communicate()
    assert len(left()) == 2, "this is what it leaves"
    with ScratchFolder() as scratch:
        assert left() == [scratch.path.name, f"{scratch.path.name}.lock"]
    assert left() == []


def test_what_a_living_process_has_stays():
    with owner() as living:
        before = left()
        ScratchFolder().close()
        assert left() == before
        living.kill()


def test_what_is_not_surely_such_a_folder_stays(temporary):
    foreign = ["scratch-0123456789abcdef", "scratch-mine.lock", "owner-0123.lock"]
    (lock_folder() / foreign[0]).mkdir()
    for name in foreign[1:]:
        (lock_folder() / name).write_text("")
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("x")
    # A dead one's folder that leads elsewhere: what is there is nobody's to remove.
    (lock_folder() / "scratch-00000000000000ff.lock").write_text("")
    if sys.platform != "win32":
        (lock_folder() / "scratch-00000000000000ff").symlink_to(elsewhere)
    ScratchFolder().close()
    assert set(foreign) <= set(left())
    assert (elsewhere / "file").read_text() == "x"


def test_many_at_once_do_not_sweep_one_another():
    def use(_):
        for _ in range(20):
            with ScratchFolder() as scratch:
                (scratch.path / "file").write_text("x")
                assert (scratch.path / "file").read_text() == "x"

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(8)))
    assert left() == []
