"""What one test leaves behind."""

import json
import threading
import tracemalloc
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from pytest_agent_sandbox.client.events import parse_event
from pytest_agent_sandbox.evidence import limits, result
from pytest_agent_sandbox.evidence.recorder import Recorder
from pytest_agent_sandbox.evidence.story_builder import read_story
from pytest_agent_sandbox.host.log_file import LogFile
from pytest_agent_sandbox.host.redaction import Redactor
from pytest_agent_sandbox.llm.calls import LLMCall
from pytest_agent_sandbox.llm.observer import News
from pytest_agent_sandbox.llm.replies import Usage
from pytest_agent_sandbox.plugin.report.complete import complete, complete_interrupted, judge
from tests.evidence.images import data_url, encoded, png
from tests.support.events import action, message
from tests.support.events import result as observation

SECRET = "sk-very-secret-value"
KEY_LINES = ['first "line" of a key', "second l\u00efne of a key"]
KEY = "\n".join(KEY_LINES)


@dataclass
class Phase:
    outcome: str
    duration: float = 1.0
    error: str = ""
    fault: str = ""
    report: str = ""


@pytest.fixture
def recorder(tmp_path):
    redactor = Redactor()
    redactor.add(SECRET, KEY)
    return Recorder(tmp_path / "results", "t.py::test_x", redactor, line=6, rerun="pytest t.py")


def record(recorder, *events, conversation="1"):
    for one in events:
        recorder.record_event(conversation, parse_event(one))


def ask(recorder, number=1, messages=(), answer=b"{}", conversation="1", **fields):
    call = LLMCall(number, datetime.now(UTC), "/chat/completions", model="gpt")
    observer = recorder.llm_observer(conversation)
    observer.asked(call, News(list(messages)))
    ended = {"origin": "live", "status": 200, "cost": 0.5, "usage": Usage(10, 1), "duration": 0.1}
    for name, value in (ended | fields).items():
        setattr(call, name, value)
    observer.answered(call, answer)


def lines(recorder, name="events.jsonl"):
    path = recorder.folder / name
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def on_disk(recorder):
    return result.read(recorder.folder)


def test_everything_is_on_disk_at_once(recorder):
    assert on_disk(recorder).verdict == "running"
    assert on_disk(recorder).rerun == "pytest t.py"
    record(recorder, message("user", "h\u00e9llo"))
    (event,) = lines(recorder)
    assert event["conversation"] == "1"
    assert event["event"]["llm_message"]["content"][0]["text"] == "h\u00e9llo"
    record(recorder, message("agent", "yes", 1), action(2), observation("x", 3))
    ask(recorder)
    assert [line["state"] for line in lines(recorder, "llm-calls.jsonl")] == ["asked", "answered"]
    # If pytest is killed now:
    assert on_disk(recorder).steps == 2
    assert on_disk(recorder).llm.calls == {"live": 1}
    assert on_disk(recorder).llm.cost == 0.5


def test_finishing_returns_sections_and_leaves_the_files(recorder):
    recorder.new_log().write_text("".join(f"log line {n}\n" for n in range(100)))
    record(recorder, message("user", "hello"))
    recorder.record_diff("box", "diff --git a/x b/x\n@@ -0,0 +1 @@\n" + "+a line\n" * 500)
    failure = Phase("failed", 2.5, "AssertionError: no\nmore", "assertion", "E   no")
    told = dict(complete(recorder, {"setup": Phase("passed"), "call": failure}))
    assert list(told) == [
        "agent transcript",
        "container log",
        "workspace changes",
        "agent evidence",
    ]
    assert str(recorder.folder) in told["agent evidence"]
    found = on_disk(recorder)
    assert (found.test, found.line, found.verdict) == ("t.py::test_x", 6, "failed")
    assert (found.fault, found.headline) == ("assertion", "AssertionError: no")
    assert (found.duration, found.masked) == (3.5, 0)
    assert found.phases["call"]["report"] == "E   no"
    assert {path.name for path in recorder.folder.iterdir()} == {
        "container.log",
        "events.jsonl",
        "result.json",
        "transcript.html",
        "workspace.diff",
    }


