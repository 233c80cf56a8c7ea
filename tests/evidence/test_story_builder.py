"""A test's story out of its files, whole and broken."""

import copy
import json
import random
import time

import pytest

from pytest_agent_sandbox.evidence import folders, limits, sections
from pytest_agent_sandbox.evidence.page.fit import fit
from pytest_agent_sandbox.evidence.page.render import render_test
from pytest_agent_sandbox.evidence.result import LLMTotals, Result
from pytest_agent_sandbox.evidence.story import (
    Change,
    FailedPhase,
    LogLine,
    Part,
    RawFile,
    Step,
    TestStory,
)
from pytest_agent_sandbox.evidence.story_builder import list_files, read_story
from tests.evidence.images import png
from tests.support.events import (
    RECEIVED,
    TIME,
    action,
    message,
    record,
    result,
    status,
    write_records,
)

WARNING = json.dumps(
    {"asctime": "2026-01-01 10:00:02,500", "levelname": "WARNING", "message": "memory\nis low"}
)
ASKED = {"conversation": "1", "number": 1, "state": "asked", "time": RECEIVED + 1,
         "model": "gpt", "new_messages": []}  # fmt: skip
ANSWERED = {"conversation": "1", "number": 1, "state": "answered", "duration": 1.0, "status": 200,
            "origin": "live"}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """What a failed test has left behind."""
    folder = tmp_path / "test_x-1234"
    folder.mkdir()
    Result(
        test="t.py::test_x",
        verdict="failed",
        fault="assertion",
        headline="AssertionError: no",
        started=RECEIVED,
        duration=4.5,
        phases={
            "setup": {"outcome": "passed", "duration": 3.0},
            "call": {"outcome": "failed", "duration": 1.5, "error": "E", "report": "line\nE  no"},
        },
        sandboxes=[{"container": "box", "image": "img:1", "start_seconds": 2.345, "digest": None,
                    "out_of_memory": False, "exit_code": 0}],
        conversations=[{"number": 1, "status": "finished", "cost": 0.5, "tokens": 12345}],
        llm=LLMTotals(calls={"live": 1}, tokens=12345, cost=0.5),
        steps=2,
        masked=0,
    ).write(folder)  # fmt: skip
    write_records(
        folder / "events.jsonl",
        record(message("user", "hello", 0.5)),
        record(action(2, command="ls"), received=RECEIVED + 2),
        record(result("a.txt", 3), received=RECEIVED + 3),
        record(status("finished", 4), received=RECEIVED + 4),
    )
    write_records(folder / "llm-calls.jsonl", ASKED, ANSWERED)
    (folder / "container.log").write_text(f"starting\n{WARNING}\n", encoding="utf-8")
    (folder / "workspace.diff").write_text(
        "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n", encoding="utf-8"
    )
    return folder


def test_the_story(folder):
    story = read_story(folder)
    assert (story.test, story.verdict, story.fault) == ("t.py::test_x", "failed", "assertion")
    assert (story.started, story.duration, story.masked) == (RECEIVED, 4.5, 0)
    assert story.failures == [FailedPhase(phase="call", text="line\nE  no")]
    assert [(step.kind, step.summary, step.time) for step in story.steps] == [
        ("message", "hello", 0.5),
        ("llm", "live", 1.0),
        ("tool", "ls", 2.0),
        ("log", "memory", 2.5),
        ("state", "finished", 4.0),
    ]
    assert [line.text for line in story.log] == ["starting", "memory\nis low"]
    assert [(one.path, one.added, one.removed) for one in story.changes] == [("x", 1, 1)]
    assert story.totals == [
        ("agent steps", "2"),
        ("LLM calls", "1 live"),
        ("tokens", "12,345"),
        ("cost", "$0.5000"),
        ("start-up", "2.3 s"),
    ]
    assert [(section.title, section.facts) for section in story.environment] == [
        ("Sandbox box", [("image", "img:1"), ("started in", "2.35 s"), ("out of memory", "no"),
                         ("exit code", "0")]),
        ("Conversation 1", [("status", "finished"), ("cost, as the server says", "$0.5000"),
                            ("tokens", "12,345")]),
        ("Phases of the test", [("setup", "passed in 3.00 s"), ("call", "failed in 1.50 s")]),
    ]  # fmt: skip
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert list_files(folder) == [RawFile(name=name, size=sizes[name]) for name in sorted(sizes)]
    assert story.index == ""


