"""One deadline, from the caller down to the socket: no server can put it off."""

from __future__ import annotations

import inspect
import math
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox.client import conversation_endpoints, conversation_run, files
from pytest_agent_sandbox.client.agents import LLM, default_agent
from pytest_agent_sandbox.client.asynchronous import InThread
from pytest_agent_sandbox.client.commands import CommandResult
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
from tests.support.timing import measured

#: Seconds that a call is given, and that it may take beyond them.
TIMEOUT = 0.3
GRACE = 1.0

Call = Callable[[Any, float], object]
Calls = dict[str, tuple[Call, range]]

#: The calls of a workspace, each with how many requests are answered well before.
OF_WORKSPACE: Calls = {
    "wait_until_ready": (lambda it, timeout: it.wait_until_ready(timeout), range(1)),
    "execute_command": (lambda it, timeout: it.execute_command("x", timeout=timeout), range(4)),
    "run_agent": (lambda it, timeout: it.run_agent(["x"], timeout=timeout), range(3)),
    "snapshot": (lambda it, timeout: it.snapshot(timeout=timeout), range(3)),
}
OF_CONVERSATION: Calls = {
    "send_message": (lambda it, timeout: it.send_message("x", timeout=timeout), range(1)),
    "pause": (lambda it, timeout: it.pause(timeout=timeout), range(1)),
    "accept": (lambda it, timeout: it.accept(timeout=timeout), range(2)),
    "reject": (lambda it, timeout: it.reject(timeout=timeout), range(1)),
    "run": (lambda it, timeout: it.run(timeout=timeout), range(3)),
    "wait": (lambda it, timeout: it.wait(timeout=timeout), range(3)),
}
#: The others, whose requests are no different: a few of the ways to answer will do.
OTHERS_OF_WORKSPACE: Calls = {
    "alive": (lambda it, timeout: it.alive(timeout=timeout), range(1)),
    "changes_as_diff": (lambda it, timeout: it.changes_as_diff(timeout=timeout), range(3)),
    "clone_repos": (
        lambda it, timeout: it.clone_repos(["https://github.com/o/r"], timeout=timeout),
        range(3),
    ),
    "download": (lambda it, timeout: it.download("x", NOWHERE, timeout=timeout), range(3)),
    "forget": (lambda it, timeout: it.forget("x", timeout=timeout), range(1)),
    "git_changes": (lambda it, timeout: it.git_changes(timeout=timeout), range(3)),
    "git_commits": (lambda it, timeout: it.git_commits(timeout=timeout), range(3)),
    "start_command": (lambda it, timeout: it.start_command("x", timeout=timeout), range(3)),
    "git_diff": (lambda it, timeout: it.git_diff("x", timeout=timeout), range(3)),
    "read_bytes": (lambda it, timeout: it.read_bytes(ODD, timeout=timeout), range(3)),
    "read_text": (lambda it, timeout: it.read_text("x", timeout=timeout), range(1)),
    "server_info": (lambda it, timeout: it.server_info(timeout=timeout), range(1)),
    "upload": (lambda it, timeout: it.upload(HERE.parent, "x", timeout=timeout), range(3)),
    "write_bytes": (lambda it, timeout: it.write_bytes(ODD, b"x", timeout=timeout), range(3)),
    "write_text": (lambda it, timeout: it.write_text("x", "x", timeout=timeout), range(1)),
}
OTHERS_OF_CONVERSATION: Calls = {
    "attach": (
        lambda it, timeout: it.attach(it.workspace, "x", start_timeout=timeout),
        range(2),
    ),
    "fork": (lambda it, timeout: it.fork(timeout=timeout), range(4)),
    "interrupt": (lambda it, timeout: it.interrupt(timeout=timeout), range(1)),
    "update_secrets": (
        lambda it, timeout: it.update_secrets({"x": "y"}, timeout=timeout),
        range(1),
    ),
    "ask_agent": (lambda it, timeout: it.ask_agent("x", timeout=timeout), range(1)),
    "final_response": (lambda it, timeout: it.final_response(timeout=timeout), range(1)),
    "condense": (lambda it, timeout: it.condense(timeout=timeout), range(1)),
    "set_title": (lambda it, timeout: it.set_title("x", timeout=timeout), range(1)),
    "set_tags": (lambda it, timeout: it.set_tags({}, timeout=timeout), range(1)),
    "set_confirmation_policy": (
        lambda it, timeout: it.set_confirmation_policy("never", timeout=timeout),
        range(1),
    ),
    "set_security_analyzer": (
        lambda it, timeout: it.set_security_analyzer(None, timeout=timeout),
        range(1),
    ),
    "switch_llm": (lambda it, timeout: it.switch_llm({"model": "x"}, timeout=timeout), range(1)),
    "switch_profile": (lambda it, timeout: it.switch_profile("x", timeout=timeout), range(1)),
    "switch_acp_model": (lambda it, timeout: it.switch_acp_model("x", timeout=timeout), range(1)),
    "load_plugin": (lambda it, timeout: it.load_plugin("x", timeout=timeout), range(1)),
    "navigate": (lambda it, timeout: it.navigate("x", timeout=timeout), range(1)),
    "start_goal": (lambda it, timeout: it.start_goal("x", timeout=timeout), range(1)),
    "wait_for_goal": (lambda it, timeout: it.wait_for_goal(timeout=timeout), range(1)),
    "stop_goal": (lambda it, timeout: it.stop_goal(timeout=timeout), range(1)),
    "resume_goal": (lambda it, timeout: it.resume_goal(timeout=timeout), range(1)),
    "start_child": (lambda it, timeout: it.start_child("x", timeout=timeout), range(1)),
    # They take no timeout: it is `PATIENCE`, which the test makes short.
    "conversation_stats": (lambda it, _: it.conversation_stats, range(1)),
    "cost": (lambda it, _: it.cost, range(1)),
    "status": (lambda it, _: it.status, range(1)),
    "tokens": (lambda it, _: it.tokens, range(1)),
}
#: What asks nothing of the server.
SILENT_OF_WORKSPACE = {
    *("api_key", "as_openhands", "close", "has_desktop", "host", "log_tail", "path"),
    "get_repos_context",
    "server",  # its parts take 60 s at most
    *("cleanup", "file_download", "file_upload"),  # other names of `close`, `download`, `upload`
    *("on_agent_run", "on_command", "on_secret"),
}
SILENT_OF_CONVERSATION = {"check_callbacks", "check_messages", "close"}
#: What tells of a silent server by what it returns.
TOLD = {"alive": False, "forget": None}
#: What has no limit of its own, unless it is given one.
UNLIMITED = {"run", "wait"}
#: A part of an error that says what was waited for.
WAITED_FOR = re.compile(
    r"(GET|POST|DELETE|PATCH) http|not ready|of command|git failed|events of|run|goal"
)

