"""Pictures in requests: what they show decides nothing."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from pytest_agent_sandbox.llm.cassettes.canonical import canonical
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser

from .requests import Make, changed, chat, each_dialect, messages, request, responses


def picture_in(dialect: str, data: str, media_type: str = "image/png") -> Any:
    """A request with two pictures as its dialect has them, one of them printed by a tool."""
    url = f"data:{media_type};base64,{data}"
    part: dict[str, Any]
    match dialect:
        case "openai-chat":
            part = {"type": "image_url", "image_url": {"url": url, "detail": "auto"}}
            body = changed(chat(), "messages", 3, "content", [part])
            body["messages"][1]["content"].append(part)
        case "openai-responses":
            part = {"type": "input_image", "image_url": url}
            body = changed(responses(), "input", 3, "output", [part])
            body["input"][0]["content"].append(part)
        case _:
            source = {"type": "base64", "media_type": media_type, "data": data}
            part = {"type": "image", "source": source}
            body = changed(messages(), "messages", 2, "content", 0, "content", [part])
            body["messages"][2]["content"].append(part)
    return body


@each_dialect
def test_what_a_picture_shows_does_not_matter(dialect: str, make: Make) -> None:
    one, other = (
        request(picture_in(dialect, data * 1000), dialect) for data in ("iVBORw0K", "iVBORw0L")
    )
    assert (one.key, one.skeleton) == (other.key, other.skeleton)
    text = json.dumps(one.body)
    assert "iVBOR" not in text
    assert text.count("<picture>") == 2
    # As in a cassette of the time when the data was kept, with a date found in it, say.
    old = json.loads(text.replace("<picture>", "iVBORw0K+<date>/***=="))
    assert canonical(one.dialect, one.method, one.path, old, Normaliser()) == one


def test_a_picture_keeps_its_place_and_its_kind() -> None:
    body = request(picture_in("openai-chat", "iVBORw0K")).body
    assert body["messages"][1]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,<picture>", "detail": "auto"},
    }
    body = request(picture_in("anthropic-messages", "iVBORw0K"), "anthropic-messages").body
    assert body["messages"][2]["content"][1]["source"] == {
        "type": "base64",
        "media_type": "image/png",
        "data": "<picture>",
    }


@each_dialect
def test_whether_there_is_a_picture_and_of_which_kind_matters(dialect: str, make: Make) -> None:
    keys = {
        request(make(), dialect).key,
        request(picture_in(dialect, "iVBORw0K"), dialect).key,
        request(picture_in(dialect, "iVBORw0K", "image/jpeg"), dialect).key,
    }
    assert len(keys) == 3


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "data:image/png;base64,{}"},
        {"type": "image_url", "image_url": {"url": "https://x.example/{}.png"}},
        {"type": "image_url", "image_url": {"url": "see data:image/png;base64,{}"}},
        {"type": "image_url", "image_url": {"url": "data:image/svg+xml,{}"}},
        {"type": "file", "url": "data:text/plain;base64,{}"},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf",
                                        "data": "{}"}},
        {"type": "image", "source": {"type": "url", "media_type": "image/png", "data": "{}"}},
        {"type": "image", "source": {"type": "base64", "media_type": 5, "data": "{}"}},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_picture_s_data_matters(part: Any) -> None:
    parts = [json.loads(json.dumps(part).replace("{}", data)) for data in ("YWJj", "YWJk")]
    one, other = (request(changed(chat(), "messages", 1, "content", [each])) for each in parts)
    assert one.key != other.key


def test_a_picture_in_a_tool_s_arguments_is_the_agent_s_own_word() -> None:
    path = ("messages", 1, "content", 2, "input", "url")
    one, other = (
        request(changed(messages(), *path, f"data:image/png;base64,{data}"), "anthropic-messages")
        for data in ("YWJj", "YWJk")
    )
    assert one.key != other.key


def test_large_pictures_take_no_time() -> None:
    body = picture_in("openai-chat", "iVBORw0K" * 1_000_000)
    started = time.monotonic()
    request(body)
    assert time.monotonic() - started < 0.5  # ten times that where their data is looked through
