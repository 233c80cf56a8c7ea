"""A real agent that fails one time in four, drawn by the number of its group and of its trial."""

import os
import random

import pytest

from pytest_agent_sandbox import say, tool

COUNT, WANTED, RATE = int(os.environ.get("BENCHMARK_TRIALS", "10")), 0.6, 0.75


@pytest.mark.agent_trials(
    n=COUNT, pass_rate=WANTED, early_stop=os.environ.get("BENCHMARK_SECONDS") != "1"
)
def test_trial(agent_workspace, agent_conversation, agent_trial, number):
    fails = random.Random(f"{number} {agent_trial}").random() >= RATE
    file = f"{number}-{agent_trial}.txt"
    script = [
        tool("terminal", command=f"echo {'wrong' if fails else 'right'} > {file}"),
        say("Done."),
    ]
    conversation = agent_conversation(script=script)
    conversation.send_message("Write it.")
    conversation.run(timeout=60)
    assert agent_workspace.read_text(file).strip() == "right"
