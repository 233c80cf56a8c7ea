"""Where evidence is kept."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from pytest_agent_sandbox.evidence.folders import (
    INDEX,
    ROWS,
    SIGN,
    begin_run,
    drop_if_empty,
    find_run,
    folder_name,
    hold,
    is_of,
    is_ours,
    make_folder,
)
from pytest_agent_sandbox.evidence.result import Result


@pytest.fixture
def output(tmp_path):
    return tmp_path / "deep" / "results"


def leave(output, name):
    """What a test of an earlier run has left."""
    folder = make_folder(output, name)
    Result(test=name).write(folder)
    (folder / "events.jsonl").touch()
    return folder


def test_names_that_slug_alike_get_different_folders():
    names = {
        folder_name("tests/test_x.py::test_y[a/b]"),
        folder_name("tests/test_x.py::test_y[a-b]"),
        folder_name("other/test_x.py::test_y[a-b]"),
    }
    assert len(names) == 3


@pytest.mark.parametrize(
    "parameter", ['<weird>:"name"?*|' + "x" * 300, "\u00e4\u4e2d\U0001f600", "..", "a\nb", "\x00"]
)
def test_a_name_is_readable_and_fit_for_every_file_system(parameter):
    name = folder_name(f"tests/deep/test_x.py::TestIt::test_y[{parameter}]")
    assert name.startswith("test_x-TestIt-test_y-")
    assert len(name) < 80
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


@pytest.mark.parametrize("node_id", ["", "::", "t.py", "::test_x", "../../t.py::test_x"])
def test_odd_names(node_id):
    assert set(folder_name(node_id)) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")


def test_attempts_at_one_test_have_their_own_folders():
    assert folder_name("t.py::test_x", 2) == f"{folder_name('t.py::test_x')}-attempt2"


def test_a_slash_in_a_parameter_is_no_folder():
    assert folder_name("tests/test_x.py::test_a[a/b]").startswith("test_x-test_a-a-b-")


def test_a_folder_is_empty_when_it_is_made(output):
    begin_run(output, "one")
    leave(output, "x")
    assert list(make_folder(output, "x").iterdir()) == []


def test_a_missing_and_an_empty_folder_become_ours(output):
    for _ in range(2):
        begin_run(output, "one")
        assert is_ours(output)
        assert (output / ".gitignore").read_text() == "*\n"
        for path in output.iterdir():
            path.unlink()


def test_a_new_run_removes_once_what_earlier_runs_left(output):
    begin_run(output, "one")
    old, broken = leave(output, "old"), make_folder(output, "killed-at-its-first-moment")
    (make_folder(output, "killed-while-it-was-written") / ".result.json").touch()
    (output / ROWS).touch()
    (output / INDEX).touch()
    begin_run(output, "one")  # another worker of the same run
    assert old.exists()
    begin_run(output, "two")
    assert {path.name for path in output.iterdir()} == {SIGN, f"{SIGN}.lock", ".gitignore"}
    assert not broken.exists()
    new = leave(output, "new")
    begin_run(output, "two")
    assert new.exists()
    assert is_of(output, "two")
    assert not is_of(output, "one")


def test_what_a_user_keeps_beside_the_evidence_stays(output, tmp_path):
    begin_run(output, "one")
    leave(output, "old")
    (output / "notes.txt").touch()
    (output / "junit.xml").touch()
    (output / "coverage").mkdir()
    (output / "coverage" / "index.html").touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Result().write(elsewhere)
    (output / "link").symlink_to(elsewhere)
    begin_run(output, "two")
    assert (output / "notes.txt").exists()
    assert (output / "junit.xml").exists()
    assert (output / "coverage" / "index.html").exists()
    assert (elsewhere / "result.json").exists()
    assert not (output / "old").exists()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"two\n"])
def test_a_damaged_sign_is_that_of_another_run(output, content):
    begin_run(output, "one")
    (output / SIGN).write_bytes(content)
    assert not is_of(output, "two")
    begin_run(output, "two")
    assert is_of(output, "two")


def test_workers_that_begin_at_once_keep_what_each_has(tmp_path):
    for number in range(20):
        output = tmp_path / f"results-{number}"

        def begin(name, output=output):
            begin_run(output, "one")
            make_folder(output, name)

        names = [str(worker) for worker in range(8)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(begin, names))
        assert {path.name for path in output.iterdir() if path.is_dir()} == set(names)


def test_a_run_that_goes_on_keeps_its_folder(output):
    first, worker = hold(output, "one"), hold(output, "one")
    leave(output, "x")
    second = hold(output, "two")
    third = hold(output, "three")
    assert (first.output, worker.output) == (output, output)
    assert [second.output.name, third.output.name] == ["results-2", "results-3"]
    assert [find_run(output, run) for run in ("one", "two", "three", "four")] == [
        output,
        second.output,
        third.output,
        output,  # it has none yet
    ]
    assert (output / "x").is_dir()
    first.close()
    first.close()
    second.close()
    again = hold(output, "five")  # for a worker of the first goes on
    assert again.output == second.output
    assert is_of(again.output, "five")
    worker.close()
    drop_if_empty(again.output)
    last = hold(output, "six")
    assert last.output == output
    assert not (output / "x").exists()
    for held in (third, again, last):
        held.close()
    assert list(output.glob(f"{SIGN}.*.lock")) == []


def test_a_run_that_was_killed_keeps_no_folder(output):
    code = f"""if True:
        import os, pathlib
        from pytest_agent_sandbox.evidence import folders
        held = folders.hold(pathlib.Path({str(output)!r}), "one")
        os._exit(0)
    """
    subprocess.run([sys.executable, "-c", code], check=True)
    assert list(output.glob(f"{SIGN}.one.*.lock"))
    held = hold(output, "two")
    assert held.output == output
    assert list(output.glob(f"{SIGN}.one.*.lock")) == []
    held.close()


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path):
    precious = tmp_path / "src"
    (precious / "package").mkdir(parents=True)
    (precious / INDEX).write_text("mine")
    begin_run(precious, "one")  # a user pointed --sandbox-output at it
    make_folder(precious, "test-folder")
    begin_run(precious, "two")
    hold(precious, "three").close()
    drop_if_empty(precious)
    assert not is_ours(precious)
    assert not is_of(precious, "two")
    assert (precious / "package").is_dir()
    assert {path.name for path in precious.iterdir()} == {"package", INDEX, "test-folder"}


def test_an_output_folder_without_evidence_goes_away(output):
    begin_run(output, "one")
    folder = make_folder(output, "x")
    drop_if_empty(output)
    assert folder.is_dir()
    folder.rmdir()
    drop_if_empty(output)
    assert not output.exists()
    drop_if_empty(output)


@pytest.mark.parametrize("name", [".env", ROWS, "x"])
def test_an_output_folder_that_holds_anything_stays(output, name):
    begin_run(output, "one")
    (output / name).touch()
    drop_if_empty(output)
    assert (output / name).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are others there")
def test_no_other_user_may_look_into_an_output_folder_that_we_make(output):
    with closing(hold(output, "one")), closing(hold(output, "two")) as second:
        assert output.stat().st_mode & 0o777 == 0o700
        assert second.output.stat().st_mode & 0o777 == 0o700
    # Those on the way to it may be for others too.
    assert output.parent.stat().st_mode & 0o777 != 0o700
    begun = output.parent / "begun"
    begin_run(begun, "three")
    assert begun.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are others there")
def test_an_output_folder_that_is_there_keeps_its_permissions(output):
    output.mkdir(parents=True)
    output.chmod(0o755)
    hold(output, "one").close()
    assert output.stat().st_mode & 0o777 == 0o755
    hold(output, "two").close()
    assert output.stat().st_mode & 0o777 == 0o755
