"""Budgets, faults on purpose and refusals, as a test of a real agent meets them."""

from __future__ import annotations

import pytest

from pytest_agent_sandbox.llm.replies import say
from tests.support.project import Project, outcomes
from tests.support.provider import Provider, serving

pytestmark = pytest.mark.usefixtures("served")

SCRIPTED = """
import pytest
from pytest_agent_sandbox import LLM, default_agent, say, tool
from pytest_agent_sandbox.errors import *

LS = tool("terminal", command="ls")

@pytest.fixture
def start(agent_llm, agent_conversation):
    def start(*replies, model="", stream=False):
        agent_llm.script(list(replies), model=model)
        agent = default_agent(LLM(model="x", stream=stream, retry_min_wait=0, retry_max_wait=1))
        conversation = agent_conversation(agent)
        conversation.send_message("Go.")
        return conversation
    return start
"""


def test_a_test_s_own_budget_ends_it(project: Project) -> None:
    project.write(
        "test_it.py",
        SCRIPTED
        + """
@pytest.mark.agent_sandbox(llm_max_calls=2)
def test_calls(start):
    start(LS, LS, say("Never said.")).run(timeout=60)

@pytest.mark.agent_sandbox(llm_max_tokens=100)
def test_tokens(start):
    start(LS, say("Never said.")).run(timeout=60)

@pytest.mark.agent_sandbox(llm_max_calls=2, llm_max_tokens=1_000_000, llm_max_cost=0.01)
def test_within(start):
    start(LS, say("Done.")).run(timeout=60)
""",
    )
    code, output = project.run("-v", "--no-sandbox-live")
    assert code == 1
    assert outcomes(output) == {
        "test_calls": "FAILED",
        "test_tokens": "FAILED",
        "test_within": "PASSED",
    }
    assert "BudgetExceeded: The test's budget llm_max_calls = 2 is used up (2 calls, " in output
    assert "BudgetExceeded: The test's budget llm_max_tokens = 100 is used up (1 call, " in output


LIVE = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_live(agent_conversation, number):
    conversation = agent_conversation()
    conversation.send_message("Go.")
    conversation.run(timeout=60)
"""


def test_a_run_s_budget_is_shared_by_its_workers(project: Project) -> None:
    project.write("test_it.py", LIVE)
    with serving(Provider(lambda _: say("Done."))) as provider:
        project.environment |= {
            "LLM_MODEL": "openai/gpt-4o",
            "LLM_API_KEY": provider.token,
            "LLM_BASE_URL": provider.base_url("127.0.0.1"),
        }
        code, output = project.run("-n", "2", "--llm-record=live", "--llm-max-calls=2")
        assert code == 1
        assert len(provider.calls) == 2
        assert "The run's budget llm_max_calls = 2 is used up" in output
        assert "1 failed, 2 passed" in output
        assert "this run: 3 LLM calls (2 live, 1 refused)" in output

        project.environment["LLM_MODEL"] = "openai/nobody-knows-its-price"
        code, output = project.run("--llm-record=live", "--llm-max-cost=5")
        assert code == 1
        assert "what calls of 'nobody-knows-its-price' cost is not known" in output
        assert "cost unknown" in output
        assert "1 passed" in output

        project.write("prices.json", '{"nobody-knows-its-price": {"input": 1000, "output": 1}}')
        code, output = project.run(
            "--llm-record=live", "--llm-max-cost=1.5", "--llm-prices=prices.json"
        )
        assert "The run's budget llm_max_cost = $1.5 is used up" in output
        code, output = project.run("--llm-record=live", "--llm-prices=none.json")
        assert "llm_prices: " in output
        assert "cannot be read" in output


def test_faults_on_purpose(project: Project) -> None:
    project.write(
        "test_it.py",
        SCRIPTED
        + """
MODELS = ["openai/gpt-4o", "openai/gpt-5", "anthropic/claude-sonnet-4-5"]

@pytest.mark.parametrize("model", MODELS)
def test_the_agent_survives_a_rate_limit(agent_llm, start, model):
    conversation = start(say("Done."), model=model)
    agent_llm.fail_next(429, retry_after=1)
    conversation.run(timeout=60)
    assert conversation.events.final_message == "Done."
    assert [call.status for call in agent_llm.calls] == [429, 200]

def test_the_agent_gives_up(agent_llm, start):
    conversation = start()
    agent_llm.fail_next(503, "Out to lunch.", times=3)
    with pytest.raises(ConversationFailed, match="Out to lunch"):
        conversation.run(timeout=60)

def test_a_delay(agent_llm, start):
    conversation = start(say("Done."))
    agent_llm.delay_next(0.5)
    conversation.run(timeout=60)
    assert agent_llm.calls[0].duration > 0.5

def test_a_cut_stream_is_asked_for_again(agent_llm, start):
    conversation = start(say("Never arrives whole."), say("Done."), stream=True)
    agent_llm.cut_next(after=2)
    conversation.run(timeout=60)
    assert conversation.events.final_message == "Done."
    assert agent_llm.calls[0].problem == "The answer was cut off on purpose."

@pytest.mark.parametrize("model", MODELS[:2])
def test_malformed_arguments(agent_llm, start, model):
    conversation = start(LS, say("Sorry."), model=model)
    agent_llm.malform_next()
    conversation.run(timeout=60)
    assert conversation.events.final_message == "Sorry."
    assert "Error" in str([event.kind for event in conversation.events])

def test_a_fault_that_never_happens(agent_llm, start):
    conversation = start(say("Done."))
    conversation.run(timeout=60)
    agent_llm.fail_next(500)

def test_a_status_that_is_no_error(agent_llm):
    agent_llm.fail_next(200)
""",
    )
    _, output = project.run("-v", "--no-sandbox-live")
    results = outcomes(output)
    failed = {name for name, outcome in results.items() if outcome == "FAILED"}
    assert failed == {"test_a_fault_that_never_happens", "test_a_status_that_is_no_error"}
    assert len(results) == 10
    assert "FaultUnused: 1 of the faults" in output
    assert "fail_next(200): give the status of an error" in output


SEARCHING = """
def test_searching(agent_workspace, agent_llm):
    import httpx
    from pytest_agent_sandbox import LLM, default_agent
    agent, lane = agent_llm.connect(
        default_agent(LLM(model="x")), agent_workspace.gateway, script=None, name="1", known={}
    )
    url = lane.base_url(agent_workspace.gateway.route.bind_address) + "/responses"
    body = {"model": "gpt-5", "input": "Go.", "tools": [{"type": "web_search"}]}
    answer = httpx.post(url, json=body, headers={"authorization": f"Bearer {lane.token}"})
    print("ANSWER", answer.status_code, answer.text)
"""


def test_tools_of_the_provider_are_refused_unless_allowed(project: Project) -> None:
    project.write("test_it.py", SEARCHING)
    with serving(Provider(lambda _: say("Found."))) as provider:
        project.environment |= {
            "LLM_MODEL": "openai/gpt-5",
            "LLM_API_KEY": provider.token,
            "LLM_BASE_URL": provider.base_url("127.0.0.1"),
        }
        _, output = project.run("-s", "--llm-record=live")
        assert "ANSWER 400" in output
        assert "web_search, which would reach the internet from there" in output
        assert not provider.calls
        # Allowed, the request gets as far as to the provider, whose own gateway refuses it here.
        _, output = project.run("-s", "--llm-record=live", "--llm-provider-tools")
        assert len(provider.calls) == 1
