"""When a run counts as over, by the events and polls that reach the client."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from pytest_agent_sandbox.client import conversation_run, run_watch
from pytest_agent_sandbox.client.callbacks import CallbackDispatcher
from pytest_agent_sandbox.client.caller_time import CallerTime
from pytest_agent_sandbox.client.conversation_run import Run
from pytest_agent_sandbox.client.conversation_runs import ConversationRuns
from pytest_agent_sandbox.client.conversation_state import ConversationState
from pytest_agent_sandbox.client.event_log import EventLog
from pytest_agent_sandbox.client.events import ConversationStateUpdateEvent, Event, parse_event
from pytest_agent_sandbox.client.run_watch import RunWatch
from pytest_agent_sandbox.client.server_log import ServerLog
from pytest_agent_sandbox.client.stream import EventStream
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import ConversationFailed, ConversationTimeout, ServerError


def update(key: str, value: Any) -> Event:
    return parse_event(
        {"id": "x", "kind": "ConversationStateUpdateEvent", "key": key, "value": value}
    )


def status(value: str) -> Event:
    return update("execution_status", value)


def whole(value: str) -> Event:
    return update("full_state", {"execution_status": value})


PAUSE = parse_event({"id": "p", "kind": "PauseEvent"})


def observed(*events: Event, will_run: bool = True, opening: bool = False) -> RunWatch:
    watch = RunWatch(will_run=will_run)
    for event in events:
        watch.observe(event, opening=opening)
    return watch


# A connection that misses nothing.
STREAM: dict[str, Any] = {
    "connection_number": 1,
    "catch_up": lambda _: None,
    "break_silence": lambda _: None,
}


@pytest.mark.parametrize(
    "end", ["finished", "paused", "idle", "waiting_for_confirmation", "error", "stuck", "novel"]
)
def test_the_whole_state_after_the_run_is_authoritative(end: str) -> None:
    watch = observed(status("running"), whole(end))
    assert watch.end == end
    assert watch.failure == (end if end in ("error", "stuck") else None)


def test_the_first_word_stays() -> None:
    assert observed(status("running"), whole("finished"), whole("paused")).end == "finished"


def test_a_whole_state_that_is_still_running_is_no_end() -> None:
    assert observed(status("running"), whole("running")).end is None
    assert observed(whole("running"), whole("finished")).end == "finished"


def test_what_an_earlier_run_published_is_no_end() -> None:
    watch = observed(whole("paused"))
    assert watch.end is None
    watch.observe(status("running"), opening=False)
    watch.observe(whole("finished"), opening=False)
    assert watch.end == "finished"


def test_the_state_at_a_reconnection_is_no_end() -> None:
    watch = observed(status("running"))
    watch.observe(whole("finished"), opening=True)
    assert watch.end is None


def test_a_run_with_nothing_to_do_never_shows_as_running() -> None:
    assert observed(whole("finished"), will_run=False).end == "finished"


@pytest.mark.parametrize("hint", ["finished", "paused", "idle", "waiting_for_confirmation"])
def test_a_single_field_is_a_hint_only(hint: str) -> None:
    watch = observed(status("running"), status(hint))
    assert watch.end is None
    assert watch.failure is None


def test_a_stop_hook_can_take_finished_back() -> None:
    watch = observed(status("running"), status("finished"), status("running"))
    assert watch.end is None
    watch.observe(whole("finished"), opening=False)
    assert watch.end == "finished"


@pytest.mark.parametrize("failure", ["error", "stuck"])
def test_a_failure_is_final_as_a_single_field(failure: str) -> None:
    watch = observed(status("running"), status(failure))
    assert watch.failure == failure
    assert watch.end is None


def test_a_pause_publishes_a_state_of_its_own() -> None:
    watch = observed(status("running"), status("paused"), PAUSE, whole("paused"))
    assert watch.end is None, "the LLM call that was under way is not over yet"
    watch.observe(whole("finished"), opening=False)
    assert watch.end == "finished"


def test_polls_count_when_the_socket_may_have_missed_the_end() -> None:
    watch = observed(status("running"))
    watch.poll("finished", 0.0, missed=True)
    assert watch.end is None
    watch.poll("finished", 1.0, missed=True)
    assert watch.end == "finished"


@pytest.mark.parametrize("end", ["paused", "idle", "waiting_for_confirmation", "error"])
def test_polls_end_the_wait_with_any_status(end: str) -> None:
    watch = RunWatch(will_run=True)
    watch.poll("running", 0.0, missed=True)
    watch.poll(end, 1.0, missed=True)
    watch.poll(end, 2.0, missed=True)
    assert watch.end == end


def test_polls_that_disagree_do_not_count() -> None:
    watch = observed(status("running"))
    for now, polled in enumerate(["finished", "running", "finished", "idle", "finished"]):
        watch.poll(polled, float(now), missed=True)
    assert watch.end is None


def test_polls_prove_nothing_about_a_run_that_was_not_seen() -> None:
    watch = RunWatch(will_run=True)
    for now in range(25):
        watch.poll("idle", float(now), missed=True)
    assert watch.end is None
    watch.poll("idle", 31.0, missed=True)
    assert watch.end == "idle", "but they do not stall for ever"


def test_an_intact_socket_is_trusted_longer_than_polls() -> None:
    watch = observed(status("running"))
    for now in range(25):
        watch.poll("finished", float(now), missed=False)
    assert watch.end is None
    watch.poll("finished", 31.0, missed=False)
    assert watch.end == "finished"


def test_an_agent_that_takes_long_to_get_ready_is_not_over() -> None:
    watch = RunWatch(will_run=True)
    for now in range(0, 300, 10):
        watch.poll("idle", float(now), missed=False)
    assert watch.end is None


def test_waiting_ends_with_the_event() -> None:
    watch = observed(status("running"))
    assert not watch.wait(0.05)
    threading.Timer(0.1, watch.observe, [whole("finished")], {"opening": False}).start()
    began = time.monotonic()
    assert watch.wait(5)
    assert time.monotonic() - began < 1


def test_a_run_that_never_begins_is_not_waited_for_without_end() -> None:
    watch = observed()
    for second in range(20):
        watch.poll("idle", second, missed=False)
        assert not watch.never_began(second)
    watch.poll("idle", 20, missed=False)
    assert watch.never_began(20)
    assert watch.end is None
    watch.wait_anew(20)
    for second in range(21, 40):
        watch.poll("idle", second, missed=False)
        assert not watch.never_began(second)
    watch.poll("idle", 41, missed=False)
    assert watch.never_began(41)
    watch.saw_running()
    assert not watch.never_began(50)


def test_an_answer_from_before_the_end_undoes_nothing() -> None:
    """The event of the end comes while a poll is under way, which tells an older state."""

    class Connection:
        def request(self, *_: Any, **__: Any) -> None:
            for event in (status("running"), whole("finished")):
                assert isinstance(event, ConversationStateUpdateEvent)
                state.apply(event)
                run.observe(event, opening=False)

        def decoded(self, _: object) -> dict[str, Any]:
            return {"execution_status": "running", "stats": {}}

    connection: Any = Connection()
    stream: Any = SimpleNamespace(**STREAM)
    state = ConversationState("1", lambda: {})
    run = Run(
        connection,
        state,
        EventLog(),
        stream,
        check=lambda: None,
        will_run=True,
        server_log=ServerLog(lambda _: "", str),
    )
    assert run.wait(time.monotonic() + 10) == "finished"
    assert state.execution_status == "finished"


class IdleServer:
    """A server that knows no run, and answers requests for one as it is told to."""

    def __init__(self, *answers: ServerError | int | None) -> None:
        self.version = "1.58.0"
        self.time = CallerTime()
        self.answers = iter(answers)
        self.asked = 0

    def request(self, method: str, path: str, **_: Any) -> None:
        if method == "POST" and path.endswith("/run"):
            self.asked += 1
            answer = next(self.answers, None)
            if answer is not None:
                raise answer if isinstance(answer, ServerError) else refusal(answer)

    def decoded(self, _: object) -> dict[str, Any]:
        return {"execution_status": "idle", "stats": {}}


def refusal(status: int | None) -> ServerError:
    return ServerError(f"It says {status}, disk I/O error.", status=status)


def silence() -> ServerError:
    error = ServerError("It says nothing.")
    error.__cause__ = httpx.ReadTimeout("timed out")
    return error


NO_CONNECTION = ServerError("It cannot be reached.")

LOGGED = """
{"asctime": "1", "levelname": "INFO", "message": "before"}
{"asctime": "2", "levelname": "ERROR", "message": "No space left on device"}
""".strip().splitlines()


def run_on(connection: Any, log: list[str] | None = None) -> Run:
    return Run(
        connection,
        ConversationState("1", lambda: {}),
        EventLog(),
        SimpleNamespace(**STREAM),  # type: ignore[arg-type]
        check=lambda: None,
        will_run=True,
        server_log=ServerLog(lambda lines: "\n".join((log or [])[-lines:]), str),
    )


def test_a_run_is_told_its_end_although_the_next_one_has_been_asked_for() -> None:
    """As by a callback, which gets the run's last message before its end."""
    runs = ConversationRuns(
        IdleServer(),  # type: ignore[arg-type]
        SimpleNamespace(fetch=lambda _: {"execution_status": "running"}),  # type: ignore[arg-type]
        ConversationState("1", lambda: {}),
        EventLog(),
        SimpleNamespace(connection_number=1),  # type: ignore[arg-type]
        CallbackDispatcher((), name="callbacks"),
        timeout=None,
        check=lambda: None,
        server_log=lambda: ServerLog(lambda _: "", str),
    )
    first = runs.expect()
    runs.observe(status("running"), opening=False)
    second = runs.expect()
    runs.observe(whole("finished"), opening=False)
    assert first.watch.end == "finished"
    assert second.watch.end is None  # it was not seen to run
    runs.observe(status("running"), opening=False)
    runs.observe(whole("error"), opening=False)
    assert first.watch.failure is None
    assert second.watch.end == "error"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_watch, "_LONG_IDLE", 0.01)
    monkeypatch.setattr(conversation_run, "_POLL_INTERVAL", 0.01)
    monkeypatch.setattr(conversation_run, "GUARD_INTERVAL", 0.02)