def test_the_run_s_page_is_linked_where_there_is_one(tmp_path, monkeypatch):
    output = tmp_path / "results"
    folders.begin_run(output, "run")
    folder = folders.make_folder(output, "x")
    assert read_story(folder).index == "../index.html"
    monkeypatch.chdir(folder)
    assert read_story(folder.relative_to(folder)).index == "../index.html"


def test_totals_of_other_kinds(folder):
    Result(llm=LLMTotals(calls={"replayed": 2, "refused": 1}, cost=None, saved=0.25)).write(folder)
    assert read_story(folder).totals == [
        ("agent steps", "0"),
        ("LLM calls", "3"),
        ("tokens", "0"),
        ("cost", "unknown"),
        ("saved by replay", "$0.2500"),
    ]
    Result(llm=LLMTotals(calls={"scripted": 2})).write(folder)
    assert "cost" not in dict(read_story(folder).totals)


def test_several_containers(folder):
    Result(sandboxes=[{"container": "one"}, {"container": "two"}]).write(folder)
    for number in (2, 10, 3):
        (folder / f"container-{number}.log").write_text(f"of {number}\n")
    (folder / "container.log").write_text("of 1\n")
    assert [(line.text, line.container) for line in read_story(folder).log] == [
        ("of 1", "one"),
        ("of 2", "two"),
        ("of 3", "container-3"),
        ("of 10", "container-10"),
    ]


def test_a_server_in_another_time_zone(folder):
    def there(one):
        return one | {"timestamp": one["timestamp"].replace("T10", "T19")}

    write_records(
        folder / "events.jsonl",
        record(there(message("user", "hello", 0.5)), received=RECEIVED + 0.75),
        record(there(action(2)), received=RECEIVED + 2.25),
    )
    (folder / "container.log").write_text(WARNING.replace(" 10:", " 19:"))
    assert [(step.kind, step.time) for step in read_story(folder).steps] == [
        ("message", 0.5),
        ("llm", 1.0),
        ("tool", 2.0),
        ("log", 2.5),
    ]


def test_a_step_without_a_time_stays_behind_the_one_before_it(folder):
    (folder / "llm-calls.jsonl").unlink()
    (folder / "container.log").unlink()
    write_records(
        folder / "events.jsonl",
        record(message("user", "a", 5), "1"),
        record(message("user", "b", 5) | {"timestamp": "?", "id": "b"}, "1"),
        record(message("user", "c", 1), "2"),
    )
    assert [step.summary for step in read_story(folder).steps] == ["c", "a", "b"]


def test_a_test_whose_pytest_was_killed(folder):
    Result(test="t.py::test_x", started=RECEIVED).write(folder)
    whole = (folder / "events.jsonl").read_bytes()
    (folder / "events.jsonl").write_bytes(whole[:-50])
    (folder / "llm-calls.jsonl").write_text(json.dumps(ASKED) + "\n" + json.dumps(ANSWERED)[:20])
    story = read_story(folder)
    assert story.verdict == "running"
    assert [step.summary for step in story.steps] == ["hello", "no answer", "ls", "memory"]
    assert "never came to its end" in story.hints[0].text


def test_an_empty_folder(tmp_path):
    story = read_story(tmp_path)
    assert (story.test, story.verdict, story.steps) == (tmp_path.name, "running", [])
    assert [title for title, _ in sections.of(story, tmp_path)] == ["agent evidence"]
    render_test(fit(story))


def test_without_its_result_a_test_began_with_its_first_event(folder):
    (folder / "result.json").write_text("{")
    story = read_story(folder)
    assert (story.test, story.started) == (folder.name, RECEIVED)
    assert [step.time for step in story.steps][:2] == [0.5, 1.0]


