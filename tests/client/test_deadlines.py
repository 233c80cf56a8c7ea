"""One deadline, from the caller down to the socket: no server can put it off."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from pytest_agent_sandbox.client import conversation_run
from pytest_agent_sandbox.client.agents import LLM, default_agent
from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import (
    CommandTimeout,
    ConversationTimeout,
    SandboxStartFailed,
    ServerError,
)
from tests.support.slow_server import ENDLESS, SlowServer, full_listener

#: Seconds that a call is given, and that it may take beyond them.
TIMEOUT = 0.3
GRACE = 1.0

#: The calls of a workspace, each with how many requests are answered well before.
OF_WORKSPACE: dict[str, tuple[Callable[[RemoteWorkspace, float], object], range]] = {
    "wait_until_ready": (lambda it, timeout: it.wait_until_ready(timeout), range(1)),
    "execute_command": (lambda it, timeout: it.execute_command("x", timeout=timeout), range(4)),
    "run_agent": (lambda it, timeout: it.run_agent(["x"], timeout=timeout), range(3)),
    "snapshot": (lambda it, timeout: it.snapshot(timeout=timeout), range(3)),
}
OF_CONVERSATION: dict[str, tuple[Callable[[RemoteConversation, float], object], range]] = {
    "send_message": (lambda it, timeout: it.send_message("x", timeout=timeout), range(1)),
    "pause": (lambda it, timeout: it.pause(timeout=timeout), range(1)),
    "accept": (lambda it, timeout: it.accept(timeout=timeout), range(2)),
    "reject": (lambda it, timeout: it.reject(timeout=timeout), range(1)),
    "run": (lambda it, timeout: it.run(timeout=timeout), range(3)),
    "wait": (lambda it, timeout: it.wait(timeout=timeout), range(3)),
}


@pytest.mark.parametrize(
    ("kind", "calls"), [(RemoteWorkspace, OF_WORKSPACE), (RemoteConversation, OF_CONVERSATION)]
)
def test_the_calls_below_are_all_that_take_a_timeout(kind: type, calls: dict[str, Any]) -> None:
    found = {
        name
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and "timeout" in inspect.signature(method).parameters
    }
    assert found == set(calls)


def ends_in_time(call: Callable[[float], object], timeout: float = TIMEOUT) -> str:
    """What is wrong with how a call ends where no answer does; nothing if all is well."""
    began = time.monotonic()
    try:
        call(timeout)
    except (ServerError, CommandTimeout, ConversationTimeout, SandboxStartFailed) as error:
        took = time.monotonic() - began
        return "" if took < timeout + GRACE else f"took {took:.2f} s: {error}"
    return f"ended well after {time.monotonic() - began:.2f} s"


def at_workspace(name: str, well: int, how: str) -> str:
    with SlowServer() as server, RemoteWorkspace(server.host, "key") as workspace:
        server.how, server.well = how, well
        problem = ends_in_time(partial(OF_WORKSPACE[name][0], workspace))
    return f"{name} after {well} answers {problem}" if problem else ""


def at_conversation(name: str, well: int, how: str) -> str:
    with SlowServer() as server, RemoteWorkspace(server.host, "key") as workspace:
        agent = default_agent(LLM(model="x"))
        with RemoteConversation(workspace, agent) as conversation:
            server.how, server.well = how, well
            # A run is asked after now and then: it lasts until the server has not answered that.
            timeout = TIMEOUT if well < 2 else 3 * TIMEOUT
            problem = ends_in_time(partial(OF_CONVERSATION[name][0], conversation), timeout)
    return f"{name} after {well} answers {problem}" if problem else ""


@pytest.mark.parametrize("how", ENDLESS)
@pytest.mark.parametrize(
    ("kind", "calls"),
    [(at_workspace, OF_WORKSPACE), (at_conversation, OF_CONVERSATION)],
    ids=["workspace", "conversation"],
)
def test_an_answer_without_end_puts_off_no_deadline(
    kind: Callable[[str, int, str], str],
    calls: dict[str, tuple[Any, range]],
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversation_run, "_POLL_INTERVAL", 0.1)  # within a run's time
    cases = [(name, well, how) for name, (_, answered) in calls.items() for well in answered]
    workers = 2 if "flood" in how else 6  # both ends are in this process
    with ThreadPoolExecutor(workers) as pool:
        problems = list(pool.map(kind, *zip(*cases, strict=True)))
    assert [problem for problem in problems if problem] == []


def test_a_connection_that_is_not_taken_puts_off_no_deadline() -> None:
    with full_listener() as host, RemoteWorkspace(host, "key") as workspace:
        for name, (call, _) in OF_WORKSPACE.items():
            assert ends_in_time(partial(call, workspace)) == "", name


@pytest.fixture
def server() -> Iterator[SlowServer]:
    with SlowServer() as server:
        server.well = 0
        yield server


@pytest.mark.parametrize("how", ["takes no request", "takes it bytewise"])
def test_an_upload_that_is_not_taken_puts_off_no_deadline(server: SlowServer, how: str) -> None:
    server.how = how
    content = bytes(20_000_000)
    with ServerConnection(server.host) as connection:
        upload = partial(connection.request, "POST", "/upload", content=content)
        assert ends_in_time(lambda timeout: upload(timeout=timeout)) == ""


def test_further_tries_have_no_time_of_their_own(server: SlowServer) -> None:
    server.how = "header drips"
    with ServerConnection(server.host) as connection:
        get = partial(connection.request, "GET", "/x", retry=True)
        assert ends_in_time(lambda timeout: get(timeout=timeout)) == ""
        assert ends_in_time(lambda timeout: get(deadline=time.monotonic() + timeout)) == ""


def test_an_answer_may_drip_for_as_long_as_nobody_set_a_time(server: SlowServer) -> None:
    server.how = "body drips"
    with (
        ServerConnection(server.host, read_timeout=0.2) as connection,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(connection.request, "GET", "/x")
        time.sleep(0.8)
        assert not answer.done(), "silence is limited, and there is none"
        server.__exit__()
        assert answer.exception(5) is not None
