"""A story on the terminal."""

import re
from pathlib import Path

import pytest

from pytest_agent_sandbox.evidence import page, sections
from pytest_agent_sandbox.evidence.sections import printable
from pytest_agent_sandbox.evidence.story import (
    WHOSE,
    Change,
    Hint,
    LogLine,
    Part,
    RawFile,
    Step,
    TestStory,
)
from tests.evidence.stories import failing_story, hostile_story, long_story

FOLDER = Path("results/x")


def story(**fields):
    return TestStory(**{"test": "t.py::test_x", "verdict": "failed", "fault": "assertion"} | fields)


def said(text, time=0.0, who="agent", conversation="1"):
    part = Part(label="text", text=text)
    return Step(kind="message", title=who, summary=text.partition("\n")[0], time=time,
                conversation=conversation, parts=[part])  # fmt: skip


def called(summary, time=0.0, result="", code="0", conversation="1", **fields):
    parts = [Part(label="command", text=summary), Part(label="result", text=result)]
    return Step(kind="tool", title="terminal", tool="terminal", summary=summary, time=time,
                conversation=conversation, facts=[("exit code", code)], parts=parts,
                is_error=code != "0", **fields)  # fmt: skip


def shown(**fields):
    return dict(sections.of(story(**fields), FOLDER))


def transcript(*steps):
    return sections.transcript(story(steps=list(steps))).splitlines()


def test_the_sections_of_a_failed_test():
    told = shown(
        steps=[said("Tidy up.", 0, "user"), called("ls", 1, "a.txt\nb.txt"), said("Done.", 2.5)],
        log=[LogLine(time=1.0, level="INFO", text="x")],
        changes=[Change(path="a.txt", status="deleted", added=0, removed=1, diff="-a\n")],
        hints=[Hint(text="Memory ran out.")],
        rerun="pytest t.py::test_x",
    )
    assert list(told) == [
        "agent transcript",
        "container log",
        "workspace changes",
        "agent evidence",
    ]
    assert told["agent transcript"].splitlines() == [
        "    0.00s  user     Tidy up.",
        "    1.00s  agent    terminal  ls",
        "                    result:",
        "                      a.txt",
        "                      b.txt",
        "    2.50s  agent    Done.",
    ]
    assert told["workspace changes"] == "deleted   a.txt  +0 -1\n\n-a\n"
    assert told["agent evidence"].splitlines() == [
        "fault: an assertion did not hold",
        "note:  Memory ran out.",
        f"page:  {FOLDER / 'transcript.html'}",
        "again: pytest t.py::test_x",
    ]


def test_a_story_without_anything():
    assert sections.of(story(fault=""), FOLDER) == [
        ("agent evidence", f"page:  {FOLDER / 'transcript.html'}\n")
    ]
    ((_, text),) = sections.of(story(fault="sandbox"), None)
    assert text.splitlines() == [
        "fault: the sandbox",
        "page:  not kept (sandbox_artifacts = none)",
    ]


def test_the_last_steps_are_shown_in_full_and_earlier_ones_on_a_line_each():
    lines = transcript(*(called(f"command {n}", n, f"result {n}") for n in range(100)))
    assert lines[0].strip() == "… 76 earlier steps are in transcript.html"
    assert lines[1] == "   76.00s  agent    terminal  command 76"
    assert len(lines) == 1 + 20 + 4 * 2
    assert lines[-1].strip() == "result: result 99"


def test_how_calls_failed():
    failed = called("a", 1)
    failed.is_error = True
    lines = transcript(called("false", 0, code="1"), failed)
    assert [line[9:] for line in lines] == [
        "  agent    terminal  false  [exit 1]",
        "  agent    terminal  a  [failed]",
    ]


def test_steps_stay_in_their_order_also_those_without_a_time():
    refused = Step(kind="llm", title="LLM call 2", summary="refused", time=1.5, is_error=True)
    fine = Step(kind="llm", title="LLM call 1", summary="live", time=0.5)
    lines = transcript(said("a", 1), fine, refused, said("b", None), said("c", 2))
    assert [line.split()[-1] for line in lines] == ["a", "refused", "b", "c"]
    assert lines[2] == " " * 11 + "agent    b"


