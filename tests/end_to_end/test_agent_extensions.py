"""What a conversation gives to its agent: MCP servers, skills, hooks; on a real server."""

from pathlib import Path

import pytest

from tests.support.project import outcomes

PROGRAMS = Path(__file__).parent / "agents"

SUITE = (
    f"""
import pytest
from pytest_agent_sandbox import LLM, Agent, Skill, Tool, acp_agent, say, tool
from pytest_agent_sandbox.errors import SettingsError

PROGRAMS = {str(PROGRAMS)!r}
PYTHON = "/agent-server/.venv/bin/python"  # it has the libraries of both protocols
BLINK = {{
    "name": "blink",
    "description": "Blinks.",
    "parameters": {{"type": "object", "properties": {{"eye": {{"type": "string"}}}}}},
}}
LETTERS = {{"command": PYTHON, "args": ["/tmp/letters.py"], "env": {{"ENDING": "!"}}}}
"""
    """
@pytest.fixture
def go(agent_llm, agent_conversation):
    '''Runs a conversation of so many turns; tells it and what its LLM was asked.'''
    def go(*replies, message="Go on.", agent=None, **given):
        asked = []
        def noting(reply):
            def answer(request):
                asked.append(request.body)
                return reply
            return answer
        agent_llm.script([noting(reply) for reply in replies])
        conversation = agent_conversation(agent, **given)
        conversation.send_message(message)
        conversation.run(timeout=90)
        return conversation, asked
    return go

def test_an_mcp_server(agent_workspace, go):
    agent_workspace.upload(f"{PROGRAMS}/mcp_program.py", "/tmp/letters.py")
    conversation, asked = go(
        tool("count_letters", word="Grüße"), say("Five."), mcp_servers={"letters": LETTERS}
    )
    (call,) = conversation.events.tool_calls("count_letters")
    assert "Grüße has 5 letters!" in call.result
    assert not call.is_error
    assert "Grüße has 5 letters!" in str(asked[1]["messages"][-1])
    assert "count_letters" in str(asked[0]["tools"])
    assert "terminal" in str(asked[0]["tools"])

def test_an_mcp_server_beside_the_agents_own(agent_workspace, go):
    agent_workspace.upload(f"{PROGRAMS}/mcp_program.py", "/tmp/letters.py")
    agent = Agent(llm=LLM(model="openai/any"), tools=[], mcp_config={"own": LETTERS})
    other = {"command": PYTHON, "args": ["/tmp/letters.py"]}
    conversation, asked = go(say("Hello."), agent=agent, mcp_servers={"other": other})
    assert str(asked[0]["tools"]).count("Counts the letters") == 2

def test_an_mcp_server_for_an_acp_agent(agent_workspace, go):
    agent_workspace.upload(f"{PROGRAMS}/acp_program.py", "/tmp/agent.py")
    conversation, _ = go(
        say("Hello."), agent=acp_agent([PYTHON, "/tmp/agent.py"]), mcp_servers={"letters": LETTERS}
    )
    assert conversation.events.final_message == "Hello. I was given letters."

def test_a_skill(go):
    _, (first,) = go(say("Hello."), skills=[Skill("owls", "Owls are never counted.")])
    assert "Owls are never counted." in str(first["messages"][0])
    assert "CURRENT_DATETIME" not in str(first["messages"][0]).upper()

def test_a_skill_with_triggers(go):
    skill = Skill("owls", "Owls are never counted.", triggers=["owl"])
    _, (first,) = go(say("Hello."), skills=[skill], message="Count the owl and the cat.")
    assert "Owls are never counted." in str(first["messages"][-1])

def test_a_skill_without_its_trigger(go):
    skill = {"name": "owls", "content": "Owls are never counted.", "description": "Of birds.",
             "trigger": {"type": "keyword", "keywords": ["owl"]}}
    _, (first,) = go(say("Hello."), skills=[skill], message="Count the cat.")
    assert "Owls are never counted." not in str(first["messages"])
    assert "Of birds." in str(first["messages"][0])

def test_a_skill_for_an_acp_agent(agent_workspace, go):
    agent_workspace.upload(f"{PROGRAMS}/acp_program.py", "/tmp/agent.py")
    _, (first,) = go(
        say("Hello."),
        message="Count the cat.",
        agent=acp_agent([PYTHON, "/tmp/agent.py"]),
        skills=[
            Skill("owls", "Owls are never counted."),
            Skill("cats", "Cats count twice.", triggers=["cat"]),
            Skill("dogs", "Dogs bark.", triggers=["dog"], description="Of dogs."),
        ],
    )
    told = str(first["messages"][-1])
    assert told.count("Owls are never counted.") == 1
    assert "Cats count twice." in told
    assert "Dogs bark." not in told

def test_a_hook_before_a_tool(agent_workspace, go):
    hook = '''grep -q 'rm -rf' && { echo "Nothing is removed here." >&2; exit 2; }; exit 0'''
    conversation, asked = go(
        tool("terminal", command="rm -rf keep.txt"),
        tool("terminal", command="echo fine"),
        say("Done."),
        hooks={"pre_tool_use": [{"matcher": "terminal", "hooks": [{"command": hook}]}]},
    )
    refused, done = conversation.events.tool_calls("terminal")
    assert refused.is_error
    assert "Nothing is removed here." in refused.result
    assert "Nothing is removed here." in str(asked[1]["messages"][-1])
    assert done.result.startswith("fine")
    blocked = [event for event in conversation.events if event.kind == "HookExecutionEvent"]
    assert [event.blocked for event in blocked] == [True, False]

def test_a_hook_at_the_stop(agent_workspace, go):
    conversation, asked = go(
        say("Done."),
        tool("terminal", command="touch DONE"),
        say("Now it is done."),
        hooks={"stop": "test -f DONE || { echo 'DONE is missing.' >&2; exit 2; }"},
    )
    assert conversation.status == "finished"
    assert conversation.events.final_message == "Now it is done."
    assert "DONE is missing." in str(asked[1]["messages"][-1])
    assert agent_workspace.execute_command("ls").stdout == "DONE\\n"

def test_what_cannot_be_used(agent_conversation, agent_llm):
    agent_llm.script([])
    with pytest.raises(SettingsError, match="no event 'on_stop'; there are session_start"):
        agent_conversation(hooks={"on_stop": "true"})
    with pytest.raises(SettingsError, match="'files'.*needs a `command`"):
        agent_conversation(mcp_servers={"files": {"args": ["x"]}})
    for skill in ({"name": "owls"}, "owls", {"name": 1, "content": "x"}):
        with pytest.raises(SettingsError, match="skills="):
            agent_conversation(skills=[skill])
"""
)


