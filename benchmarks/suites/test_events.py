"""One conversation with as many events as there are to be, which come 200 in a run."""

import os
import time

from gauges import gauge

from pytest_agent_sandbox import LLM, Agent, say, tool

CALLS = 100


def test_events(agent_workspace, agent_conversation):
    wanted = int(os.environ["BENCHMARK_EVENTS"])
    runs, calls = -(-wanted // (2 * CALLS)), min(CALLS, -(-wanted // 2))
    # No condenser: it would ask the LLM for summaries, and forget events.
    agent = Agent(llm=LLM(model="default"))
    script = [reply for run in range(runs) for reply in (_thoughts(run, calls), say("Done."))]
    conversation = agent_conversation(agent, script=script)
    for _ in range(runs):
        began, before, used = time.perf_counter(), len(conversation.events), time.process_time()
        conversation.send_message("Think.")
        conversation.run(timeout=300)
        gauge(
            seconds=time.perf_counter() - began,
            used=time.process_time() - used,
            events=len(conversation.events) - before,
        )
    assert len(conversation.events) >= wanted


def _thoughts(run, calls):
    # Each is another: an agent that repeats itself counts as stuck.
    return say("", *[tool("think", thought=f"Thought {run}.{call}.") for call in range(calls)])
