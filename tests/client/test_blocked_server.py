"""A server that an agent has blocked: no call waits for it longer than it was told to."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from pytest_agent_sandbox.client.agents import default_agent
from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import CommandTimeout, ConversationTimeout, ServerError

from .scripted_llm import ScriptedLLM, say
from .server import Server

TIMEOUT = 1.5
GRACE = 1.0


def test_a_fifo_that_is_written_to_holds_nothing_up(fresh_server: Server, llm: ScriptedLLM) -> None:
    """A server opens what it is to write: a FIFO that nobody reads blocks it as a whole."""
    llm.script(say("Done."))
    agent = default_agent(llm.llm())

    def told(call: Callable[[], object]) -> str:
        began = time.monotonic()
        with pytest.raises((ServerError, CommandTimeout, ConversationTimeout)) as caught:
            call()
        took = time.monotonic() - began
        assert took < TIMEOUT + GRACE, caught.value
        return str(caught.value)

    with RemoteWorkspace(fresh_server.host, fresh_server.api_key) as workspace:
        workspace.execute_command("mkfifo /tmp/fifo").check()
        with RemoteConversation(workspace, agent) as conversation:
            conversation.send_message("go")
            written = told(lambda: workspace.write_text("/tmp/fifo", "x", timeout=TIMEOUT))
            assert "upload" in written
            assert "got no answer" in written
            command = told(lambda: workspace.execute_command("cat /tmp/o", timeout=TIMEOUT))
            assert "got no answer from the server" in command
            told(lambda: workspace.read_text("/etc/passwd", timeout=TIMEOUT))
            told(lambda: workspace.snapshot(timeout=TIMEOUT))
            told(lambda: conversation.run(timeout=TIMEOUT))
            told(lambda: conversation.send_message("x", timeout=TIMEOUT))
            told(lambda: RemoteConversation(workspace, agent, start_timeout=TIMEOUT))
            assert not workspace.alive()
            began = time.monotonic()
        assert time.monotonic() - began < GRACE