TOOLS = """
import threading
import time
from pydantic import BaseModel
from pytest_agent_sandbox import client_tool, unchecked

class Price(BaseModel):
    article: str
    total: float

def test_its_value_reaches_the_llm(go):
    here = []

    @client_tool
    def price_of(article: str, amount: int = 1) -> Price:
        "Looks up what an article costs."
        here.append(threading.current_thread().name)
        return Price(article=article, total=2.5 * amount)

    conversation, asked = go(
        say("Let me see.", tool("price_of", article="tea", amount=3)), say("7.5"),
        client_tools=[price_of],
    )
    (call,) = conversation.events.tool_calls("price_of")
    assert call.arguments == {"article": "tea", "amount": 3}
    assert '{"article":"tea","total":7.5}' in call.result
    assert '{"article":"tea","total":7.5}' in str(asked[1]["messages"][-1]["content"])
    assert here == ["client-tool-price_of"]
    (described,) = [
        one["function"] for one in asked[0]["tools"] if one["function"]["name"] == "price_of"
    ]
    assert described["description"].startswith("Looks up what an article costs.")
    assert described["parameters"]["properties"]["amount"]["type"] == "integer"
    assert "article" in described["parameters"]["required"]
    assert price_of("x", amount=2).total == 5.0

def test_what_it_raises_is_the_agents_to_deal_with(go):
    def price_of(article: str) -> float:
        "Looks up what an article costs."
        return {"tea": 2.5}[article]

    conversation, asked = go(
        tool("price_of", article="gold"),
        unchecked(tool("price_of", wrong=1)),
        tool("price_of", article="tea"),
        say("2.5"),
        client_tools=[price_of],
    )
    unknown, wrong, known = conversation.events.tool_calls("price_of")
    assert unknown.is_error
    assert "KeyError: 'gold'" in str(asked[1]["messages"][-1])
    assert wrong.is_error
    assert not known.is_error
    assert "2.5" in known.result

def test_two_beside_an_mcp_server(agent_workspace, go):
    agent_workspace.upload(f"{PROGRAMS}/mcp_program.py", "/tmp/letters.py")
    def one(): "Says one."; return 1
    def nothing() -> None: "Says nothing."
    conversation, asked = go(
        say("", tool("test_one"), tool("test_nothing"), tool("letters_count_letters", word="ab")),
        tool("blink", eye="left"),
        say("Done."), client_tools=[one, nothing, BLINK], mcp_servers={"letters": LETTERS},
    )
    print([one["function"]["name"] for one in asked[0]["tools"]])
    results = {call.name: call for call in conversation.events.tool_calls()}
    assert not any(call.is_error for call in results.values())
    assert "ab has 2 letters!" in results["letters_count_letters"].result
    assert results["blink"].arguments == {"eye": "left"}

@pytest.mark.agent_sandbox(network="isolated")
def test_without_a_network(go):
    def one() -> int:
        "Says one."
        return 1
    conversation, _ = go(tool("one"), say("1"), client_tools=[one])
    assert "1" in conversation.events.tool_calls("one")[0].result

def test_an_assertion_in_it_is_the_tests(go):
    def one() -> int:
        "Says one."
        assert False, "the agent asked"
    with pytest.raises(AssertionError, match="the agent asked"):
        go(tool("one"), say("1"), client_tools=[one])

def test_one_that_never_returns(agent_llm, agent_conversation):
    "And the gateway, which is closed while it is at work."
    def one() -> int:
        "Waits."
        time.sleep(600)
    agent_llm.script([tool("one")])
    conversation = agent_conversation(client_tools=[one])
    conversation.send_message("Go on.")
    conversation.run(blocking=False)
    deadline = time.monotonic() + 20
    while not any("client-tool" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.1)

def test_what_is_no_tool(agent_llm, agent_conversation):
    agent_llm.script([])
    def undescribed(): pass
    async def coroutine(): "Says one."
    def nameless(*things): "Says one."
    def hinted(x: "Unknown"): "Says one."
    def fine(): "Says one."
    for tools, problem in [
        ([undescribed], "docstring"), ([coroutine], "coroutine"), ([nameless], "by name"),
        ([hinted], "cannot be described"), ([lambda: 1], "needs a name"), ([1], "takes functions"),
        ([fine, fine], "two are named 'fine'"),
    ]:
        with pytest.raises(SettingsError, match=problem):
            agent_conversation(client_tools=tools)
"""


@pytest.mark.usefixtures("recycled")
def test_each_of_them(project):
    project.write("test_it.py", SUITE + TOOLS)
    _, output = project.run("-v", "--no-sandbox-live")
    found = outcomes(output)
    assert len(found) == 17
    assert set(found.values()) == {"PASSED"}
    assert "Exception in ASGI" not in output
