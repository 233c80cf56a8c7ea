"""What is not written: secrets, and what differs in every run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox.host.redaction import Redactor
from pytest_agent_sandbox.llm.cassettes.cassette import Cassette
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, say, tool
from tests.support.provider import Provider

from .studio import (
    ANYTHING,
    SECRET,
    SSE,
    Studio,
    Wire,
    ask,
    echo,
    event,
    events_of,
    new_player,
    post,
)

BODIES: dict[str, Callable[[str], Any]] = {
    "/chat/completions": lambda text: ask(text, stream=True),
    "/responses": lambda text: {"model": "gpt-4o", "input": text, "stream": True},
    "/messages": lambda text: {**ask(text, stream=True), "model": "claude-sonnet-4-5"},
}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("place", ["text", "reasoning", "arguments"])
def test_no_secret_is_written(
    studio: Studio, file: Path, path: str, streamed: bool, place: str
) -> None:
    redactor = Redactor()
    redactor.add(SECRET)

    def reply(request: LLMRequest) -> Reply:
        said = request.last_message
        match place:
            case "text":
                return say(said)
            case "reasoning":
                return say("x", reasoning=said)
        return say("x", tool("sh", first="1"), tool("sh", command=said, other=[said]))

    body = {**BODIES[path](f"My key is {SECRET}, and twice: {SECRET}."), "stream": streamed}
    player = new_player(file, "once", scrub=redactor)
    with studio.provided(Provider(reply)) as live:
        first = post(studio.lane(player, live), body, path)
        assert first.status_code == 200
    assert player.save("m") == ""

    written = file.read_text()
    for spelled in (SECRET, json.dumps(SECRET)[1:-1], json.dumps(json.dumps(SECRET))[3:-3]):
        assert spelled not in written
    # No piece of a stream tells a part of it either.
    assert "0123456789" not in written
    assert "longer-than" not in written
    assert written.count("***") >= 2

    for said in (SECRET, "***"):  # by the secret itself, and by what stands in its place
        player = new_player(file, "none", scrub=redactor)
        again = {**BODIES[path](f"My key is {said}, and twice: {said}."), "stream": streamed}
        second = post(studio.lane(player), again, path)
        assert second.status_code == 200
        player.verify()
        assert len(events_of(second.content)) == len(events_of(first.content))
        if place == "arguments":
            assert "***" in second.text


def test_a_secret_that_was_not_known_before_is_masked_in_what_is_written_again(
    studio: Studio, file: Path
) -> None:
    studio.record(file, "sk-secret-0123456789")
    assert file.read_text().count("sk-secret") == 2, "in the request and in the answer"
    redactor = Redactor()
    redactor.add("sk-secret-0123456789")
    player = new_player(file, "new_episodes", scrub=redactor)
    with studio.provided(Provider(echo)) as live:
        studio.say(player, "sk-secret-0123456789", "more", upstream=live)
    assert player.save("m") == ""
    assert len(Cassette.load(file).lanes["1"]) == 2
    assert "sk-secret" not in file.read_text()


def test_only_headers_that_clients_act_on_are_written(studio: Studio, file: Path) -> None:
    studio.record(file, "a")
    answer = Cassette.load(file).lanes["1"][0].answer
    assert set(answer.headers) == {"content-type"}
    assert "authorization" not in file.read_text().lower()
    assert "x-request-id" not in file.read_text()


def test_a_secret_in_pieces_of_plain_text_is_masked(studio: Studio, file: Path) -> None:
    redactor = Redactor()
    redactor.add("sk-secret-0123456789")
    player = new_player(file, "once", scrub=redactor)
    wire = Wire(b"data: sk-secret-\n\ndata: 0123456789\n\n", media_type=SSE)
    post(studio.lane(player, wire), path=ANYTHING)
    assert player.save("m") == ""
    assert "0123456789" not in file.read_text()


def test_an_ordinary_stream_is_kept_as_it_is_where_secrets_are_known(
    studio: Studio, file: Path
) -> None:
    """Masking one text gathers its pieces; other texts, and streams without a secret, stay."""
    redactor = Redactor()
    redactor.add(SECRET)
    streams = {}
    for scrub in (str, redactor):
        player = new_player(file, "all", scrub=scrub)
        wire = Wire(*(event(text) for text in ("a", "b", "c")), media_type=SSE)
        post(studio.lane(player, wire), path=ANYTHING)
        player.save("m")
        streams[scrub] = [e.data for e in Cassette.load(file).lanes["1"][0].answer.events]
    assert streams[str] == streams[redactor]


def test_what_differs_in_every_run_is_not_written(studio: Studio, file: Path) -> None:
    known = {"3f2a9c417d05": "host"}
    studio.record(file, "root@3f2a9c417d05 at 2026-11-24 13:30:22, job-7", known=known)
    assert "root@<host> at <date>" in file.read_text()
    # By a container of another name, on another day, and with a pattern that came later.
    player = new_player(
        file, "none", known={"aaaaaaaaaaaa": "host"}, patterns=[r"job-\d"], match="strict"
    )
    text = "root@aaaaaaaaaaaa at 2026-11-25 01:02:03, job-8"
    studio.say(player, text)
    player.verify()


@pytest.mark.parametrize(
    ("body", "secret"),
    [
        ({"tools": [{"type": "mcp", "authorization": "tok-1"}]}, "tok-1"),
        ({"tools": [{"type": "mcp", "headers": {"X-Key": "tok-2"}}]}, "tok-2"),
        ({"mcp_servers": [{"authorization_token": "tok-3"}]}, "tok-3"),
    ],
    ids=["authorization", "headers", "authorization_token"],
)
def test_credentials_for_tools_are_not_written(
    studio: Studio, file: Path, body: dict[str, Any], secret: str
) -> None:
    player = new_player(file, "all")
    lane = studio.lane(player, Wire(b"{}"))
    lane.policy.provider_tools = True
    post(lane, ask("a") | body, ANYTHING)
    assert player.save("m") == ""
    assert secret not in file.read_text()
    assert "<secret>" in file.read_text()