@pytest.mark.usefixtures("impatient")
def test_a_run_that_is_nowhere_is_asked_for_once_more() -> None:
    server = IdleServer(409, 409, None, 409, silence(), 429, None)
    log = LOGGED[:1]
    run = run_on(server, log)
    log += LOGGED[1:]
    with pytest.raises(ConversationFailed) as raised:
        run.wait(time.monotonic() + 10)
    assert server.asked == 7
    assert "began none" in str(raised.value)
    assert str(raised.value).endswith("The last error in its log:\n  No space left on device")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ([404], 1),
        ([401], 1),
        ([500, 500], 2),
        ([NO_CONNECTION, NO_CONNECTION], 2),
        ([500, 409, 503, 500], 4),  # it was there in between
        ([409, None, 500, 500], 4),
    ],
)
def test_a_run_that_is_refused_is_not_being_prepared(
    answers: list[ServerError | int | None], asked: int
) -> None:
    server = IdleServer(*answers)
    with pytest.raises(ServerError) as raised:
        run_on(server, LOGGED[1:]).wait(math.inf)
    assert server.asked == asked
    last = answers[-1]
    assert raised.value.status == (last if isinstance(last, int) else None)
    assert str(last if isinstance(last, ServerError) else refusal(last)) in str(raised.value)


