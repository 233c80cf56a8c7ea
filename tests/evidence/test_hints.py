"""What a reader should know before anything else."""

import pytest

from pytest_agent_sandbox.evidence.brief import brief
from pytest_agent_sandbox.evidence.hints import NO_LLM, hints
from pytest_agent_sandbox.evidence.llm_steps import UNANSWERED
from pytest_agent_sandbox.evidence.result import Result
from pytest_agent_sandbox.evidence.steps import NO_RESULT
from pytest_agent_sandbox.evidence.story import Change, Part, Step

FINE = {"container": "box", "state": "running", "out_of_memory": False, "exit_code": None}


def told(result, steps=()):
    return [(hint.text, hint.step) for hint in hints(result, steps)]


def failed(**fields):
    return Result(verdict="failed", **{"fault": "assertion", "sandboxes": [FINE]} | fields)


def call(summary, code="1", kind="tool", result="", facts=None, is_error=True):
    return Step(
        kind=kind,
        title="terminal",
        summary=summary,
        is_error=is_error,
        facts=[("exit code", code)] if facts is None else facts,
        parts=[Part(label="result" if kind == "tool" else "errors", text=result)],
    )


def test_nothing_unusual_needs_no_hint():
    fine = call("ls", code="0", is_error=False)
    of_the_log = call("x", kind="log")
    assert told(failed(conversations=[{"number": 1, "status": "finished"}]), [fine]) == []
    assert told(failed(), [of_the_log]) == []


def without_llm(**run):
    facts = {"name": "run-1", "llm": NO_LLM, "exit_code": 1, "timed_out": False}
    return failed(agent_runs=[facts | run])


def printed(text):
    parts = [Part(label="text", text=text)]
    return Step(kind="message", title="agent", summary="", conversation="run-1", parts=parts)


@pytest.mark.parametrize("words", ["KeyError: 'OPENAI_BASE_URL'", "Invalid API key · Run /login"])
def test_a_program_that_found_no_llm_needs_the_fixture(words):
    ((text, step),) = told(without_llm(), [printed(words), call("x", kind="log")])
    assert "request the fixture agent_llm in the test, which sets OPENAI_BASE_URL" in text
    assert step == 1


@pytest.mark.parametrize(
    ("words", "run"),
    [
        ("No such file: x", {}),  # and it asks for no LLM
        ("the monkey_keyboard", {}),
        ("KeyError: 'OPENAI_BASE_URL'", {"exit_code": 0}),
        ("KeyError: 'OPENAI_BASE_URL'", {"exit_code": -1, "timed_out": True}),
        ("KeyError: 'OPENAI_BASE_URL'", {"llm": None}),  # it has the test's, or one of its own
    ],
)
def test_no_other_program_is_told_to(words, run):
    assert told(without_llm(**run), [printed(words)]) == []


def test_a_command_that_wants_an_llm_is_to_be_run_as_an_agent():
    wants = call("python3 agent.py", kind="test", result="KeyError: 'ANTHROPIC_API_KEY'")
    texts = [text for text, _ in told(failed(fault="agent"), [wants])]
    assert texts == [
        'The test\'s own command failed and said "ANTHROPIC_API_KEY": run_agent, in a test that '
        "requests agent_llm, sets the like; execute_command does not."
    ]
    fine = call("grep KEY .env", code="0", kind="test", result="OPENAI_API_KEY=", is_error=False)
    assert told(failed(), [fine]) == []
    typed = call("x", kind="test")
    typed.parts.insert(0, Part(label="command", text="echo $OPENAI_API_KEY"))
    assert told(failed(fault="agent"), [typed]) == []


def test_a_provider_out_of_reach_is_told_once():
    reason = "The LLM at http://x cannot be reached: no"
    lost = Step(kind="llm", title="LLM call 1", summary=reason, facts=[UNANSWERED], is_error=True)
    again = Step(kind="error", title="", summary=f"BadGateway: {reason}", is_error=True)
    result = failed(conversations=[{"number": 1, "status": "error"}])
    assert told(result, [lost, again]) == [(f"LLM call 1 got no answer. {reason}", 1)]
    better = Step(kind="llm", title="LLM call 2", summary="live", facts=[("answer", "live")])
    assert len(told(result, [lost, better, again])) == 1
    assert "got no answer" not in told(result, [lost, better, again])[0][0]


