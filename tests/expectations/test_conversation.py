"""What is expected of a conversation: what holds, and what is said where it does not."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from pytest_agent_sandbox import expect
from pytest_agent_sandbox.client.event_log import EventLog
from pytest_agent_sandbox.client.events import parse_event
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.expectations.conversation import ConversationExpectation
from tests.support.events import action, message, result


def conversation(*events, status="finished", cost=0.25, tokens=(900, 100)):
    log = EventLog()
    for event in events:
        log.add(parse_event(event))
    used = SimpleNamespace(prompt_tokens=tokens[0], completion_tokens=tokens[1])
    return SimpleNamespace(events=log, status=status, cost=cost, tokens=used)


def call(number, tool="terminal", **arguments):
    return action(float(number), call=f"call_{number}", tool=tool, **arguments)


def answer(number, text="", **fields):
    given = result(text, number + 0.5, call=f"call_{number}", **fields)
    return {**given, "action_id": call(number)["id"]}


@pytest.fixture
def tidy():
    """An agent that reads, edits and tests."""
    return ConversationExpectation(
        conversation(
            message("user", "Tidy up."),
            call(1, command="cat README.md", is_input=False, timeout=None),
            answer(1, "# demo"),
            call(2, tool="file_editor", command="create", path="/a.txt", file_text="one"),
            answer(2, "created"),
            call(3, command="pytest -q tests"),
            answer(3, "1 passed"),
            message("agent", "All tests pass now.", 9.0),
        )
    )


def failure(check, *arguments, **named):
    with pytest.raises(AssertionError) as caught:
        check(*arguments, **named)
    return str(caught.value)


def test_what_holds(tidy):
    (
        tidy.called_tool("terminal")
        .called_tool("terminal", command="cat README.md")
        .called_tool("terminal", command=re.compile(r"^pytest\b"))
        .called_tool("terminal", times=2)
        .called_tool("terminal", at_least=2)
        .called_tool("file_editor", path=lambda path: path.endswith(".txt"), command=...)
        .never_called("browser_navigate")
        .never_called("terminal", command=re.compile("rm -rf"))
        .called_in_order("terminal", "file_editor", ("terminal", {"command": re.compile("pytest")}))
        .at_most(steps=4, tool_calls=3, tokens=1000, cost=0.25)
        .said("tests pass")
        .said(re.compile(r"All \w+"))
        .said(lambda text: len(text) < 100)
        .finished()
        .has_no_errors()
    )


def test_a_call_with_other_arguments_is_shown_with_what_is_other(tidy):
    text = failure(tidy.called_tool, "terminal", command="pytest -x tests")
    assert text.splitlines() == [
        "expected terminal(command='pytest -x tests'), which was not called",
        "nearest is call 3:",
        "  command: expected 'pytest -x tests'",
        "                was 'pytest -q tests'",
        "the agent's tool calls:",
        "    1  terminal(command='cat README.md')",
        "    2  file_editor(command='create', path='/a.txt', file_text='one')",
        "    3  terminal(command='pytest -q tests')",
    ]


def test_a_tool_of_a_similar_name_is_named(tidy):
    text = failure(tidy.called_tool, "fileeditor")
    assert "did you mean 'file_editor'?" in text
    assert "did you mean" not in failure(tidy.called_tool, "browser_navigate")


def test_an_argument_that_there_is_not(tidy):
    text = failure(tidy.called_tool, "file_editor", view_range=[1, 2])
    assert "  view_range: expected [1, 2], and there is none" in text


def test_too_many_and_too_few_calls(tidy):
    assert failure(tidy.called_tool, "terminal", times=1).startswith(
        "expected 1 call of terminal(), and there are 2"
    )
    text = failure(tidy.called_tool, "terminal", at_least=3)
    assert text.startswith("expected at least 3 calls of terminal(), and there are 2")
    assert text.count("\n>") == 2


def test_a_call_that_should_not_be_is_marked(tidy):
    text = failure(tidy.never_called, "terminal", command=re.compile("pytest"))
    assert text.startswith("expected no terminal(command=/pytest/)")
    assert ">   3  terminal(command='pytest -q tests')" in text
    assert text.count(">") == 1


def test_an_order_says_how_far_it_came(tidy):
    text = failure(tidy.called_in_order, "file_editor", "file_editor")
    assert text.startswith("expected step 2 of 2, file_editor(): there is none after step 1")
    assert ">   2  file_editor" in text
    assert "expected step 1 of 1" in failure(tidy.called_in_order, ("terminal", {"command": "ls"}))


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"steps": 3}, "expected at most 3 steps, and it took 4"),
        ({"tool_calls": 2}, "expected at most 2 tool calls, and it took 3"),
        ({"tokens": 999}, "expected at most 999 tokens, and it took 1,000"),
        ({"cost": 0.2}, "expected at most 0.2 US dollars, and it took 0.25"),
    ],
)
def test_more_than_is_allowed(tidy, limits, said):
    assert failure(tidy.at_most, **limits).startswith(said)


def test_another_last_message(tidy):
    text = failure(tidy.said, "fail")
    assert text.startswith("expected 'fail' in the last message; it said: All tests pass now.")
    silent = ConversationExpectation(conversation(message("user", "Go.")))
    assert "it said nothing" in failure(silent.said, "")
    assert "the agent called no tool" in failure(silent.said, "x")


def test_not_finished_and_errors():
    failed = {**call(1, command="x"), "id": "a"}
    broken = ConversationExpectation(
        conversation(failed, answer(1, "no such tool", is_error=True), status="stuck")
    )
    assert failure(broken.finished).startswith(
        "expected the conversation to be finished; it is stuck"
    )
    text = failure(broken.has_no_errors)
    assert "expected no errors; there is ObservationEvent" in text
    assert "no such tool" in text


def test_many_calls_and_long_arguments_stay_readable():
    calls = [call(n, command=f"{'x' * 500} {n}") for n in range(200)]
    long = ConversationExpectation(conversation(*calls))
    text = failure(long.called_tool, "terminal", command=f"{'x' * 500} y")
    assert len(text.splitlines()) < 25
    assert max(map(len, text.splitlines())) < 200
    assert "command: expected …'" in text
    assert "y'" in text
    marked = failure(long.never_called, "terminal", command=re.compile(" 100$"))
    assert "> 101" in marked
    assert len(marked.splitlines()) < 25


@pytest.mark.parametrize(
    ("check", "arguments", "problem"),
    [
        ("called_tool", (5,), "A tool's name is a text, not 5"),
        ("never_called", ("",), "A tool's name is a text, not ''"),
        ("called_in_order", (["terminal"],), "A step is a tool's name, or ('terminal', "),
        ("said", (5,), "A text is expected as a part of it, a compiled regular expression"),
        ("at_most", (), "at_most() takes a limit: steps=, tool_calls=, tokens= or cost="),
        ("at_most", {"steps": "5"}, "steps='5' must be a number, 0 at least"),
        ("at_most", {"cost": True}, "cost=True must be a number, 0 at least"),
        ("called_in_order", (), "called_in_order() takes the steps that are expected"),
        ("called_tool", {"times": "2"}, "times='2' must be a number, 0 at least"),
        ("called_tool", {"at_least": 0}, "at_least=0 must be a number, 1 at least"),
    ],
)
def test_what_makes_no_sense(tidy, check, arguments, problem):
    named = arguments if isinstance(arguments, dict) else {}
    given = () if named else arguments
    if check == "called_tool" and named:
        given = ("terminal",)
    with pytest.raises(SettingsError, match=re.escape(problem)):
        getattr(tidy, check)(*given, **named)


def test_who_said_nothing_is_not_asked():
    silent = ConversationExpectation(conversation(message("user", "Go.")))
    assert "it said nothing" in failure(silent.said, lambda text: text[0] == "x")


def test_the_nearest_call_is_shown_where_there_are_too_few(tidy):
    text = failure(tidy.called_tool, "terminal", times=1, command=re.compile("pytest -x"))
    assert "nearest is call 3:" in text
    assert "did you mean 'terminal'?" in failure(tidy.called_tool, "termnal", times=1)
    text = failure(tidy.called_in_order, ("terminal", {"command": "pytest -x tests"}))
    assert "nearest is call 3:" in text


def test_only_conversations_and_workspaces_are_expected_of():
    with pytest.raises(SettingsError, match="takes a conversation or a workspace, not str"):
        expect("a conversation")


def test_what_nobody_has_counted_holds_no_limit():
    unknown = ConversationExpectation(
        conversation(call(1), answer(1, "x"), cost=0.0, tokens=(0, 0))
    )
    for limits in ({"tokens": 5}, {"cost": 1.0}):
        with pytest.raises(SettingsError, match="counted no tokens"):
            unknown.at_most(**limits)
    unknown.at_most(steps=3)
    ConversationExpectation(conversation(cost=0.0, tokens=(0, 0))).at_most(tokens=5)


def test_calls_that_lack_an_argument_are_just_other_calls(tidy):
    tidy.called_tool("terminal", command=lambda text: "pytest" in text)
    tidy.called_tool("file_editor", file_text=lambda text: "one" in text)
    with pytest.raises(AssertionError, match="nearest is call 2"):
        tidy.called_tool("file_editor", old_text=lambda text: "one" in text)
    with pytest.raises(SettingsError, match="at_least=0 must be"):
        tidy.called_tool("terminal", at_least=None)