def test_a_folder_that_is_not_kept_needs_no_page(recorder):
    told = dict(complete(recorder, {"call": Phase("failed")}, keep=False))
    assert "not kept" in told["agent evidence"]
    assert not (recorder.folder / "transcript.html").exists()


def test_the_page_lists_the_other_files_as_they_are_at_the_end(recorder):
    recorder.note("a note, which becomes a hint in result.json too")
    complete(recorder, {"call": Phase("failed")})
    page = (recorder.folder / "transcript.html").read_text("utf-8")
    size = (recorder.folder / "result.json").stat().st_size
    assert f'{{"name":"result.json","size":{size}}}' in page


def test_a_story_that_cannot_be_told_has_a_verdict(recorder, monkeypatch):
    def unknown(*_):
        raise KeyError("an event that nobody has thought of")

    monkeypatch.setattr("pytest_agent_sandbox.plugin.report.complete.build_story", unknown)
    with pytest.raises(KeyError):
        complete(recorder, {"call": Phase("failed", error="E: no")})
    assert (on_disk(recorder).verdict, on_disk(recorder).headline) == ("failed", "E: no")


def test_a_secret_that_became_known_late_is_in_no_section(tmp_path):
    redactor = Redactor()
    recorder = Recorder(tmp_path, "t.py::test_x", redactor)
    recorder.note(f"a note on {SECRET}")
    redactor.add(SECRET)
    assert (
        "note:  a note on ***"
        in dict(complete(recorder, {"call": Phase("failed")}))["agent evidence"]
    )


def test_an_event_is_kept_once_for_each_conversation(recorder):
    # A fork's events begin with those of its conversation.
    record(recorder, message("user", "a"), action(1), message("user", "a"), action(1))
    record(recorder, message("user", "a"), conversation="2")
    passing = {"kind": "StreamingDeltaEvent", "content": "h"}  # has no id
    record(recorder, passing, passing)
    assert len(lines(recorder)) == 5
    assert recorder.result.steps == 1


def leak_everywhere(recorder, text):
    log = LogFile(recorder.new_log(), recorder.mask)
    log.write(f"a line with {text} in it\n".encode())
    log.close()
    record(recorder, message("user", f"my key is {text}"))
    ask(
        recorder,
        messages=[{"role": "user", "content": f"use {text}", f"{text}": 1}],
        answer=json.dumps({"content": text}).encode(),
    )
    ask(recorder, 2, origin=None, status=400, problem=f"no: {text}")
    recorder.record_diff("box", f"diff --git a/x b/x\n@@ -0,0 +1 @@\n+{text}\n")
    recorder.record_sandbox("box", command=text, memory="2g")
    recorder.record_conversation(1, status=f"unknown: {text}", tokens=5)
    recorder.note(f"a note on {text}")
    failure = Phase("failed", 1.0, f"E: {text}", "test", f"E   {text}")
    return complete(recorder, {"call": failure})


@pytest.mark.parametrize("secret", [SECRET, *KEY_LINES])
def test_secrets_are_in_no_file_and_no_section(recorder, secret):
    sections = leak_everywhere(recorder, secret)
    spelled = {secret, *(json.dumps(secret, ensure_ascii=way)[1:-1] for way in (True, False))}
    spelled |= {json.dumps(one, ensure_ascii=way)[1:-1] for one in spelled for way in (True, False)}
    assert not [one for one in spelled if one in repr(sections)]
    files = list(recorder.folder.iterdir())
    assert len(files) == 6
    for file in files:
        text = file.read_text("utf-8")
        assert "***" in text, file
        assert not [one for one in spelled if one in text], file
    found = on_disk(recorder)
    assert found.headline == "E: ***"
    assert found.notes == ["a note on ***"]
    # The log, the event, a message, its field, the answer, the problem, the diff, the sandbox, the
    # conversation, the note, the error and the report.
    assert found.masked == 12