def test_a_refusal_that_the_failure_tells_is_a_line():
    refused = Step(
        kind="llm",
        title="LLM call 1",
        summary="Not as recorded: message 2 (user):",
        is_error=True,
        parts=[Part(label="problem", text="- a\n+ b"), Part(label="new: system", text="x\n" * 99)],
    )
    failed = Step(kind="error", title="error", summary="400", parts=[Part(label="d", text="- a")])
    steps = [said("Go.", 0, "user"), refused, failed]
    assert len(sections.transcript(story(steps=steps, fault="script")).splitlines()) == 3
    assert len(sections.transcript(story(steps=steps, fault="agent")).splitlines()) > 10


def test_whose_fault_it_was_is_said_in_the_same_words_everywhere():
    for fault, words in WHOSE.items():
        assert f"fault: {words}\n" in shown(fault=fault)["agent evidence"]
    script = (Path(page.__file__).parent / "common.js").read_text("utf-8")
    found = re.search(r"const FAULTS = \{(.*?)\}", script, re.DOTALL)
    in_page = dict(re.findall(r'(\w+): "(.*)"', found[1]))
    assert {name: words.replace("\\u2019", "'") for name, words in in_page.items()} == dict(WHOSE)


def test_several_conversations_are_told_apart():
    lines = transcript(said("a", conversation="1"), said("b", conversation="2"))
    assert [line.split()[1:] for line in lines] == [["1", "agent", "a"], ["2", "agent", "b"]]


def test_long_texts_are_shortened_and_say_so():
    lines = transcript(said("\n".join(f"line {n}" for n in range(100))))
    assert len(lines) == 13
    assert lines[6].strip() == "… 88 more lines"
    (line,) = transcript(said("x" * 10_000_000))
    assert line.endswith("x… (10,000,000 characters)")
    assert len(line) < 160


def trouble(level="WARNING", text="memory is low"):
    return LogLine(time=1.0, level=level, text=text)


def test_the_log_where_the_sandbox_is_not_to_blame():
    lines = [LogLine(time=None, level="INFO", text="x")] * 50
    quiet = shown(steps=[said("a")], log=lines)["container log"]
    assert quiet.strip() == "… 50 lines, no warning among them, are in container.log"
    loud = shown(steps=[said("a")], log=[*lines, *[trouble()] * 7, *lines])["container log"]
    assert loud.splitlines()[0].strip() == "… 102 other lines are in container.log"
    assert loud.splitlines()[1:] == ["    1.00s  warning  memory is low"] * 5


@pytest.mark.parametrize(
    "fields", [{"fault": "sandbox", "steps": [said("a")]}, {"verdict": "running", "fault": ""}]
)
def test_the_log_s_end_where_the_sandbox_may_be_to_blame(fields):
    lines = [LogLine(time=None, level="", text=str(number)) for number in range(40)]
    text = shown(log=lines, **fields)["container log"]
    assert text.splitlines()[0].strip() == "… 25 other lines are in container.log"
    assert [line.strip() for line in text.splitlines()[1:]] == [str(n) for n in range(25, 40)]