HERE = Path(__file__)
NOWHERE = HERE.parent / "nowhere"
#: A name that takes more than one request.
ODD = "\udcff"


@pytest.mark.parametrize(
    ("kind", "calls"),
    [
        (RemoteWorkspace, {*OF_WORKSPACE, *OTHERS_OF_WORKSPACE, *SILENT_OF_WORKSPACE}),
        (RemoteConversation, {*OF_CONVERSATION, *OTHERS_OF_CONVERSATION, *SILENT_OF_CONVERSATION}),
    ],
)
def test_all_that_there_is_to_call_is_tried_here(kind: type, calls: set[str]) -> None:
    public = {
        name: value
        for name, value in inspect.getmembers(kind)
        if not name.startswith("_") and hasattr(kind, name)  # else it says what to use instead
    }
    in_threads = {name for name, value in public.items() if isinstance(value, InThread)}
    assert {public[name]._name for name in in_threads} <= calls
    assert set(public) - in_threads == calls


@pytest.mark.parametrize("kind", [RemoteWorkspace, RemoteConversation])
def test_each_timeout_has_a_default_and_is_told_of(kind: type) -> None:
    taking = []
    for name, method in inspect.getmembers(kind, callable):
        if name.startswith("_") and name != "__init__":
            continue
        for parameter in inspect.signature(method).parameters.values():
            if parameter.name in ("timeout", "start_timeout"):
                taking.append(name)
                assert name in UNLIMITED or 0 < parameter.default < math.inf, name
                doc = inspect.getdoc(kind if name == "__init__" else method) or ""
                words = f"{parameter.name}: Seconds|here and below|{parameter.name}: As for"
                assert re.search(words, doc) or name in BELOW, name
    assert len(taking) > 9


#: Methods whose timeouts are told of above them.
BELOW = {"write_text", "read_bytes", "write_bytes"}


def ends_in_time(call: Callable[[float], object], timeout: float = TIMEOUT, told: Any = ...) -> str:
    """What is wrong with how a call ends where no answer does; nothing if all is well."""
    began = time.monotonic()
    try:
        returned = call(timeout)
    except (ServerError, CommandTimeout, ConversationTimeout, SandboxStartFailed) as error:
        took = time.monotonic() - began
        if WAITED_FOR.search(str(error)) is None:
            return f"does not say what it waited for: {error}"
        return "" if took < timeout + GRACE else f"took {took:.2f} s: {error}"
    took = time.monotonic() - began
    return "" if returned is told and took < timeout + GRACE else f"ended well after {took:.2f} s"


