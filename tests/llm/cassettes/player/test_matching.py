"""Requests that match no recording, match one loosely, and recordings that nobody asks for."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import openai
import pytest

from pytest_agent_sandbox.errors import CassetteMiss, CassetteUnused
from pytest_agent_sandbox.llm.cassettes.player import CassettePlayer
from pytest_agent_sandbox.llm.replies import say
from tests.support.provider import Provider

from .studio import TEST, Studio, ask, echo, new_player, post, text_of, tool_turn


def test_a_miss_is_told_at_once_with_the_changed_word(studio: Studio, file: Path) -> None:
    prompt = "You are an agent. Use the tools in /workspace with great care. " * 100
    turns = {"model": "gpt-4o", "messages": [{"role": "system", "content": prompt}]}
    hello = {"role": "user", "content": "Please list the files."}
    turns["messages"].append(hello)
    player = new_player(file, "once")
    with studio.provided(Provider(echo)) as live:
        client = studio.client(studio.lane(player, live))
        client.chat.completions.create(**ask("Something else."))
        client.chat.completions.create(**turns)
    player.save("m")

    player = new_player(file, "none")
    lane = studio.lane(player)
    hello["content"] = "Please list the folders."
    begun = time.monotonic()
    with pytest.raises(openai.BadRequestError) as refusal:
        studio.client(lane, max_retries=2).chat.completions.create(**turns)
    assert time.monotonic() - begun < 1
    assert len(lane.calls) == 1, "no client tries again"
    with pytest.raises(CassetteMiss) as failure:
        lane.check()
    for message in (str(failure.value), str(refusal.value.body)):
        assert "call 1 in conversation 1 is not in" in message
        assert file.name in message
        assert "recording 2" in message
        assert "message 2 (user), content" in message
        assert "[-files-]" in message
        assert "[+folders+]" in message
        assert "great care" not in message, "what is the same is not shown"
        assert "--llm-record=all" in message
    with pytest.raises(CassetteMiss):
        player.verify()


CHANGES: list[tuple[Any, list[str]]] = [
    ({"temperature": 0.5}, ["temperature", "0.5"]),
    ({"model": "gpt-4o-mini"}, ["model", "mini"]),
    ({"stream": True}, ["stream", "true"]),
    ({"tools": [{"type": "function", "function": {"name": "sh"}}]}, ["tools", "sh"]),
    ({"messages": [{"role": "system", "content": "a"}]}, ["message 1", "[+system+]"]),
    ({"messages": ask("a", "b")["messages"]}, ["message 2 (assistant): new", "b"]),
    ({"messages": []}, ["message 1 (user): recorded, and not asked for", "a"]),
]


@pytest.mark.parametrize(("change", "words"), CHANGES, ids=lambda value: str(value)[:30])
def test_a_miss_tells_any_difference(
    studio: Studio, file: Path, change: Any, words: list[str]
) -> None:
    studio.record(file, "a")
    message = post(studio.lane(new_player(file, "none")), {**ask("a"), **change}).text
    assert [word for word in words if word not in message] == []


def test_another_path_is_a_difference(studio: Studio, file: Path) -> None:
    studio.record(file, "a")
    message = post(studio.lane(new_player(file, "none")), ask("a"), "/messages").text
    assert "openai-chat /chat/completions" in message
    assert "anthropic-messages /messages" in message


@pytest.mark.parametrize(
    ("recorded", "asked"),
    [
        (
            " ".join(["First", *(f"word{number % 997}" for number in range(4000)), "last"]),
            " ".join(["Other", *(f"word{number % 997}" for number in range(4000)), "end"]),
        ),
        (
            " ".join(f"one{number}" for number in range(400)),
            " ".join(f"two{number}" for number in range(400)),
        ),
    ],
    ids=["far apart", "all new"],
)
def test_a_miss_of_a_long_prompt_is_told_at_once(
    studio: Studio, file: Path, recorded: str, asked: str
) -> None:
    studio.record(file, recorded)
    lane = studio.lane(new_player(file, "none"))
    begun = time.monotonic()
    message = post(lane, ask(asked)).text
    assert time.monotonic() - begun < 1
    assert recorded.split(maxsplit=1)[0] in message
    assert asked.split(maxsplit=1)[0] in message


def test_without_a_cassette_the_miss_tells_how_to_record(studio: Studio, file: Path) -> None:
    player = new_player(file, "none")
    message = post(studio.lane(player)).text
    assert "There is no cassette" in message
    assert f"pytest '{TEST}' --llm-record=once" in message
    with pytest.raises(CassetteMiss, match="There is no cassette"):
        player.check()


def test_a_recording_is_served_once(studio: Studio, file: Path) -> None:
    studio.record(file, "a", "a")
    lane = studio.lane(new_player(file, "none"))
    assert [post(lane, ask("a")).status_code for _ in range(3)] == [200, 200, 400]
    with pytest.raises(CassetteMiss, match=r"All 2 recorded answers .* are used up"):
        lane.check()


def test_a_conversation_that_was_not_recorded_is_said_so(studio: Studio, file: Path) -> None:
    studio.record(file, "a")
    message = post(studio.lane(new_player(file, "none"), name="2")).text
    assert "conversation 2" in message
    assert "All 0" not in message


def test_the_first_miss_is_the_one_that_is_raised(studio: Studio, file: Path) -> None:
    studio.record(file, "a")
    lane = studio.lane(new_player(file, "none"))
    for text in ("first", "second"):
        post(lane, ask(text))
    for _ in range(2):
        with pytest.raises(CassetteMiss, match=r"\+first\+"):
            lane.check()


def drifted(
    studio: Studio, file: Path, match: str, *requests: Any
) -> tuple[CassettePlayer, list[int]]:
    """A player of a conversation with two tool calls, asked with other requests."""
    one, two = tool_turn("old one"), [*tool_turn("old one"), *tool_turn("old two", "More.", 2)]
    player = new_player(file, "all")
    with studio.provided(Provider(lambda _: say("ok"))) as live:
        lane = studio.lane(player, live)
        for messages in (one, two):
            assert post(lane, ask(messages=messages)).status_code == 200
    player.save("m")
    player = new_player(file, "none", match=match)
    lane = studio.lane(player)
    return player, [post(lane, ask(messages=messages)).status_code for messages in requests]


def test_lenient_matching_serves_other_tool_output_and_reports_each_once(
    studio: Studio, file: Path
) -> None:
    player, statuses = drifted(
        studio,
        file,
        "lenient",
        tool_turn("new one"),
        [*tool_turn("new one"), *tool_turn("old two", "More.", 2)],
    )
    assert statuses == [200, 200]
    player.verify()
    assert len(player.drift) == 1
    for words in ("call 1 of conversation 1", "message 3 (tool)", "[-old-]", "[+new+]"):
        assert words in player.drift[0]


def test_lenient_matching_reports_every_output_that_differs(studio: Studio, file: Path) -> None:
    player, statuses = drifted(
        studio,
        file,
        "lenient",
        tool_turn("new one"),
        [*tool_turn("new one"), *tool_turn("new two", "More.", 2)],
    )
    assert statuses == [200, 200]
    assert len(player.drift) == 2
    assert "message 6 (tool)" in player.drift[1]


def test_lenient_matching_without_a_difference_reports_nothing(studio: Studio, file: Path) -> None:
    player, statuses = drifted(studio, file, "lenient", tool_turn("old one"))
    assert statuses == [200]
    assert player.drift == []


def test_strict_matching_refuses_other_tool_output(studio: Studio, file: Path) -> None:
    player, statuses = drifted(studio, file, "strict", tool_turn("new one"))
    assert statuses == [400]
    assert player.drift == []
    with pytest.raises(CassetteMiss, match="Only what a tool printed is different") as failure:
        player.check()
    assert "--llm-match=lenient" in str(failure.value)
    assert "[-old-]" in str(failure.value)


@pytest.mark.parametrize(
    "messages",
    [
        tool_turn("old one", "Look there."),
        [*tool_turn("old one"), {"role": "user", "content": "And?"}],
        tool_turn("old one")[:2],
        [*tool_turn("old one"), *tool_turn("old two", "Less.", 2)],
    ],
    ids=["word", "turn more", "turn less", "later word"],
)
def test_lenient_matching_serves_nothing_else(
    studio: Studio, file: Path, messages: list[Any]
) -> None:
    player, statuses = drifted(studio, file, "lenient", messages)
    assert statuses == [400]
    with pytest.raises(CassetteMiss):
        player.check()


def test_lenient_matching_prefers_what_is_exact(studio: Studio, file: Path) -> None:
    player = new_player(file, "all")
    counter = itertools.count(1)
    with studio.provided(Provider(lambda _: say(f"answer {next(counter)}"))) as live:
        lane = studio.lane(player, live)
        for printed in ("x", "y"):
            post(lane, ask(messages=tool_turn(printed)))
    player.save("m")
    player = new_player(file, "none", match="lenient")
    client = studio.client(studio.lane(player))
    printed = ("y", "z")
    answers = [client.chat.completions.create(**ask(messages=tool_turn(p))) for p in printed]
    assert [text_of(answer) for answer in answers] == ["answer 2", "answer 1"]
    player.verify()
    assert len(player.drift) == 1


def test_drift_in_another_conversation_of_the_lane_is_reported_too(
    studio: Studio, file: Path
) -> None:
    player = new_player(file, "all")
    with studio.provided(Provider(lambda _: say("ok"))) as live:
        lane = studio.lane(player, live)
        for question in ("Agent?", "Condenser?"):
            post(lane, ask(messages=tool_turn("old", question)))
    player.save("m")
    player = new_player(file, "none", match="lenient")
    lane = studio.lane(player)
    for question in ("Agent?", "Condenser?"):
        assert post(lane, ask(messages=tool_turn(f"new {question}", question))).status_code == 200
    assert len(player.drift) == 2


def test_recordings_that_nobody_asked_for_are_complained_about(studio: Studio, file: Path) -> None:
    studio.record(file, "a", "b", "c")
    player = new_player(file, "none")
    studio.say(player, "b")
    with pytest.raises(CassetteUnused, match="never asked for 2 of the answers") as failure:
        player.verify()
    message = str(failure.value)
    assert "conversation 1, recording 1: /chat/completions" in message
    assert "recording 3" in message
    assert "recording 2" not in message
    assert "--llm-unused=warn" in message
    player.check()


def test_a_conversation_that_never_began_is_unused(studio: Studio, file: Path) -> None:
    studio.record(file, "a")
    with pytest.raises(CassetteUnused, match="never asked for 1 of the answers"):
        new_player(file, "none").verify()


def test_a_miss_comes_before_what_is_unused(studio: Studio, file: Path) -> None:
    studio.record(file, "a")
    player = new_player(file, "none")
    post(studio.lane(player), ask("b"))
    with pytest.raises(CassetteMiss):
        player.verify()


@pytest.mark.parametrize("mode", ["new_episodes", "all"])
def test_what_is_recorded_anew_is_not_unused(studio: Studio, file: Path, mode: str) -> None:
    studio.record(file, "a")
    new_player(file, mode).verify()


def looking(data: str) -> Any:
    """A request after a tool has taken a screenshot, as the agent server words it."""
    turns = tool_turn("", "Look.")
    shot = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    saved = f"Screenshot saved to: observations/browser_screenshot_{hash(data) % 2**32:08x}.png"
    turns[2]["content"] = [{"type": "text", "text": saved}, shot]
    return {"model": "gpt-4o", "messages": turns}


@pytest.mark.parametrize("match", ["strict", "lenient"])
def test_what_a_screenshot_shows_decides_nothing(studio: Studio, file: Path, match: str) -> None:
    with studio.provided(Provider(lambda _: say("I see."))) as live:
        player = new_player(file, "all")
        studio.client(studio.lane(player, live)).chat.completions.create(**looking("iVBORw0K"))
    player.save("openai/gpt-4o")
    text = file.read_text("utf-8")
    assert "iVBOR" not in text
    # Cassettes of the time when a picture's data was kept hold what was recorded then.
    for recorded in (text, text.replace('<picture>"', 'iVBORw0KOLD="')):
        file.write_text(recorded, "utf-8")
        player = new_player(file, "none", match=match)
        client = studio.client(studio.lane(player))
        assert text_of(client.chat.completions.create(**looking("iVBORw0L"))) == "I see."
        player.verify()
        assert player.drift == []
    assert "iVBORw0KOLD" in file.read_text("utf-8")