def test_a_tool_call_in_an_answer_hides_no_secret(recorder):
    arguments = json.dumps({"command": f"echo '{KEY}'"})
    answer = json.dumps({"tool_calls": [{"function": {"arguments": arguments}}]})
    ask(recorder, answer=answer.encode())
    (_, answered) = lines(recorder, "llm-calls.jsonl")
    assert json.loads(answered["answer"]) == {
        "tool_calls": [{"function": {"arguments": '{"command": "echo \'***\'"}'}}]
    }


def test_a_secret_in_the_test_s_own_name_is_not_in_the_run_s_table_either(tmp_path):
    redactor = Redactor()
    redactor.add(SECRET)
    recorder = Recorder(tmp_path, f"t.py::test_x[{SECRET}]", redactor, rerun=f"pytest {SECRET}")
    assert recorder.result.row().test == "t.py::test_x[***]"
    assert on_disk(recorder).rerun == "pytest ***"


def test_a_secret_of_digits_does_not_break_what_is_written(tmp_path):
    redactor = Redactor()
    recorder = Recorder(tmp_path, "t.py::test_x", redactor)
    redactor.add(str(int(recorder.result.started)))
    record(recorder, message("user", f"now is {int(recorder.result.started)}"))
    complete(recorder, {"call": Phase("failed")})
    assert on_disk(recorder).started == recorder.result.started
    assert lines(recorder)[0]["event"]["llm_message"]["content"][0]["text"] == "now is ***"


def test_a_secret_is_masked_whole_before_its_text_is_shortened(recorder):
    record(recorder, message("user", "x" * 95 + SECRET))
    failure = Phase("failed", error="E: " + "x" * 290 + SECRET)
    told = dict(complete(recorder, {"call": failure}))
    assert SECRET[:4] not in repr(told)
    assert on_disk(recorder).headline.endswith("x***")


def test_several_containers_have_a_log_each(recorder):
    paths = [recorder.new_log() for _ in range(3)]
    assert [path.name for path in paths] == ["container.log", "container-2.log", "container-3.log"]


def test_the_diff_of_one_workspace_is_a_diff_and_nothing_else(recorder):
    recorder.new_log()
    recorder.record_diff("one", "diff --git a/x b/x\n")
    assert (recorder.folder / "workspace.diff").read_text() == "diff --git a/x b/x\n"


def test_diffs_of_several_workspaces_are_told_apart(recorder):
    for _ in range(3):
        recorder.new_log()
    recorder.record_diff("one", "diff --git a/x b/x\nnew file mode 100644")
    recorder.record_diff("two", "")
    recorder.record_diff("three", "(the workspace could not be read: gone)\n")
    text = (recorder.folder / "workspace.diff").read_text("utf-8")
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# one",
        "# two",
        "# three",
    ]
    told = dict(complete(recorder, {"call": Phase("failed")}))
    assert told["workspace changes"].startswith(
        "three: (the workspace could not be read: gone)\nadded     one: x  +0 -0\n"
    )


def test_a_long_diff_is_shortened_and_that_is_said(recorder, monkeypatch):
    monkeypatch.setattr(limits, "RECORDED_DIFF", 1000)
    recorder.record_diff("box", "x" * 900 + SECRET + "y" * 150)
    complete(recorder, {"call": Phase("failed")})
    text = (recorder.folder / "workspace.diff").read_text("utf-8")
    assert "53 characters are left out here" in text
    assert on_disk(recorder).cuts == ["workspace.diff lacks 53 characters in the middle."]


def test_long_failures_are_shortened(recorder):
    long = "x" * 10_000_000
    complete(recorder, {"call": Phase("failed", error=f"E: {long}", report=long)})
    assert (recorder.folder / "result.json").stat().st_size < 3 * limits.FAILURE_TEXT


