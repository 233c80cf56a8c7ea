"""result.json, whole and damaged."""

import json

import pytest

from pytest_agent_sandbox.evidence import result
from pytest_agent_sandbox.evidence.result import LLMTotals, Result
from pytest_agent_sandbox.evidence.story import Row

FULL = Result(
    test="t.py::test_x",
    line=6,
    attempt=2,
    verdict="failed",
    fault="agent",
    headline="E: x",
    rerun="pytest t.py::test_x",
    worker="gw1",
    started=1795543639.1,
    duration=9.5,
    phases={"call": {"outcome": "failed", "duration": 1.5}},
    sandboxes=[{"container": "a", "start_seconds": 2.5}, {"container": "b", "start_seconds": 1}],
    conversations=[{"number": 1}],
    llm=LLMTotals(calls={"live": 2, "replayed": 1}, tokens=100, cost=None, saved=0.5),
    steps=3,
    notes=["a note"],
    masked=2,
    cuts=["a cut"],
)


def damaged(tmp_path, **fields):
    FULL.write(tmp_path)
    content = json.loads((tmp_path / "result.json").read_text("utf-8")) | fields
    (tmp_path / "result.json").write_text(json.dumps(content), encoding="utf-8")
    return result.read(tmp_path)


def test_it_comes_back_as_it_was(tmp_path):
    FULL.write(tmp_path)
    assert result.read(tmp_path) == FULL
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_it_becomes_a_line_of_the_run_s_table():
    assert FULL.row("x/transcript.html") == Row(
        test="t.py::test_x",
        line=6,
        attempt=2,
        verdict="failed",
        fault="agent",
        headline="E: x",
        started=1795543639.1,
        duration=9.5,
        steps=3,
        llm_calls=3,
        tokens=100,
        cost=None,
        startup=3.5,
        worker="gw1",
        page="x/transcript.html",
    )
    assert Result(sandboxes=[{"start_seconds": "soon"}, {}]).row().startup is None


def test_secrets_are_masked_and_numbers_stay_numbers(tmp_path):
    FULL.write(tmp_path, lambda text: text.replace("17955436", "***").replace("a note", "***"))
    read = result.read(tmp_path)
    assert read.notes == ["***"]
    assert read.started == FULL.started


def test_texts_that_no_file_can_hold(tmp_path):
    Result(headline="\ud800 \x1b[31m", sandboxes=[{"odd": tmp_path}]).write(tmp_path)
    read = result.read(tmp_path)
    assert read.headline == "\ud800 \x1b[31m"
    assert read.sandboxes == [{"odd": str(tmp_path)}]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"test": "t.py::te',
        b"null",
        b"[]",
        b'"x"',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"{}",
        b'{"test": 5}',
    ],
)
def test_a_damaged_one_is_named_after_its_folder_at_least(tmp_path, content):
    folder = tmp_path / "test_x-1234"
    folder.mkdir()
    (folder / "result.json").write_bytes(content)
    read = result.read(folder)
    assert read.verdict == "running"
    assert read.test in ("test_x-1234", "")


def test_a_missing_one(tmp_path):
    assert result.read(tmp_path).test == tmp_path.name
    assert result.read(tmp_path / "none").test == "none"


@pytest.mark.parametrize("bad", [None, "x", -1.5, [5], {"a": 1}, True, [None], {"call": 5}])
@pytest.mark.parametrize("name", sorted(vars(FULL)))
def test_a_field_that_is_not_what_it_should_be_spoils_only_itself(tmp_path, name, bad):
    read = damaged(tmp_path, **{name: bad})
    expected, empty = vars(FULL), vars(Result())
    for other, value in vars(read).items():
        if other != name:
            assert value == expected[other], other
    if name != "llm":
        assert vars(read)[name] in (bad, empty[name])
    # Whatever it is now, it can be worked with.
    read.row()
    assert read.llm.calls.items() is not None
    assert read.phases.items() is not None


def test_numbers_that_are_none_or_too_large(tmp_path):
    assert damaged(tmp_path, duration=10**400).duration is None
    assert damaged(tmp_path, verdict="exploded").verdict == "running"
    assert damaged(tmp_path, fault="x").fault == ""
    assert damaged(tmp_path, steps="5", duration="1.5").steps == 0
    assert damaged(tmp_path, steps="5", duration="1.5").duration is None
    assert damaged(tmp_path, llm={"calls": {"live": "many"}, "tokens": 7}).llm == LLMTotals(
        tokens=7
    )


def test_what_a_newer_version_adds_is_passed_over(tmp_path):
    assert damaged(tmp_path, new_field=1, version=2).test == "t.py::test_x"


def test_who_reads_while_it_is_written_gets_a_whole_one(tmp_path):
    FULL.write(tmp_path)
    with (tmp_path / "result.json").open(encoding="utf-8") as earlier:
        Result(test="another").write(tmp_path)
        assert json.loads(earlier.read())["test"] == "t.py::test_x"
    assert result.read(tmp_path).test == "another"
