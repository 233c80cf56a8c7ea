"""Awaiting what blocks, on asyncio and on trio, against the real server."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time

import anyio
import pytest

from pytest_agent_sandbox.client.agents import LLM, default_agent
from pytest_agent_sandbox.client.asynchronous import InThread, run_in_thread
from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.engines.docker.workspace import DockerWorkspace
from pytest_agent_sandbox.errors import ConversationTimeout, ServerError

from .scripted_llm import ScriptedLLM, say, tool

#: Public methods that have no awaitable form: they do not block.
NOT_BLOCKING = {"as_openhands", "check_messages", "get_repos_context", "keep", "path"}
#: What the plugin asks of a workspace, in the thread of its own hooks.
#: Other names of what has one.
UPSTREAMS = {"cleanup", "file_download", "file_upload"}
FOR_THE_PLUGIN = {"secrets", "begin_test", "end_facts", "facts", "ways_in", "join"}
#: Those whose awaitable form is not just named with an "a" in front.
NAMES = {"wait": "await_end", "wait_until_ready": "await_until_ready"}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request) -> str:
    return request.param


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 2  # the idle workers of an event loop end a moment after it
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        # trio keeps its idle threads for ten seconds, for whichever loop comes next.
        if all("Trio" in thread.name for thread in set(threading.enumerate()) - before):
            break
        time.sleep(0.02)
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert not {name for name in left if not name.startswith("Trio")}


@pytest.mark.parametrize("kind", [RemoteConversation, RemoteWorkspace, DockerWorkspace])
def test_each_blocking_method_has_an_awaitable_form(kind):
    methods = {
        name
        for name, value in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and name not in NOT_BLOCKING | FOR_THE_PLUGIN | UPSTREAMS
    }
    awaitable = {name for name, value in inspect.getmembers(kind) if isinstance(value, InThread)}
    assert {NAMES.get(name, f"a{name}") for name in methods} == awaitable


@pytest.mark.anyio
async def test_a_conversation_and_its_files(
    workspace: RemoteWorkspace, llm: ScriptedLLM, anyio_backend
) -> None:
    llm.script(tool("terminal", command="cat in.txt | tr a-z A-Z > out.txt"), say("Done."))
    await workspace.awrite_text("in.txt", "hello")
    async with RemoteConversation(workspace, default_agent(llm.llm())) as conversation:
        await conversation.asend_message("go")
        await conversation.arun(timeout=60)
        assert conversation.status == "finished"
    assert await workspace.aread_text("out.txt") == "HELLO"
    result = await workspace.aexecute_command("exit 3", timeout=5)
    assert result.exit_code == 3
    with pytest.raises(FileNotFoundError):
        await workspace.aread_text("missing.txt")


@pytest.mark.anyio
async def test_two_agents_work_at_once_and_the_loop_goes_on(
    workspace: RemoteWorkspace, llm: ScriptedLLM, anyio_backend
) -> None:
    llm.script(say("one", delay=5.0), say("two", delay=5.0))
    gaps = []

    async def tick() -> None:
        last = time.monotonic()
        while True:
            await anyio.sleep(0.02)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    async def talk() -> None:
        async with RemoteConversation(workspace, default_agent(llm.llm())) as conversation:
            await conversation.asend_message("go")
            await conversation.arun(timeout=30)
            assert conversation.events.final_message in ("one", "two")

    async with anyio.create_task_group() as ticking:
        ticking.start_soon(tick)
        began = time.monotonic()
        async with anyio.create_task_group() as talking:
            talking.start_soon(talk)
            talking.start_soon(talk)
        seconds = time.monotonic() - began
        ticking.cancel_scope.cancel()
    assert seconds < 9.5  # one after the other they take ten
    assert max(gaps) < 1.5  # what waits in the loop, if anything does, waits five


@pytest.mark.anyio
async def test_a_cancelled_run_is_interrupted(
    workspace: RemoteWorkspace, llm: ScriptedLLM, anyio_backend
) -> None:
    llm.script(tool("terminal", command="sleep 30 && touch late.txt"), say("Done."))
    async with RemoteConversation(workspace, default_agent(llm.llm())) as conversation:
        await conversation.asend_message("go")
        with anyio.move_on_after(1.5) as scope:
            await conversation.arun(timeout=60)
        assert scope.cancelled_caught
        began = time.monotonic()
        while conversation.status == "running":
            await anyio.sleep(0.05)
            assert time.monotonic() - began < 5
        assert conversation.status == "paused"
        assert len(llm.requests) == 1


@pytest.mark.anyio
async def test_a_conversation_is_closed_in_a_cancelled_scope(
    workspace: RemoteWorkspace, llm: ScriptedLLM, anyio_backend
) -> None:
    llm.script(say("late", delay=20.0))
    began = time.monotonic()
    with anyio.move_on_after(1.5) as scope:
        async with RemoteConversation(workspace, default_agent(llm.llm())) as conversation:
            await conversation.asend_message("go")
            await conversation.arun(timeout=60)
    assert scope.cancelled_caught
    assert time.monotonic() - began < 3.0
    assert not _streams_of(conversation)


@pytest.mark.anyio
async def test_closing_is_done_also_where_the_caller_is_cancelled(
    workspace: RemoteWorkspace, anyio_backend
) -> None:
    conversation = await run_in_thread(
        lambda: RemoteConversation(workspace, default_agent(LLM(model="m")))
    )
    assert _streams_of(conversation)
    with anyio.CancelScope() as scope:
        try:
            scope.cancel()
            await anyio.sleep(1)
        finally:
            await conversation.aclose()
    assert scope.cancelled_caught
    assert not _streams_of(conversation)


def _streams_of(conversation: RemoteConversation) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if str(conversation.id) in thread.name]


@pytest.mark.anyio
async def test_a_call_that_is_cancelled_before_it_begins_never_runs(anyio_backend) -> None:
    ran: list[int] = []
    began = time.monotonic()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await run_in_thread(lambda: ran.append(1))
    assert not ran
    assert time.monotonic() - began < 0.3


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncio_cancels_in_its_own_way(
    workspace: RemoteWorkspace, llm: ScriptedLLM, anyio_backend
) -> None:
    llm.script(say("late", delay=20.0))
    async with RemoteConversation(workspace, default_agent(llm.llm())) as conversation:
        await conversation.asend_message("go")
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await conversation.arun(timeout=60)
        assert time.monotonic() - began < 2.0
        task = asyncio.ensure_future(workspace.aexecute_command("sleep 20"))
        await asyncio.sleep(0.3)
        task.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 1.0


@pytest.mark.anyio
async def test_a_cancelled_command_is_ended(workspace: RemoteWorkspace, anyio_backend) -> None:
    began = time.monotonic()
    with anyio.move_on_after(1.0):
        await workspace.aexecute_command("echo $$ > pid; sleep 30; touch late.txt", timeout=60)
    assert time.monotonic() - began < 2.0
    pid = (await workspace.aread_text("pid")).strip()
    for _ in range(100):
        if (await workspace.aexecute_command(f"kill -0 {pid}")).exit_code != 0:
            break
        await anyio.sleep(0.05)
    else:
        pytest.fail("the command goes on")


@pytest.mark.anyio
async def test_an_error_is_the_same(
    workspace: RemoteWorkspace, llm: ScriptedLLM, anyio_backend
) -> None:
    llm.script(say("late", delay=20.0))
    async with RemoteConversation(workspace, default_agent(llm.llm())) as conversation:
        await conversation.asend_message("go")
        with pytest.raises(ConversationTimeout):
            await conversation.arun(timeout=1.0)
    await workspace.aclose()
    with RemoteWorkspace("http://127.0.0.1:9", None) as nowhere, pytest.raises(ServerError):
        await nowhere.aserver_info()