def test_a_full_file_keeps_its_end_and_that_is_said(recorder, monkeypatch):
    monkeypatch.setattr(recorder._events, "_room", 1000)
    record(recorder, *(message("user", f"message {n}", n) for n in range(60)))
    told = dict(complete(recorder, {"call": Phase("failed")}))
    assert "message 59" in told["agent transcript"]
    (mark,) = [line["left_out"] for line in lines(recorder) if "left_out" in line]
    assert len(lines(recorder)) - 1 + mark == 60
    assert on_disk(recorder).cuts == [
        f"{mark} records before the last ones found no room in events.jsonl."
    ]


def test_facts_grow(recorder):
    recorder.record_sandbox("box", image="img", start_seconds=1.5)
    recorder.record_sandbox("other", image="img")
    recorder.record_sandbox("box", state="exited", exit_code=1)
    recorder.record_conversation(1, status="running")
    recorder.record_conversation(1, status="finished")
    found = on_disk(recorder)
    assert found.sandboxes == [
        {"container": "box", "image": "img", "start_seconds": 1.5, "state": "exited",
         "exit_code": 1},
        {"container": "other", "image": "img"},
    ]  # fmt: skip
    assert found.conversations == [{"number": 1, "status": "finished"}]


def test_a_test_that_was_interrupted_has_its_result_too(recorder):
    record(recorder, message("user", "hello"))
    complete_interrupted(recorder)
    found = on_disk(recorder)
    assert (found.verdict, found.masked) == ("running", 0)
    assert (recorder.folder / "transcript.html").exists()


def test_a_failure_that_is_judged_twice_is_counted_once(recorder):
    failure = {"setup": Phase("failed", error=f"E: {SECRET}", fault="sandbox")}
    judge(recorder, failure)
    complete(recorder, failure)
    assert on_disk(recorder).masked == 1


def test_what_is_known_of_an_interrupted_test_stays(recorder):
    judge(recorder, {"setup": Phase("failed", error="E: no", fault="sandbox")})
    complete_interrupted(recorder)
    found = on_disk(recorder)
    assert (found.verdict, found.fault, found.headline) == ("failed", "sandbox", "E: no")
    assert "setup" in found.phases


def test_an_end_is_not_undone(recorder):
    complete(recorder, {"call": Phase("failed")})
    before = {path: path.read_bytes() for path in recorder.folder.iterdir()}
    record(recorder, message("user", "late"))
    ask(recorder)
    complete_interrupted(recorder)
    assert {path: path.read_bytes() for path in recorder.folder.iterdir()} == before


def test_discarding_leaves_nothing(recorder):
    recorder.new_log().write_text("x")
    recorder.discard()
    record(recorder, message("user", "late"))
    ask(recorder)
    complete_interrupted(recorder)
    assert not recorder.folder.exists()


