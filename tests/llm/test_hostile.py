"""Whatever is sent to the gateway, and however an answer's stream is cut."""

from __future__ import annotations

import pytest

from tests.support.hostile import requests, streams


def test_no_request_makes_the_gateway_fail() -> None:
    """And none reaches the provider unchecked or unpaid. For longer: scripts/fuzz requests."""
    requests.run(seed=0, count=400)


@pytest.mark.parametrize("token", ["TOKEN", "no-token"])
@pytest.mark.parametrize("ending", ["", "Connection: close\r\n"], ids=["open", "close"])
@pytest.mark.parametrize("extra", ["", "Upgrade: websocket\r\nConnection: Upgrade\r\n"])
def test_a_body_that_is_none_does_not_break_the_answer(token: str, ending: str, extra: str) -> None:
    """It comes with the request, or when that has been answered already."""
    head = (
        f"POST /x HTTP/1.1\r\nHost: x\r\nX-Api-Key: {token}\r\n{extra}{ending}"
        "Transfer-Encoding: chunked\r\n\r\n"
    ).encode()
    with requests.attacked() as attack:
        attack.check(("live", head + b"no chunk\r\n", 0))
        attack.check(("live", head + b"no chunk\r\n", len(head)))


def test_streams_are_the_same_however_they_are_cut() -> None:
    """For longer: scripts/fuzz streams."""
    streams.run(seed=0, count=300)


def test_a_mark_after_a_line_end_that_was_cut() -> None:
    streams.check((b"data: 1\n\r\n\xef\xbb\xbfdata: 2\n\n", [9]))