def test_memory_that_ran_out_names_what_ran():
    died = FINE | {"state": "exited", "exit_code": 137, "out_of_memory": True, "memory": "600m"}
    result = failed(
        fault="sandbox", sandboxes=[died], conversations=[{"number": 1, "status": "running"}]
    )
    steps = [call("ls", code="0", is_error=False), call("python3 sum.py", facts=[NO_RESULT])]
    assert told(result, steps) == [
        (
            "Memory ran out in the sandbox (limit: 600m) while terminal: python3 sum.py ran; the "
            "kernel killed a process, and the sandbox ended with exit code 137.",
            2,
        )
    ]
    still_there = FINE | {"out_of_memory": True, "memory": "no limit"}
    assert told(failed(sandboxes=[still_there])) == [
        ("Memory ran out in the sandbox; the kernel killed a process.", None)
    ]


def test_sandboxes_that_are_gone():
    ended = {"container": "one", "state": "exited", "exit_code": 3}
    assert told(failed(sandboxes=[ended]), [call("make", facts=[NO_RESULT])]) == [
        ("The sandbox ended with exit code 3 while terminal: make ran.", 1)
    ]
    removed, paused = {"container": "two", "state": "removed"}, {"state": "paused"}
    assert told(failed(sandboxes=[ended, removed, paused])) == [
        ("Sandbox one ended with exit code 3.", None),
        ("Sandbox two was removed while the test still ran.", None),
        ("Sandbox None was paused when the test ended.", None),
    ]


def test_tool_calls_that_failed_say_why():
    one = call("sh release.sh", code="3", result="checking\nno release date\n\n")
    assert told(failed(), [one]) == [
        ("A tool call failed: terminal: sh release.sh (exit code 3): no release date", 1)
    ]
    last = call("rm x", facts=[])
    assert told(failed(), [one, last]) == [
        ("2 tool calls failed, the last: terminal: rm x.", 2),
    ]


def test_the_tests_own_last_command():
    own = call("cat report.txt", kind="test", result="cat: report.txt: No such file\n")
    fine = call("ls", code="0", kind="test", is_error=False)
    assert told(failed(), [own]) == [
        ("The test's own command failed: cat report.txt (exit code 1): cat: report.txt: No such "
         "file", 1)
    ]  # fmt: skip
    assert told(failed(), [own, fine]) == [], "it went on"
    assert told(failed(fault="sandbox"), [own]) == []


def test_conversations_that_did_not_end_well():
    conversations = [{"number": 1, "status": "stuck"}, {"number": 2, "status": "running"}]
    assert told(failed(conversations=conversations, notes=["a note"])) == [
        ("Conversation 1 ended as stuck.", None),
        ("Conversation 2 was still running when the test ended.", None),
        ("a note", None),
    ]


def test_a_test_that_never_ended_says_so():
    ((text, _),) = told(Result())
    assert "never came to its end" in text


def test_facts_that_are_not_what_they_should_be():
    odd = [{}, {"state": None, "out_of_memory": "?"}, {"number": [], "status": {}}]
    assert len(told(failed(sandboxes=odd, conversations=odd))) == 1


def said(who, text):
    return Step(kind="message", title=who, summary=text)


def test_a_conversation_in_brief():
    talk = [said("user", "First."), said("agent", "One."), said("user", "Then."), call("ls")]
    change = Change(path="a.txt", status="added", added=1, removed=0, diff="")
    assert brief(talk, [change], "", {"scripted": 3}) == [
        ("asked last", "Then."),
        ("agent said last", "One."),
        ("changed", "added a.txt"),
        ("LLM", "scripted: what the agent says and does comes from the test"),
    ]
    assert brief([said("user", "Go.")], [], "", {"live": 1}) == [
        ("asked", "Go."),
        ("agent said last", "(nothing)"),
        ("changed", "nothing on disk"),
    ]
    unknown = "not known: the workspace could not be read"
    assert ("changed", unknown) in brief(talk, [], "(the server does not answer)", {})
    assert brief([call("ls")], [change], "", {}) == [], "there was no conversation"
    names = dict(brief(talk, [change] * 8, "", {}))["changed"]
    assert names.endswith("… and 3 more files")