def test_a_full_disk_is_the_test_s_end_once_and_no_agent_s_failure(recorder, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    record(recorder, message("user", "hello"))
    monkeypatch.setattr(recorder._llm_calls, "_write", full)
    ask(recorder)
    monkeypatch.setattr(recorder._events, "end", full)
    with pytest.raises(OSError, match="no space"):
        complete(recorder, {"call": Phase("failed", error="E: no")})
    complete_interrupted(recorder)
    assert recorder.result.headline == "E: no"


def test_many_threads_at_once(recorder):
    def work(number):
        for n in range(50):
            record(recorder, message("agent", SECRET, n), conversation=str(number))
            ask(recorder, n, conversation=str(number))

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    complete(recorder, {"call": Phase("passed")})
    found = on_disk(recorder)
    assert len(lines(recorder)) == 200
    assert len(lines(recorder, "llm-calls.jsonl")) == 400
    assert (found.steps, found.llm.calls, found.masked) == (200, {"live": 200}, 200)


def test_memory_does_not_grow_with_the_events(recorder):
    text = "output of a command\n" * 500  # 10 KB
    record(recorder, observation(text, 0))
    tracemalloc.start()
    try:
        for n in range(1, 2001):
            record(recorder, observation(text, n / 100))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2_000_000


def browser_state(data, seconds=0.0):
    return observation("{}", seconds, tool="browser_get_state", screenshot_data=data)


def test_screenshots_are_files_and_the_event_stays_as_it_is(recorder):
    shot = encoded(png(comment=b"x" * 2 * limits.RECORDED_TEXT))
    event = parse_event(browser_state(shot))
    recorder.record_event("1", event)
    assert event.raw == browser_state(shot)
    assert event.observation.model_extra["screenshot_data"] == shot
    (line,) = lines(recorder)
    assert line["event"]["observation"]["screenshot_data"] == "screenshot-1.png"
    assert line["pictures"] == ["screenshot-1.png"]
    assert encoded((recorder.folder / "screenshot-1.png").read_bytes()) == shot
    assert (recorder.folder / "events.jsonl").stat().st_size < 2000


def test_a_picture_of_an_event_and_of_a_request_is_one_file(recorder):
    asked = {"role": "user", "content": [{"image_url": {"url": data_url(png())}}]}
    record(recorder, browser_state(encoded(png())))
    ask(recorder, messages=[asked])
    asked["content"][0]["image_url"]["url"] = "screenshot-1.png"
    assert lines(recorder, "llm-calls.jsonl")[0]["new_messages"] == [asked]
    assert lines(recorder, "llm-calls.jsonl")[0]["pictures"] == ["screenshot-1.png"]
    assert "pictures" not in lines(recorder, "llm-calls.jsonl")[1]
    complete(recorder, {"call": Phase("failed")})
    page = (recorder.folder / "transcript.html").read_text("utf-8")
    assert page.count(encoded(png())) == 1
    assert len(list(recorder.folder.glob("screenshot-*"))) == 1


def test_a_secret_is_not_looked_for_in_the_data_of_a_picture(tmp_path):
    redactor = Redactor()
    redactor.add(encoded(png())[20:40])
    recorder = Recorder(tmp_path, "t.py::test_x", redactor)
    record(recorder, browser_state(encoded(png())))
    assert (recorder.folder / "screenshot-1.png").read_bytes() == png()


def test_a_picture_that_is_left_out_is_said_to_be(recorder, monkeypatch):
    monkeypatch.setattr(limits, "RECORDED_PICTURES_SIZE", 200)
    record(recorder, action(1, tool="browser_get_state", include_screenshot=True),
           browser_state(encoded(png(comment=b"x" * 200)), 2))  # fmt: skip
    complete(recorder, {"call": Phase("failed")})
    said = "1 screenshots found no room, or hold a secret."
    assert on_disk(recorder).cuts == [said]
    (step,) = read_story(recorder.folder).steps
    assert step.facts[-1] == ("picture", "screenshot-1.png was left out")
    assert said in (recorder.folder / "transcript.html").read_text("utf-8")


def test_after_the_end_no_picture_is_written(recorder):
    recorder.discard()
    record(recorder, browser_state(encoded(png())))
    ask(recorder, messages=[{"image_url": data_url(png())}])
    assert not recorder.folder.exists()


def test_several_desktops_have_a_video_each(recorder):
    paths = [recorder.new_video() for _ in range(3)]
    assert [path.name for path in paths] == ["desktop.mp4", "desktop-2.mp4", "desktop-3.mp4"]
    paths[1].write_bytes(b"x")
    paths[2].write_bytes(b"")
    told = dict(complete(recorder, {"call": Phase("failed")}))
    assert [line for line in told["agent evidence"].splitlines() if "video" in line[:5]] == [
        f"video: {paths[1]}"
    ]