FILES = ["events.jsonl", "llm-calls.jsonl", "container.log", "workspace.diff", "result.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 1000,
        b"\xff\xfe\xfd\n" * 10,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"null\n5\n[]\n{}\n",
        b"x" * 10_000_000,
        b"\n" * 10_000,
        b'{"event": {"kind": "MessageEvent", "llm_message": 5}, "received": "x", "time": []}\n',
        b'{"state": "asked", "number": {}, "time": 1e999, "received": NaN, "event": []}\n',
        "\u2028\u202e\u0000\U0001f600\x1b[2J\r\n".encode(),
    ],
    ids=range(11),
)
def test_a_damaged_file_does_not_take_the_others_along(folder, name, content):
    (folder / name).write_bytes(content)
    story = read_story(folder)
    kinds = {step.kind for step in story.steps}
    assert name == "events.jsonl" or "tool" in kinds
    assert name == "llm-calls.jsonl" or "llm" in kinds
    assert name == "container.log" or "log" in kinds
    assert name == "workspace.diff" or len(story.changes) == 1
    assert name == "result.json" or story.test == "t.py::test_x"
    for title, text in sections.of(fit(story), folder):
        assert len(text) < 100_000, title
    render_test(story)


ODD = [None, 0, -1.5, float("nan"), float("inf"), 10**30, True, "", "\ud800\x1b[2J\n::error::x",
       [], [None], {}, {"text": 5}, "9999-12-31T23:59:59+14:00", "ActionEvent", "MessageEvent",
       "AgentErrorEvent", "ACPToolCallEvent", "ObservationEvent"]  # fmt: skip


