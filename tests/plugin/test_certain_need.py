"""Which tests are certain to ask their LLM, or to fail before that, as far as their code tells."""

from __future__ import annotations

from contextlib import suppress
from functools import wraps
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_agent_sandbox.plugin import fixtures as ours
from pytest_agent_sandbox.plugin.certain_need import needs_answers


def project(agent_workspace: Any) -> Any:
    """A fixture that hands on what it was given."""
    agent_workspace.write_text("x", "y")
    return agent_workspace


def other(agent_workspace: Any, agent_llm: Any) -> Any:
    """A fixture that gives something of its own."""
    if agent_workspace:
        return object()
    return agent_workspace


def another(agent_workspace: Any) -> Any:
    """A fixture that gives something of its own by the same name."""
    agent_workspace = SimpleNamespace(run_agent=agent_workspace.execute_command)
    return agent_workspace


def item(function: Any, **fixtures: Any) -> Any:
    names = ("agent_workspace", "agent_llm", "agent_conversation")
    functions = {name: vars(ours)[name]._get_wrapped_function() for name in names} | fixtures
    known = {name: [SimpleNamespace(func=one)] for name, one in functions.items()}
    return SimpleNamespace(
        fixturenames=list(known), obj=function, _fixtureinfo=SimpleNamespace(name2fixturedefs=known)
    )


def plain(agent_workspace, agent_llm):
    agent_workspace.upload("agent.py", "/tmp")
    assert agent_workspace.run_agent(["x"]).exit_code == 0


async def awaited(agent_workspace, agent_llm):
    await agent_workspace.arun_agent(["x"])


def of_another_name(agent_workspace, agent_llm):
    sandbox = agent_workspace
    for name in ("a", "b"):
        sandbox.write_text(name, "")
    sandbox.run_agent(["x"]).check()
    assert agent_llm.calls


def of_a_fixture(project, agent_llm):
    project.run_agent(["x"])


def of_a_conversation(agent_workspace, agent_conversation):
    with agent_conversation() as conversation:
        conversation.run()


def of_an_endpoint(agent_workspace, agent_llm):
    endpoint = agent_llm.endpoint(agent_workspace)
    agent_workspace.execute_command("true", env={"URL": endpoint.url})


@pytest.mark.parametrize(
    "function",
    [plain, awaited, of_another_name, of_a_fixture, of_a_conversation, of_an_endpoint],
)
def test_it_asks(function: Any) -> None:
    assert needs_answers(item(function, project=project))


def no_agent(agent_workspace, agent_llm):
    agent_workspace.execute_command("make")


def perhaps(agent_workspace, agent_llm):
    if agent_workspace.exists("agent.py"):
        agent_workspace.run_agent(["x"])


def in_a_loop(agent_workspace, agent_llm):
    for name in agent_workspace.list("agents"):
        agent_workspace.run_agent([name])


def left_before(agent_workspace, agent_llm):
    if not agent_workspace.exists("agent.py"):
        return
    agent_workspace.run_agent(["x"])


def let_off(agent_workspace, agent_llm):
    with suppress(OSError):
        agent_workspace.read_text("x")
        agent_workspace.run_agent(["x"])


def one_of_two(agent_workspace, agent_llm):
    assert agent_workspace.exists("x") or agent_workspace.run_agent(["x"])


def as_its_message(agent_workspace, agent_llm):
    assert agent_workspace.exists("x"), agent_workspace.run_agent(["x"])


def later(agent_workspace, agent_llm):
    run = lambda: agent_workspace.run_agent(["x"])  # noqa: E731
    assert run


def of_something_else(other, agent_llm):
    other.run_agent(["x"])


def of_something_else_by_then(agent_workspace, agent_llm):
    agent_workspace = SimpleNamespace(run_agent=agent_workspace.execute_command)
    agent_workspace.run_agent(["x"])


def perhaps_with_a_script(agent_workspace, agent_conversation, more):
    agent_conversation(**more).run()


def handed_on(agent_workspace, agent_llm, prepare):
    prepare(agent_llm)
    agent_workspace.run_agent(["x"])


@wraps(plain)
def wrapped(*given: Any) -> None:
    no_agent(*given)


@pytest.mark.parametrize(
    "function",
    [
        *(no_agent, perhaps, in_a_loop, left_before, let_off, one_of_two, as_its_message, later),
        *(of_something_else, of_something_else_by_then, perhaps_with_a_script, handed_on, wrapped),
        eval("lambda agent_workspace, agent_llm: agent_workspace.run_agent([])"),  # no source
    ],
)
def test_it_may_not(function: Any) -> None:
    assert not needs_answers(item(function, other=other))


@pytest.mark.parametrize("override", [other, another, project])
def test_an_overridden_workspace_may_be_anything(override: Any) -> None:
    assert not needs_answers(item(plain, agent_workspace=override))


def test_a_fixture_may_give_anything() -> None:
    assert not needs_answers(item(of_a_fixture, project=another))


def test_without_the_test_s_llm_a_program_is_led_nowhere() -> None:
    test = item(plain)
    test.fixturenames.remove("agent_llm")
    assert not needs_answers(test)
