"""What agents do, on the terminal as it happens."""

import re

import pytest

pytestmark = pytest.mark.usefixtures("served")

SUITE = """
import pytest
from pytest_agent_sandbox import say, tool

@pytest.mark.parametrize("word", ["one", "two"])
def test_word(word, agent_workspace, agent_llm, agent_conversation):
    agent_llm.script([say("Thinking.", tool("terminal", command=f"echo {word}")), say("Done.")])
    conversation = agent_conversation(secrets={"NAME": "a-secret-value"})
    print("captured words")
    conversation.send_message("Go, a-secret-value.")
    conversation.run(timeout=60)
    print("captured words")
"""


@pytest.mark.parametrize("how", [["-v"], ["--sandbox-live", "--capture=sys"]])
def test_events_are_shown_while_the_test_runs(project, how):
    project.write("test_it.py", SUITE)
    code, output = project.run("-k", "one", *how)
    assert code == 0
    before, _, _ = output.partition("passed")
    assert re.search(r"\d\.\d\ds  user +Go, \*\*\*\.", before)
    assert re.search(r"agent +Thinking\.\n +terminal  echo one", before)
    assert re.search(r"result +one", before)
    assert "status   finished" in before
    assert before.index("echo one") < before.index("result   one") < before.index("Done.")
    assert "captured words" not in output
    assert "a-secret-value" not in output


def test_silence_where_it_is_not_wanted(project):
    project.write("test_it.py", SUITE)
    code, output = project.run("-k", "one", "-v", "--no-sandbox-live")
    assert code == 0
    assert "Thinking." not in output


def test_workers_say_whose_it_is(project):
    project.write("test_it.py", SUITE)
    code, output = project.run("-n", "2", "-v")
    assert code == 0
    for word in ("one", "two"):
        assert re.search(rf"\[gw\d test_word\[{word}\]\] .*result +{word}$", output, re.M)


def test_it_has_the_clock_of_the_report_and_of_the_page(project):
    project.write("test_it.py", SUITE + "    assert word == 'two'\n")
    code, output = project.run("-k", "one", "-v")
    assert code == 1
    before, _, report = output.partition("= FAILURES =")
    # The answer to the last message: what is said once only.
    line = re.compile(r"(\d+\.\d\ds)  agent +Thinking", re.MULTILINE)
    live, told = line.findall(before), line.findall(report)
    assert len(live) == 1
    assert live == told
    steps = [step for step in project.story["steps"] if "Thinking" in str(step)]
    assert live[0] in [f"{step['time']:.2f}s" for step in steps if step["kind"] != "llm"]
