"""A conversation on a terminal, as it happens."""

import io
import threading
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from pytest_agent_sandbox.client.events import parse_event
from pytest_agent_sandbox.evidence.live_view import LiveView, terminal
from tests.evidence.images import JPEG, data_url, encoded, png
from tests.support.events import action, event, message, result, status

SECRET = "sk-very-secret-value"


def printed(*events, colours=False, **settings):
    file = io.StringIO()
    console = Console(file=file, soft_wrap=True, highlight=False, markup=False, emoji=False,
                      force_terminal=colours, width=80)  # fmt: skip
    view = LiveView(console, **settings)
    for one in events:
        view(parse_event(one))
    return file.getvalue()


def test_the_story_as_it_comes():
    text = printed(
        message("user", "List the files.", 1.0),
        status("running", 1.25),
        status("running", 1.5),
        action(2.0, command="ls", thought="I will look."),
        result("a.txt\nb.txt", 3.5),
        action(4.0, "c2", command="false"),
        result("", 4.5, "c2", exit_code=1),
        result("went wrong", 4.75, "c3", is_error=True),
        event("SystemPromptEvent", 4.75, system_prompt={"type": "text", "text": "x"}),
        event("NewThing", 4.75),
        message("agent", "Two files.", 5.0),
        status("finished", 5.25),
    )
    assert text.splitlines() == [
        "    0.00s  user     List the files.",
        "    0.25s  status   running",
        "    1.00s  agent    I will look.",
        "                    terminal  ls",
        "    2.50s  result   a.txt",
        "                    b.txt",
        "    3.00s  agent    terminal  false",
        "    3.50s  error    (no output)  [exit 1]",
        "    3.75s  error    went wrong",
        "    4.00s  agent    Two files.",
        "    4.25s  status   finished",
    ]


def test_a_prefix_stands_before_each_line():
    text = printed(message("user", "a\nb"), prefix="[gw0 test_x] ")
    assert [line[:13] for line in text.splitlines()] == ["[gw0 test_x] "] * 2


def test_nothing_is_taken_for_markup():
    assert "[bold]x[/bold] :smile:" in printed(message("user", "[bold]x[/bold] :smile:"))


def test_secrets_are_masked_also_where_a_text_is_cut():
    def mask(text):
        return text.replace(SECRET, "***")

    text = printed(
        message("user", "x" * 95 + SECRET),
        action(1, command="y" * 90 + SECRET + "z" * 400, thought=SECRET),
        result("\n".join(["line"] * 5 + [SECRET] + ["line"] * 30), 2),
        mask=mask,
    )
    assert SECRET[:4] not in text
    assert text.count("***") >= 3


def test_nothing_steers_the_terminal():
    evil = "\x1b[2Jgone\rover\x9b\u202e\n::error::x\n##[group]x\ud800"
    text = printed(
        message("user", evil),
        message(evil, evil),
        action(1, tool=evil, command=evil, thought=evil),
        result(evil, 2),
        event("AgentErrorEvent", 3, error=evil, tool_name=evil),
        event("ConversationErrorEvent", 3, code=evil, detail=evil),
    )
    assert not set(text) & set("\x1b\r\x9b\u202e\ud800")
    assert "##[" not in text
    assert not [line for line in text.splitlines() if line.strip().startswith("::")]


def test_times_that_are_none_or_run_backwards():
    text = printed(
        message("user", "a") | {"timestamp": "?"},
        message("user", "b", 10),
        message("user", "c", 5),
        message("user", "d", 11.5),
    )
    assert [line.split()[0] for line in text.splitlines()] == ["user", "0.00s", "0.00s", "1.50s"]


def test_times_are_those_of_the_test_where_it_is_known():
    now = datetime.now(UTC)
    texts = [(now + timedelta(seconds=seconds)).replace(tzinfo=None) for seconds in (0, 1.5)]
    text = printed(
        *(message("user", "a") | {"timestamp": text.isoformat()} for text in texts),
        started=now.timestamp() - 10,
    )
    assert [line.split()[0] for line in text.splitlines()] == ["10.00s", "11.50s"]


def test_long_texts_are_shortened():
    text = printed(message("user", "x" * 1_000_000), result("y\n" * 100_000, 1))
    assert len(text.splitlines()) == 14
    assert max(map(len, text.splitlines())) < 160


@pytest.mark.parametrize(
    "one",
    [None, {}, {"kind": "ActionEvent", "id": 5}, {"kind": "MessageEvent", "llm_message": None}],
)
def test_events_that_are_not_what_their_kind_promises(one):
    printed(one, message("user", "a"))


def test_colours_tell_who_speaks():
    text = printed(message("user", "a"), action(1, command="ls"), result("x", 2), colours=True)
    user, call, output = text.splitlines()
    assert user.startswith("\x1b[1;32m")
    assert call.startswith("\x1b[36m")
    assert "\x1b" not in output


def test_conversations_that_print_at_once_keep_their_lines_whole():
    file = io.StringIO()
    view = LiveView(Console(file=file, soft_wrap=True))
    events = [parse_event(message("user", f"{n} " + "x" * 50 + "\n" + "y" * 50)) for n in range(50)]

    def show():
        for one in events:
            view(one)

    threads = [threading.Thread(target=show) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = file.getvalue().splitlines()
    assert len(lines) == 400
    assert all(line.endswith("y" * 50) for line in lines[1::2])


def test_the_terminal_is_standard_output(capsys):
    LiveView(terminal())(parse_event(message("user", "hello [x]")))
    assert capsys.readouterr().out == "    0.00s  user     hello [x]\n"


def test_pictures_are_told_and_never_printed():
    shown = message("user", "", 0)
    shown["llm_message"]["content"] = [{"type": "image", "image_urls": [data_url(JPEG, "jpeg")]}]
    text = printed(
        shown,
        action(1, tool="browser_get_state", include_screenshot=True),
        result("{}", 2, tool="browser_get_state", screenshot_data=encoded(png(1280, 800))),
    )
    assert text.splitlines() == [
        "    0.00s  user     ",
        "                    picture: JPEG, 3x2 pixels",
        "    1.00s  agent    browser_get_state  include_screenshot: true",
        "                    arguments:",
        "                      {",
        '                       "include_screenshot": true',
        "                      }",
        "    2.00s  result   {}",
        "                    picture: PNG, 1280x800 pixels",
    ]


def test_an_acp_call_is_told_once_and_its_end_as_its_result():
    def news(seconds, **fields):
        return event("ACPToolCallEvent", seconds, tool_call_id="x", tool_kind="execute", **fields)

    shown = printed(
        news(1, status="pending", raw_input={"command": "ls"}),
        news(2, status="completed", raw_input={"command": "ls"}, raw_output="a.txt"),
    )
    assert [" ".join(line.split()) for line in shown.splitlines()] == [
        "0.00s agent execute ls",
        "1.00s result a.txt",
    ]