def places(value):
    """Where something can be replaced in JSON data: pairs of a container and a key."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


@pytest.mark.parametrize("seed", range(100))
def test_any_value_may_be_any_other(folder, seed):
    chance = random.Random(seed)
    for name in ("events.jsonl", "llm-calls.jsonl", "result.json", "container.log"):
        content = (folder / name).read_text("utf-8")
        lines = [content] if name == "result.json" else content.splitlines()
        for number, line in enumerate(lines):
            if line.startswith("{"):
                value = json.loads(line)
                for _ in range(chance.randrange(4)):
                    container, key = chance.choice(list(places(value)))
                    container[key] = copy.deepcopy(chance.choice(ODD))
                lines[number] = json.dumps(value)
        (folder / name).write_text("\n".join(lines))
    story = read_story(folder)
    for _, text in sections.of(story, folder):
        assert not set(text) & set("\x1b\ud800")
        assert "\n::" not in text
    render_test(fit(story))


def test_facts_of_any_kind(folder):
    odd = {"container": None, "start_seconds": "soon", "cost": [], "image": {}, "x": 10**20,
           "number": {}, "out_of_memory": None, "exit_code": float("nan")}  # fmt: skip
    Result(
        sandboxes=[odd, {}],
        conversations=[odd, {}],
        phases={"call": {}, "setup": {"outcome": 5, "duration": "long"},
                "teardown": {"outcome": "failed", "error": 5, "report": []}},
    ).write(folder)  # fmt: skip
    story = read_story(folder)
    assert all(isinstance(v, str) for s in story.environment for fact in s.facts for v in fact)
    assert story.failures == [FailedPhase(phase="teardown", text="5")]
    render_test(fit(story))


def story_of(**fields):
    return TestStory(test="t.py::test_x", **fields)


def step_of(text, number=0):
    return Step(kind="tool", title="t", summary=str(number), parts=[Part(label="x", text=text)])


def test_a_short_story_stays_as_it_is(folder):
    assert fit(read_story(folder)) == read_story(folder)


def test_one_long_text_is_shortened_and_the_page_says_so():
    text = "a" * limits.PAGE_TEXT + "b" * 100_000
    story = fit(story_of(steps=[step_of(text), step_of("short")]))
    (part,) = story.steps[0].parts
    assert part.cut == 100_000
    assert "100,000 characters are left out here" in part.text
    assert len(part.text) < limits.PAGE_TEXT + 100
    assert story.steps[1].parts[0] == Part(label="x", text="short")
    assert story.cuts == ["1 long texts are shortened on this page; the raw files hold more."]


def test_every_kind_of_text_is_shortened():
    long = "x" * 1_000_000
    story = fit(
        story_of(
            failures=[FailedPhase(phase="call", text=long)],
            steps=[step_of(long)],
            log=[LogLine(time=None, level="", text=long)],
            changes=[Change(path="x", status="", added=0, removed=0, diff=long)],
            changes_note=long,
        )
    )
    assert len(repr(story)) < 5.1 * limits.PAGE_TEXT
    assert story.changes[0].cut == 900_000


def test_how_it_ended_has_the_first_claim_on_the_room(monkeypatch):
    monkeypatch.setattr(limits, "PAGE_TEXTS", 400_000)
    story = story_of(
        failures=[FailedPhase(phase="call", text="f" * 50_000)],
        steps=[step_of("x" * 90_000, number) for number in range(10)],
        log=[LogLine(time=None, level="", text="y" * 50_000)],
    )
    fit(story)
    assert len(story.failures[0].text) == 50_000
    lengths = [len(step.parts[0].text) for step in story.steps]
    assert [length == 90_000 for length in lengths] == [False] * 7 + [True] * 3
    assert max(lengths[:7]) < limits.PAGE_REST + 100
    assert len(story.log[0].text) < limits.PAGE_REST + 100


def test_a_page_has_so_many_steps_and_lines_and_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(limits, "PAGE_THINGS", 10)
    lines = [LogLine(time=None, level="", text=str(number)) for number in range(11)]
    story = fit(story_of(steps=[step_of("", number) for number in range(1010)], log=lines))
    assert [step.summary for step in story.steps] == [str(number) for number in range(1000, 1010)]
    assert story.log[0].text == "1"
    assert story.cuts == [
        "1,000 earlier steps are not on this page, but in events.jsonl.",
        "1 earlier lines of the log are not on this page, but in container.log.",
    ]


def test_five_thousand_events_with_results_are_told_in_no_time(folder):
    def pairs():
        for number in range(2500):
            call, text = f"call_{number}", "output of a command\n" * 500
            seconds = {"timestamp": TIME.format(number % 60)}
            yield record(action(0, call, command="ls") | seconds | {"id": f"a{number}"})
            yield record(result(text, 0, call) | seconds | {"id": f"r{number}"})

    write_records(folder / "events.jsonl", *pairs())
    began = time.perf_counter()
    story = fit(read_story(folder))
    took = time.perf_counter() - began
    assert sum(step.kind == "tool" for step in story.steps) == 2500
    assert took < 5  # 0.2 seconds on a quick machine


def test_pictures_and_videos_beside_the_page(folder):
    for number in (1, 2, 10):
        (folder / f"screenshot-{number}.png").write_bytes(png())
    for name, content in {"desktop-2.mp4": b"two", "desktop-10.mp4": b"ten", "desktop.mp4": b"one",
                          "desktop-3.mp4": b"", "my-desktop.mp4": b"x"}.items():  # fmt: skip
        (folder / name).write_bytes(content)
    events = [record(message("user", "x", n / 10)) for n in range(3)]
    names = ["screenshot-10.png", "screenshot-2.png", "screenshot-5.png"]
    write_records(
        folder / "events.jsonl",
        *(one | {"pictures": [name]} for one, name in zip(events, names, strict=True)),
    )
    write_records(folder / "llm-calls.jsonl", ASKED | {"pictures": ["screenshot-2.png"]}, ANSWERED)
    story = read_story(folder)
    assert [step.pictures for step in story.steps[:4]] == [[names[0]], [names[1]], [], [names[1]]]
    assert [(one.name, one.size, one.data) for one in story.pictures] == [
        (names[0], len(png()), ""),
        (names[1], len(png()), ""),
    ]
    assert story.videos == [
        RawFile(name=name, size=3) for name in ("desktop.mp4", "desktop-2.mp4", "desktop-10.mp4")
    ]
    shots = [file.name for file in list_files(folder) if file.name.startswith("screenshot")]
    assert shots == ["screenshot-1.png", "screenshot-2.png", "screenshot-10.png"]
