"""Async tests with the plugin's fixtures, by the two plugins that run them."""

import pytest

SUITE = """
import asyncio
import anyio
import pytest
from pytest_agent_sandbox import say, tool

{mark}

async def test_facts(agent_workspace, agent_llm, agent_conversation):
    agent_llm.script([tool("terminal", command="seq 3 > FACTS.txt"), say("Done.")])
    conversation = await agent_conversation.astart()
    await conversation.asend_message("Write 3 facts.")
    await conversation.arun(timeout=60)
    assert conversation.status == "finished"
    assert (await agent_workspace.aread_text("FACTS.txt")).split() == ["1", "2", "3"]

async def test_two_at_once(agent_workspace_factory, agent_conversation):
    places = {{}}
    async def work(name):
        places[name] = await agent_workspace_factory.astart()
        script = [tool("terminal", command=f"echo {{name}} > OUT.txt"), say("Done.")]
        conversation = await agent_conversation.astart(workspace=places[name], script=script)
        await conversation.asend_message("Write it.")
        await conversation.arun(timeout=60)
    async with anyio.create_task_group() as group:
        group.start_soon(work, "a")
        group.start_soon(work, "b")
    for name, place in places.items():
        assert (await place.aread_text("OUT.txt")).strip() == name

async def test_fails(agent_workspace, agent_llm, agent_conversation):
    agent_llm.script([say("I will not.")])
    conversation = await agent_conversation.astart()
    await conversation.asend_message("Write 3 facts.")
    await conversation.arun(timeout=60)
    assert await agent_workspace.aread_text("FACTS.txt")
"""

WAYS = {
    "pytest-asyncio strict": ("pytestmark = pytest.mark.asyncio", "strict", "asyncio"),
    "pytest-asyncio auto": ("", "auto", "asyncio"),
    "anyio asyncio": ("pytestmark = pytest.mark.anyio", "", "asyncio"),
    "anyio trio": ("pytestmark = pytest.mark.anyio", "", "trio"),
}


@pytest.mark.parametrize("way", WAYS)
def test_async_tests(project, served, way):
    mark, mode, backend = WAYS[way]
    project.blocked.remove("anyio")
    ini = "[pytest]\nfilterwarnings = error\n"
    if mode:
        project.blocked.remove("asyncio")
        ini += f"asyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = function\n"
    else:
        fixture = f"@pytest.fixture\ndef anyio_backend():\n    return {backend!r}\n"
        project.write("conftest.py", f"import pytest\n\n{fixture}")
    project.write("pytest.ini", ini)
    project.write("test_it.py", SUITE.format(mark=mark))
    code, output = project.run()
    assert code == 1
    assert "1 failed, 2 passed" in output
    assert "I will not." in output  # the transcript
    assert "FileNotFoundError" in output
