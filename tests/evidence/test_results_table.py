"""The results of a whole run."""

import json
import multiprocessing

import pytest

from pytest_agent_sandbox.evidence import folders, results_table
from pytest_agent_sandbox.evidence.recorder import Recorder
from pytest_agent_sandbox.evidence.result import Result
from pytest_agent_sandbox.host.redaction import Redactor
from pytest_agent_sandbox.plugin.report.complete import complete


@pytest.fixture
def output(tmp_path):
    output = tmp_path / "results"
    folders.begin_run(output, "run")
    return output


def add(output, test="t.py::test_x", folder=None, **fields):
    results_table.add(output, Result(test=test, **{"verdict": "failed"} | fields), folder)


def kept(output, test, **fields):
    """The folder of a test that never came to its end."""
    folder = folders.make_folder(output, folders.folder_name(test))
    Result(test=test, **fields).write(folder)
    return folder


def test_rows_come_in_the_order_in_which_tests_began(output):
    add(output, "second", started=2.0)
    add(output, "first", started=1.0, verdict="passed")
    rows = results_table.rows(output)
    assert [(row.test, row.verdict, row.page) for row in rows] == [
        ("first", "passed", ""),
        ("second", "failed", ""),
    ]


def test_a_kept_folder_is_linked(output):
    folder = kept(output, "t.py::test_x")
    add(output, folder=folder)
    (row,) = results_table.rows(output)
    assert row.page == f"{folder.name}/transcript.html"
    assert row.verdict == "failed"


def test_only_the_last_attempt_counts(output):
    for attempt in (1, 2, 3):
        add(output, attempt=attempt, started=float(attempt))
    add(output, "other", started=5.0)
    assert [row.superseded for row in results_table.rows(output)] == [True, True, False, False]


def test_tests_that_never_ended_are_listed_and_get_their_page(output):
    folder = kept(output, "t.py::test_killed", started=3.0)
    add(output, "t.py::test_ended", started=1.0)
    rows = results_table.write_index(output, "my project")
    assert [(row.test, row.verdict) for row in rows] == [
        ("t.py::test_ended", "failed"),
        ("t.py::test_killed", "running"),
    ]
    assert "never came to its end" in (folder / "transcript.html").read_text("utf-8")
    index = (output / "index.html").read_text("utf-8")
    assert "my project" in index
    assert f"{folder.name}/transcript.html" in index


def test_a_page_that_is_there_is_not_written_again(output):
    folder = kept(output, "t.py::test_x")
    (folder / "transcript.html").write_text("as it was")
    results_table.write_index(output, "x")
    assert (folder / "transcript.html").read_text() == "as it was"


def test_folders_without_a_result_are_a_user_s_own(output):
    (output / "coverage").mkdir()
    (output / "result.json").touch()
    assert results_table.write_index(output, "x") == []
    assert list((output / "coverage").iterdir()) == []


def test_a_run_without_results(output):
    assert results_table.write_index(output, "x") == []
    assert (output / "index.html").exists()


def test_a_test_s_folder_that_is_damaged_or_gone(output):
    folder = kept(output, "t.py::test_x")
    (folder / "result.json").write_text('{"test": "t.py::te')
    add(output, "gone", folder=output / "gone-1234")
    add(output, "elsewhere", folder=output / "..")
    names = {row.test for row in results_table.write_index(output, "x")}
    assert names == {folder.name, "gone", "elsewhere"}
    assert not (output / "gone-1234").exists()
    assert not (output.parent / "transcript.html").exists()


@pytest.mark.parametrize(
    "damage",
    [
        '{"test": "t.py::te',
        "null",
        "[]",
        '{"test": 5, "started": "x", "page": [], "verdict": "exploded", "duration": {}}',
        '{"started": NaN, "duration": Infinity}',
        '{"new_field": 1}',
        "\x00",
    ],
)
def test_lines_that_are_damaged(output, damage):
    add(output, "first", started=1.0)
    with (output / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write(damage + "\n")
    add(output, "last", started=2.0)
    names = [row.test for row in results_table.write_index(output, "x")]
    assert [name for name in names if name] == ["first", "last"]


def test_texts_that_no_file_can_hold(output):
    add(output, "\ud800\u202e\x1b[2J</script>", headline="\ud800")
    (row,) = results_table.write_index(output, "\ud800")
    assert row.headline == "\ud800"
    (output / "index.html").read_text("utf-8")


def work(output, number):
    folders.begin_run(output, "run")
    for n in range(25):
        recorder = Recorder(output, f"t.py::test_{number}[{n}]", Redactor())
        complete(recorder, {}, keep=False)
        results_table.add(output, recorder.result, recorder.folder)


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    output = tmp_path / "results"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(output, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    lines = (output / "results.jsonl").read_text("utf-8").splitlines()
    assert len({json.loads(line)["test"] for line in lines}) == len(lines) == 100
    assert len(results_table.rows(output)) == 100


def test_a_page_that_cannot_be_written_does_not_keep_the_others_away(output, monkeypatch):
    def full(folder, story):
        raise OSError(f"no space left for {folder}")

    kept(output, "t.py::test_x")
    monkeypatch.setattr(results_table, "write_page", full)
    assert len(results_table.write_index(output, "x")) == 1
    assert (output / "index.html").exists()