def at_workspace(name: str, well: int, how: str) -> str:
    call = (OF_WORKSPACE | OTHERS_OF_WORKSPACE)[name][0]
    with SlowServer() as server, RemoteWorkspace(server.host, "key") as workspace:
        server.how, server.well = how, well
        problem = ends_in_time(partial(call, workspace), told=TOLD.get(name, ...))
    return f"{name} after {well} answers {problem}" if problem else ""


def at_conversation(name: str, well: int, how: str) -> str:
    call = (OF_CONVERSATION | OTHERS_OF_CONVERSATION)[name][0]
    with SlowServer() as server, RemoteWorkspace(server.host, "key") as workspace:
        agent = default_agent(LLM(model="x"))
        with RemoteConversation(workspace, agent) as conversation:
            server.how, server.well = how, well
            # A run is asked after now and then: it lasts until the server has not answered that.
            timeout = TIMEOUT if well < 2 else 3 * TIMEOUT
            problem = ends_in_time(partial(call, conversation), timeout)
    return f"{name} after {well} answers {problem}" if problem else ""


def at_start(name: str, well: int, how: str) -> str:
    def start(timeout: float) -> None:
        RemoteConversation(
            workspace, default_agent(LLM(model="x")), secrets={"x": "y"}, start_timeout=timeout
        ).close()

    with SlowServer() as server, RemoteWorkspace(server.host, "key") as workspace:
        server.how, server.well = how, well
        problem = ends_in_time(start)
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
    assert problems_of(kind, calls, how) == []


def problems_of(kind: Callable[[str, int, str], str], calls: Calls, how: str) -> list[str]:
    cases = [(name, well, how) for name, (_, answered) in calls.items() for well in answered]
    workers = 2 if "flood" in how else 16  # both ends are in this process
    with ThreadPoolExecutor(workers) as pool:
        problems = list(pool.map(kind, *zip(*cases, strict=True)))
    return [problem for problem in problems if problem]


@pytest.mark.parametrize("how", ["silent", "header drips", "body drips"])
@pytest.mark.parametrize(
    ("kind", "calls"),
    [
        (at_workspace, OTHERS_OF_WORKSPACE),
        (at_conversation, OTHERS_OF_CONVERSATION),
        (at_start, {"RemoteConversation": (at_start, range(4))}),
    ],
    ids=["workspace", "conversation", "start"],
)
def test_an_answer_without_end_puts_off_nothing_else(
    kind: Callable[[str, int, str], str],
    calls: Calls,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversation_endpoints, "PATIENCE", TIMEOUT)
    assert problems_of(kind, calls, how) == []


@pytest.mark.parametrize("mode", ["41ed", "81a4"], ids=["folder", "file"])
@pytest.mark.parametrize("name", ["upload", "download", "read_bytes", "write_bytes"])
def test_a_transfer_without_end_puts_off_no_deadline(
    name: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the commands around it are done."""
    done = CommandResult("x", 0, f"{mode} readable", "")
    monkeypatch.setattr(files, "_run", lambda *args, **kwargs: done)
    local = HERE if mode == "81a4" else HERE.parent
    call = OTHERS_OF_WORKSPACE[name][0]
    if name == "upload":
        call = lambda it, timeout: it.upload(local, "x", timeout=timeout)  # noqa: E731
    elif name == "download":
        call = lambda it, timeout: it.download("x", tmp_path / "y", timeout=timeout)  # noqa: E731
    with SlowServer() as server, RemoteWorkspace(server.host, "key") as workspace:
        workspace.server_info()
        server.well = 0
        for server.how in ("silent", "header drips", "body drips", "takes it bytewise"):
            assert ends_in_time(partial(call, workspace)) == "", server.how


def test_closing_asks_nothing_of_a_silent_server() -> None:
    with SlowServer() as server:
        workspace = RemoteWorkspace(server.host, "key")
        conversation = RemoteConversation(workspace, default_agent(LLM(model="x")))
        server.well = 0
        with measured(at_most=0.3):
            conversation.check_callbacks()
            conversation.close()
            workspace.close()


def test_a_connection_that_is_not_taken_puts_off_no_deadline() -> None:
    calls = {name: call for name, (call, _) in (OF_WORKSPACE | OTHERS_OF_WORKSPACE).items()}
    with (
        full_listener() as host,
        RemoteWorkspace(host, "key") as workspace,
        ThreadPoolExecutor(len(calls)) as pool,
    ):
        ending = {
            name: pool.submit(ends_in_time, partial(call, workspace), told=TOLD.get(name, ...))
            for name, call in calls.items()
        }
        assert {name: end.result() for name, end in ending.items() if end.result()} == {}


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