@pytest.mark.usefixtures("impatient")
def test_a_timeout_tells_of_a_run_that_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation_run, "_END_PATIENCE", 0.1)
    monkeypatch.setattr(run_watch, "_LONG_IDLE", 0.6)
    server = IdleServer(500)
    with pytest.raises(ConversationTimeout, match=r"refused: It says 500, disk I/O error"):
        run_on(server).wait(time.monotonic() + 1)
    assert server.asked == 1


@pytest.fixture
def silent() -> Iterator[ServerConnection]:
    """A server that takes every request and answers none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"http://127.0.0.1:{server.getsockname()[1]}"
        with ServerConnection(host, version="1.58.0") as connection:
            yield connection


def test_a_silent_server_is_not_waited_for_past_the_deadline(
    silent: ServerConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_run, "_INTERRUPT_TIMEOUT", 0.2)
    monkeypatch.setattr(conversation_run, "_CATCH_UP_PATIENCE", 0.2)
    began = time.monotonic()
    with pytest.raises(ConversationTimeout, match=r"did not take up the run: POST .* no answer"):
        run_on(silent).start(began + 0.5)
    with pytest.raises(ConversationTimeout, match="has been interrupted"):
        run_on(silent).wait(time.monotonic() + 0.5)
    stream = EventStream(silent, "1", EventLog(), lambda event, opening: None)
    with pytest.raises(ServerError, match="no answer"):
        stream.catch_up(time.monotonic() + 0.5)
    assert time.monotonic() - began < 5


def test_a_silent_server_is_given_up_without_a_deadline(
    silent: ServerConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_run, "_LONGEST_SILENCE", 0.5)
    began = time.monotonic()
    with pytest.raises(ServerError, match="no answer"):
        run_on(silent).start(math.inf)
    assert time.monotonic() - began < 5
