"""What one test leaves behind."""

import json
from dataclasses import dataclass

import pytest

from pytest_agent_sandbox.client.events import parse_event
from pytest_agent_sandbox.evidence.recorder import Recorder
from pytest_agent_sandbox.evidence.redaction import Redactor

SECRET = "sk-very-secret-value"


@dataclass
class Phase:
    outcome: str


@pytest.fixture
def recorder(tmp_path):
    redactor = Redactor()
    redactor.add(SECRET)
    return Recorder(tmp_path / "results", "t.py::test_x", redactor)


def message(text):
    return parse_event(
        {
            "id": "1",
            "kind": "MessageEvent",
            "source": "user",
            "timestamp": "2026-01-01T10:00:00",
            "llm_message": {"role": "user", "content": [{"type": "text", "text": text}]},
        }
    )


def test_events_are_on_disk_at_once(recorder):
    recorder.record_event("1", message("héllo"))
    (line,) = (recorder.folder / "events.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["event"]["llm_message"]["content"][0]["text"] == "héllo"


def test_finishing_returns_sections_and_leaves_the_files(recorder):
    recorder.new_log().write_text("".join(f"log line {n}\n" for n in range(100)))
    recorder.record_event("1", message("hello"))
    recorder.record_diff("box", "+a line\n" * 500)
    sections = dict(recorder.finish({"call": Phase("failed")}))
    assert list(sections) == [
        "agent transcript",
        "container log",
        "workspace changes",
        "agent evidence",
    ]
    assert "log line 99" in sections["container log"]
    assert "… 70 earlier lines are in container.log" in sections["container log"]
    assert "… 440 more lines are in workspace.diff" in sections["workspace changes"]
    assert str(recorder.folder) in sections["agent evidence"]
    result = json.loads((recorder.folder / "result.json").read_text("utf-8"))
    assert result["test"] == "t.py::test_x"
    assert result["phases"]["call"]["outcome"] == "failed"
    assert len((recorder.folder / "workspace.diff").read_text().splitlines()) == 500


def test_secrets_are_in_no_file_and_no_section(recorder):
    recorder.new_log().write_text(f"started with {SECRET}\n")
    recorder.record_event("1", message(f"my key is {SECRET}"))
    recorder.record_diff("box", f"+{SECRET}\n")
    recorder.record_sandbox(command=SECRET)
    sections = recorder.finish({})
    assert SECRET not in str(sections)
    files = list(recorder.folder.iterdir())
    assert len(files) == 4
    for file in files:
        assert SECRET not in file.read_text("utf-8"), file
        assert "***" in file.read_text("utf-8"), file


def test_several_containers_have_a_log_each(recorder):
    paths = [recorder.new_log() for _ in range(3)]
    assert [path.name for path in paths] == ["container.log", "container-2.log", "container-3.log"]


def test_an_event_is_kept_once(recorder):
    recorder.record_event("1", message("hello"))
    recorder.record_event("1", message("hello"))
    recorder.record_event("2", message("hello"))
    assert len((recorder.folder / "events.jsonl").read_text("utf-8").splitlines()) == 2


def test_a_secret_is_masked_whole_before_its_text_is_shortened(recorder):
    recorder.record_event("1", message("x" * 95 + SECRET))
    assert SECRET[:8] not in dict(recorder.finish({}))["agent transcript"]


def test_what_a_sandbox_prints_does_not_steer_the_terminal(recorder):
    recorder.record_event("1", message("\x1b[2Jgone\rover"))
    text = dict(recorder.finish({}))["agent transcript"]
    assert "\x1b" not in text
    assert "gone" in text


def test_diffs_of_several_workspaces_are_told_apart(recorder):
    for name in ("one", "two"):
        recorder.new_log()
        recorder.record_diff(name, "")
    recorder.record_diff("two", "+x\n")
    assert "# two\n+x" in (recorder.folder / "workspace.diff").read_text()


def test_a_test_that_was_interrupted_has_its_result_too(recorder):
    recorder.new_log().write_text(SECRET)
    recorder.end_interrupted()
    assert (recorder.folder / "container.log").read_text() == "***"
    assert (recorder.folder / "result.json").exists()


def test_discarding_leaves_nothing(recorder):
    recorder.new_log().write_text("x")
    recorder.discard()
    assert not recorder.folder.exists()