def test_changes():
    change = Change(path="x", status="added", added=500, removed=0, diff="+a line\n" * 500)
    text = shown(changes=[change] * 50, changes_note="two: gone")["workspace changes"]
    lines = text.splitlines()
    assert lines[:2] == ["two: gone", "added     x  +500 -0"]
    assert lines[41:44] == ["… 10 more files", "", "+a line"]
    assert lines[-1] == "… 24960 more lines are in workspace.diff"


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[2J\x1b[H",
        "\x1b]0;title\x07",
        "\x1b]8;;http://evil.example\x1b\\link",
        "\x9b2J",
        "a\rb",
        "a\bb",
        "\x7f",
        "\x1b[\x1b[0m2J",
        "\x1b[38:5:1m\x1bc",
        "\u202eevil",
        "\u2066\u2069",
        "\ud800",
        "\x00",
        "\x0e",
    ],
)
def test_nothing_steers_the_terminal(text):
    plain = printable(f"before {text} after")
    bad = [*range(32), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
    assert not set(plain) & {chr(code) for code in bad if chr(code) not in "\n\t"}
    assert plain.startswith("before ")
    assert plain.endswith(" after")
    plain.encode()


def test_colours_go_and_the_rest_stays():
    assert printable("\x1b[1m\x1b[38;5;1mred\x1b[0m\ttab\n\u00e9\u4e2d\u05d0") == (
        "red\ttab\n\u00e9\u4e2d\u05d0"
    )


def obeyed(text):
    """What GitHub's runner takes for commands: at a line's begin, and the older form anywhere."""
    lines = text.replace("\r", "\n").split("\n")
    return [line for line in lines if line.strip().startswith("::") or "##[" in line]


@pytest.mark.parametrize(
    "text",
    [
        "::error::x",
        "a\n::add-mask::x",
        "  \t::stop-commands::token",
        "\u00a0\u3000\u2028::error file=a,line=1::x",
        "a ##[error]x",
        "##[group]x",
        "#\x1b[0m#[error]x",
        ":\x1b[1m:error::x",
        "\x1b[1m::error::x",
        "a\r::error::x",
        "a\r\n::warning::x",
        "\n\n::error::x",
        ":::error::x",
    ],
)
def test_nothing_steers_github_s_runner(text):
    assert obeyed(printable(text)) == []


def test_colons_elsewhere_stay():
    text = "t.py::test_x\nstd::vector :: a\n# [x] ## title"
    assert printable(text) == text


def test_hostile_agents_steer_nothing_by_any_section():
    evil = "x\n::error::e\x1b[2J\u202e\n##[group]g\r::add-mask::m"
    step = called(evil, 1.0, evil)
    step.title = evil
    odd = Step(
        kind="error", title=evil, summary=evil, conversation=evil, facts=[("exit code", evil)]
    )
    hostile = story(
        fault="sandbox",
        steps=[said(evil, who=evil), step, odd, said(evil)],
        log=[LogLine(time=None, level=evil, text=evil)],
        changes=[Change(path=evil, status="", added=0, removed=0, diff=evil)],
        changes_note=evil,
        hints=[Hint(text=evil)],
        rerun=evil,
    )
    told = sections.of(hostile, FOLDER)
    assert len(told) == 4
    for _, text in told:
        assert obeyed(text) == []
        assert not set(text) & set("\x1b\r\u202e")


@pytest.mark.parametrize("make", [failing_story, hostile_story, long_story])
def test_stories_of_all_kinds_fit_on_a_screen(make):
    for title, text in sections.of(make(), FOLDER):
        assert len(text.splitlines()) < 130, title
        text.encode()


def test_pictures_and_videos_are_named():
    looked = called("include_screenshot: true", 1, "{}", pictures=["screenshot-1.png"])
    asked = said("Look.", 0, "user")
    asked.pictures = [f"screenshot-{number}.png" for number in range(2, 10)]
    assert transcript(asked, looked) == [
        "    0.00s  user     Look.",
        *(f"                    picture: screenshot-{number}.png" for number in range(2, 7)),
        "                    … 3 more pictures",
        "    1.00s  agent    terminal  include_screenshot: true",
        "                    result: {}",
        "                    picture: screenshot-1.png",
    ]
    videos = [RawFile(name="desktop.mp4", size=5), RawFile(name="desktop-2.mp4", size=5)]
    told = shown(videos=videos)["agent evidence"].splitlines()
    assert told[1:] == [
        f"page:  {FOLDER / 'transcript.html'}",
        f"video: {FOLDER / 'desktop.mp4'}",
        f"video: {FOLDER / 'desktop-2.mp4'}",
    ]
    assert "video" not in dict(sections.of(story(videos=videos), None))["agent evidence"]
