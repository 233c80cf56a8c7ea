"""The event stream: complete, in order and once, also over sockets that break."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from pytest_agent_sandbox.client.agents import Agent, Tool
from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.client.event_log import EventLog
from pytest_agent_sandbox.client.events import Event
from pytest_agent_sandbox.client.stream import EventStream
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import SandboxDied, ServerError
from tests.support.relay import Relay
from tests.support.timing import eventually

from .fake_server import STATE, FakeServer, Following, fact
from .scripted_llm import Reply, ScriptedLLM, say, tool
from .server import Server


def thoughts(count: int, in_one_reply: int = 25) -> list[Reply]:
    """Replies that make the agent think, `count` times, each with an action and a result."""
    numbers = range(count)
    return [
        Reply(
            calls=tuple(
                ("think", {"thought": f"Thought {n}."}) for n in numbers[at : at + in_one_reply]
            )
        )
        for at in range(0, count, in_one_reply)
    ]


def terminal_agent(llm: ScriptedLLM) -> Agent:
    return Agent(llm=llm.llm(), tools=[Tool(name="terminal")])


def log_ids(connection: ServerConnection, conversation_id: str) -> list[str]:
    log = EventLog()
    EventStream(connection, conversation_id, log, lambda event, opening: None).catch_up()
    return [event.id for event in log]


@pytest.fixture
def relay(server: Server) -> Iterator[Relay]:
    with Relay(server.host) as relay:
        yield relay


@pytest.mark.parametrize("when", ["before the message", "in the run"])
def test_a_socket_that_falls_silent_while_the_server_goes_on(
    relay: Relay, server: Server, workspace: RemoteWorkspace, llm: ScriptedLLM, when: str
) -> None:
    llm.script(tool("terminal", command="sleep 2"), say("Done."))
    with (
        RemoteWorkspace(relay.host, server.api_key, workspace.working_dir) as relayed,
        RemoteConversation(relayed, terminal_agent(llm)) as conversation,
    ):
        if when == "before the message":
            assert relay.silence() == 1
        conversation.send_message("Go.")
        conversation.run(blocking=False)
        if when == "in the run":
            eventually(lambda: conversation.events.tool_calls("terminal"))
            assert relay.silence() == 1
        began = time.monotonic()
        conversation.wait(timeout=60)
        assert time.monotonic() - began < 20
        assert conversation.status == "finished"
        assert conversation.events.final_message == "Done."
        llm.script(say("Again."))
        conversation.send_message("And now?")
        conversation.run(timeout=20)
        with ServerConnection(server.host, server.api_key) as connection:
            assert [event.id for event in conversation.events] == log_ids(
                connection, str(conversation.id)
            )


@pytest.mark.parametrize("cuts", [(), (300, 700)], ids=["whole", "cut twice"])
def test_a_thousand_events_arrive_once_and_in_order(
    cuts: tuple[int, ...],
    relay: Relay,
    server: Server,
    workspace: RemoteWorkspace,
    llm: ScriptedLLM,
) -> None:
    llm.script(*thoughts(500), say("Done."))
    received: list[Event] = []

    def receive(event: Event) -> None:
        if len(received) in cuts:
            relay.cut()
        received.append(event)

    with (
        RemoteWorkspace(relay.host, server.api_key, workspace.working_dir) as relayed,
        RemoteConversation(relayed, Agent(llm=llm.llm()), callbacks=[receive]) as conversation,
    ):
        conversation.send_message("think")
        conversation.run(timeout=250)
        assert conversation.status == "finished"
        delivered = [event.id for event in received if event.is_persisted]
        assert len(delivered) > 1000
        assert relay.cuts == len(cuts)
        server_log = log_ids(workspace.connection, conversation.id)
        assert delivered == server_log[: len(delivered)]
        assert [event.id for event in conversation.events][: len(delivered)] == delivered
        assert max(Counter(delivered).values()) == 1
        assert len(conversation.events.tool_calls("think")) == 500


def test_runs_end_promptly_over_a_socket_that_keeps_breaking(
    relay: Relay, server: Server, workspace: RemoteWorkspace, llm: ScriptedLLM
) -> None:
    llm.script(*[tool("terminal", command=f"sleep 0.{n % 10}") for n in range(12)], say("Done."))
    stop = threading.Event()

    def keep_cutting() -> None:
        while not stop.wait(0.7):
            relay.cut()

    cutter = threading.Thread(target=keep_cutting)
    with (
        RemoteWorkspace(relay.host, server.api_key, workspace.working_dir) as relayed,
        RemoteConversation(relayed, terminal_agent(llm)) as conversation,
    ):
        conversation.send_message("go")
        cutter.start()
        try:
            conversation.run(timeout=60)
        finally:
            stop.set()
            cutter.join()
        assert conversation.status == "finished"
        delivered = [event.id for event in conversation.events]
        assert delivered == log_ids(workspace.connection, conversation.id)[: len(delivered)]


def test_an_end_that_the_socket_missed_is_found(
    relay: Relay, server: Server, workspace: RemoteWorkspace, llm: ScriptedLLM
) -> None:
    llm.script(tool("terminal", command="sleep 1"), say("Done."))
    with (
        RemoteWorkspace(relay.host, server.api_key, workspace.working_dir) as relayed,
        RemoteConversation(relayed, terminal_agent(llm)) as conversation,
    ):
        conversation.send_message("go")
        conversation.run(blocking=False)
        eventually(lambda: conversation.events.tool_calls("terminal"))
        relay.hold()
        relay.cut()
        connection = workspace.connection
        path = f"/api/conversations/{conversation.id}"
        eventually(lambda: connection.get_json(path)["execution_status"] == "finished")
        time.sleep(0.5)
        relay.release()
        relay.cut()
        began = time.monotonic()
        conversation.wait(timeout=60)
        assert time.monotonic() - began < 15
        assert conversation.status == "finished"
        assert conversation.events.final_message == "Done."
        assert conversation.cost > 0


def test_a_connection_made_while_a_tool_runs_misses_nothing(
    relay: Relay, server: Server, workspace: RemoteWorkspace, llm: ScriptedLLM
) -> None:
    llm.script(tool("terminal", command="sleep 4"), say("Done."))
    with (
        RemoteWorkspace(relay.host, server.api_key, workspace.working_dir) as relayed,
        RemoteConversation(relayed, terminal_agent(llm)) as conversation,
    ):
        conversation.send_message("go")
        conversation.run(blocking=False)
        eventually(lambda: conversation.events.tool_calls("terminal"))
        relay.cut()
        conversation.wait(timeout=60)
        assert conversation.events.final_message == "Done."
        delivered = [event.id for event in conversation.events]
        assert delivered == log_ids(workspace.connection, conversation.id)[: len(delivered)]


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


def test_a_silent_connection_that_lacks_nothing_is_kept(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_agent_sandbox.client.stream._SILENCE", 0.0)
    fake.log = [fact(0), fact(1)]
    fake.frames = [[STATE]]
    fake.withheld = 3
    with Following(fake) as following:
        assert following.stream.wait_until_ready(5)
        for _ in range(5):
            following.stream.break_silence()
        time.sleep(0.3)
        assert fake.connections == 1
        fake.log.append(fact(2))
        for _ in range(3):
            following.stream.break_silence()
        eventually(lambda: fake.connections == 2)
        assert [event.id for event in following.log] == [event["id"] for event in fake.log]


def test_the_key_is_the_first_frame(fake: FakeServer) -> None:
    fake.frames = [["auth", STATE]]
    with Following(fake, api_key="key") as following:
        assert following.stream.wait_until_ready(5)
    assert json.loads(fake.first_frames[0]) == {"type": "auth", "session_api_key": "key"}


def test_without_a_key_nothing_is_sent(fake: FakeServer) -> None:
    fake.frames = [[STATE]]
    with Following(fake) as following:
        assert following.stream.wait_until_ready(5)
        time.sleep(0.1)
    assert fake.first_frames == []


def test_history_comes_before_news_and_nothing_twice(fake: FakeServer) -> None:
    fake.log = [fact(n) for n in range(250)]
    fake.frames = [[fact(248), fact(249), STATE, fact(250), fact(250), fact(251)]]
    with Following(fake) as following:
        eventually(lambda: "e251" in following.ids)
    assert [i for i in following.ids if i != "s"] == [f"e{n}" for n in range(252)]
    assert ("s", True) in following.received


def test_only_the_first_state_of_a_connection_is_old_news(fake: FakeServer) -> None:
    fake.frames = [[STATE, STATE, fact(1)]]
    with Following(fake) as following:
        eventually(lambda: "e1" in following.ids)
    assert following.received == [("s", True), ("s", False), ("e1", False)]


def test_a_silent_server_is_not_waited_for(fake: FakeServer) -> None:
    fake.log = [fact(0)]
    fake.frames = [[]]
    with Following(fake) as following:
        assert following.stream.wait_until_ready(5)
        assert following.ids == ["e0"]
        assert following.stream.connection_number is None, "something may be missed yet"


def test_what_was_missed_is_replayed_after_a_reconnection(fake: FakeServer) -> None:
    fake.frames = [[STATE, fact(0), fact(1), 1011], [STATE, fact(5)], []]
    fake.log = []
    with Following(fake) as following:
        eventually(lambda: "e1" in following.ids)
        fake.log = [fact(n) for n in range(5)]
        eventually(lambda: "e5" in following.ids)
    assert [i for i in following.ids if i != "s"] == [f"e{n}" for n in range(6)]


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1013])
def test_other_close_codes_are_followed_by_another_try(fake: FakeServer, code: int) -> None:
    fake.frames = [[code], [STATE, code], [STATE, fact(0)]]
    with Following(fake) as following:
        eventually(lambda: "e0" in following.ids)
    assert fake.connections == 3


@pytest.mark.parametrize(("code", "words"), [(4001, "key"), (4004, "no such conversation")])
def test_fatal_close_codes_end_the_stream(fake: FakeServer, code: int, words: str) -> None:
    fake.frames = [[code]]
    with Following(fake) as following:
        eventually(lambda: fake.connections)
        time.sleep(0.5)
        with pytest.raises(ServerError, match=words):
            following.stream.check()
    assert fake.connections == 1


@pytest.mark.parametrize("frame", ["no json", "[]", "null", '{"id": 7, "kind": 8}'])
def test_odd_frames_do_no_harm(fake: FakeServer, frame: str) -> None:
    fake.frames = [[STATE, frame, fact(0)]]
    with Following(fake) as following:
        eventually(lambda: "e0" in following.ids)
    assert len(following.received) == 3
    assert fake.connections == 1


def test_a_large_frame_fits(fake: FakeServer) -> None:
    fake.frames = [[STATE | {"value": {"text": "x" * 5_000_000}}, fact(0)]]
    with Following(fake) as following:
        eventually(lambda: "e0" in following.ids)


def test_a_guard_that_knows_the_server_is_gone_ends_the_stream(fake: FakeServer) -> None:
    gone = threading.Event()

    def guard() -> None:
        if gone.is_set():
            raise SandboxDied("gone")

    fake.frames = [[STATE, 1011]] * 50
    with Following(fake, guard=guard) as following:
        assert following.stream.wait_until_ready(5)
        gone.set()
        eventually(lambda: not following.stream._thread.is_alive())
        with pytest.raises(SandboxDied):
            following.stream.check()


@pytest.mark.parametrize("moment", ["connecting", "ready"])
def test_closing_takes_no_time(server: Server, moment: str) -> None:
    with Relay(server.host) as relay:
        connection = ServerConnection(relay.host, server.api_key)
        stream = EventStream(connection, "c", EventLog(), lambda event, opening: None)
        if moment == "connecting":
            relay.hold()
        stream.start()
        time.sleep(0.3)
        began = time.monotonic()
        stream.close()
        assert time.monotonic() - began < 0.1
        assert not stream._thread.is_alive()
        connection.close()


def test_a_server_that_is_not_there_is_tried_again(fake: FakeServer) -> None:
    fake.frames = [[STATE, fact(0)]]
    with Relay(fake.host) as relay:
        connection = ServerConnection(relay.host)
        log = EventLog()
        stream = EventStream(connection, "c", log, lambda event, opening: None)
        relay.hold()
        stream.start()
        time.sleep(0.2)
        relay.cut()
        relay.release()
        eventually(lambda: len(log) == 1)
        stream.close()
        connection.close()
