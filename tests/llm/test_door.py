"""The door: which paths a token opens, and that nothing gets past the budget by another way."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_agent_sandbox.llm.dialects import DIALECTS
from pytest_agent_sandbox.llm.door import Entry, enter, form_of

from .at_the_door import Door, opened

ROOT = Path(__file__).parents[2]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
COMPLETIONS = [dialect.path for dialect in DIALECTS]
COUNTS = ["/messages/count_tokens", "/responses/input_tokens"]
MODELS = ["/models", "/models/gpt-5", "/models/openai/gpt-5", "/models/ft:gpt-4o:me"]
#: Everything that there is, as the documentation promises it.
OPEN = {
    **{("POST", path): "paid" for path in [*COMPLETIONS, "/embeddings", "/responses/compact"]},
    **{("POST", path): "free" for path in COUNTS},
    **{("GET", path): "free" for path in MODELS},
}
#: What a provider has besides, all of it within reach of the same key.
SHUT = [
    "/assistants",
    "/audio/speech",
    "/batches",
    "/chat/completions/chatcmpl-1",
    "/completions",
    "/containers/c/files/f/content",
    "/conversations",
    "/embeddings/x",
    "/files",
    "/files/file-abc/content",
    "/fine_tuning/jobs",
    "/images/generations",
    "/messages/batches",
    "/messages/count_tokens/x",
    "/models/a/b/c",
    "/organization/admin_api_keys",
    "/responses/resp_1",
    "/responses/resp_1/cancel",
    "/skills",
    "/uploads",
    "/v1/messages",
    "/vector_stores",
    "/videos",
]
#: What two programs may read differently, each after a path that is let in.
MISLEADING = [
    "#/count_tokens",
    "#",
    "%23/count_tokens",
    "%2fcount_tokens",
    "%2F",
    "%3F",
    "%00",
    "/",
    "//count_tokens",
    "/./count_tokens",
    "/../files",
    "/%2e%2e/files",
    "/%252e%252e/files",
    "/..;/files",
    ";x=1",
    "\\count_tokens",
    "\\..\\files",
    "\x01",
    "\x7f",
    "é",
    "?x#/count_tokens",
    "?x\\y#",
]

SIGNS = ["/v1", "/", "#", "?", "%2f", "%", "..", ".", "\\", ";", "\t", "é", "x", "v1"]


@pytest.fixture(scope="module")
def nothing_left() -> None:
    """One gateway serves all of these tests; others look at what a gateway leaves."""


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with opened() as door:
        yield door


@pytest.mark.parametrize("method", METHODS)
def test_a_token_opens_these_paths_and_no_others(door: Door, method: str) -> None:
    """SECURITY.md names them."""
    every = {*SHUT, *(path for _, path in OPEN), *(path for path in COMPLETIONS)}
    for path in sorted(every):
        paid_before = door.paid
        status, _, reached = door.ask(method, f"/v1{path}")
        paid = door.paid - paid_before
        expected = OPEN.get((method, path))
        if expected is None:
            assert (status, paid, reached) == (404, 0, []), (method, path)
        else:
            assert status == 200, (method, path)
            assert [(got[0], got[1]) for got in reached] == [(method, f"/api/v1{path}")]
            assert paid == (expected == "paid"), (method, path)


@pytest.mark.parametrize("end", MISLEADING, ids=repr)
@pytest.mark.parametrize("path", [*COMPLETIONS, *COUNTS, "/models", "/models/gpt-5"])
def test_a_path_that_can_be_read_in_two_ways_is_refused(door: Door, path: str, end: str) -> None:
    for method in ("GET", "POST"):
        status, body, reached = door.ask(method, f"/v1{path}{end}")
        assert (status, reached) == (400, []), (method, path, end)
        assert b"Traceback" not in body


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/v1/models",
        "//evil.example/v1/models",
        "/v1//evil.example/models",
        "/v1/@evil.example/models",
        "/v1/respons%65s",
        "/V1/models",
        "/v1/Models",
        "*",
        "/v1",
        "/v1/",
    ],
)
def test_a_target_of_another_form_is_refused(door: Door, target: str) -> None:
    for method in METHODS:
        status, _, reached = door.ask(method, target)
        assert status in (400, 404)
        assert reached == []


@pytest.mark.parametrize(
    ("path", "headers", "is_anthropic"),
    [
        ("/messages#/count_tokens", {}, True),
        ("/messages/batches", {}, True),
        ("/files", {"anthropic_version": "2023-06-01"}, True),
        ("/files", {}, False),
        ("/messages-of-tomorrow", {}, False),
        ("/responses#", {"anthropic_version": "2023-06-01"}, False),
    ],
)
def test_a_refusal_is_in_the_dialect_s_form(
    door: Door, path: str, headers: dict[str, str], is_anthropic: bool
) -> None:
    _, body, _ = door.ask("POST", f"/v1{path}", **headers)
    content = json.loads(body)
    assert ("type" in content) == is_anthropic
    assert content["error"]["message"]


def test_a_refusal_says_what_there_is_and_what_to_set(door: Door) -> None:
    lane = door.open()
    _, body, _ = door.ask("POST", "/v1/files", lane=lane)
    message = json.loads(body)["error"]["message"]
    for method, path in OPEN:
        assert method == "GET" or f"POST /v1{path}" in message
    assert "GET /v1/models" in message
    assert "llm_allow_paths" in message
    assert [(call.path, call.problem) for call in lane.calls] == [("/files", message)]


def test_security_md_tells_what_a_token_opens() -> None:
    table = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("| request, below")[2]
    rows = [line.split("|")[1:3] for line in table.split("\n\n")[0].splitlines()]
    told = {
        tuple(request.split()): "paid" if counted.strip().startswith("yes") else "free"
        for requests, counted in rows
        for request in re.findall(r"`([A-Z]+ /[\w/]+)`", requests)
    }
    assert told == {opened: kind for opened, kind in OPEN.items() if "/models/" not in opened[1]}


def test_what_is_not_below_the_base_url_is_no_call(door: Door) -> None:
    """Agents report to their makers' servers there, too: such requests would shift the numbers."""
    lane = door.open()
    for target in ("/", "/api/event_logging/batch", "/embeddings"):
        assert door.ask("POST", target, lane=lane)[0] == 404
    assert lane.calls == ()


def test_a_budget_that_is_used_up_leaves_no_way(door: Door) -> None:
    door.ledger.change(lambda spent: type(spent)())
    lane = door.open(calls=1)
    assert door.ask("POST", "/v1/chat/completions", lane=lane)[0] == 200
    for method in METHODS:
        for path in ["/embeddings", *COMPLETIONS]:
            for end in ["", *MISLEADING]:
                _, _, reached = door.ask(method, f"/v1{path}{end}", lane=lane)
                assert reached == [], (method, path, end)


def test_a_setting_opens_further_paths(door: Door) -> None:
    lane = door.open(allow_paths=("files", "messages/batches"))
    let_in = ["/files", "/files/file-1/content", "/messages/batches", "/messages/batches/b/results"]
    body = b"--B\r\n\r\n\xff\xfe no JSON\r\n--B--\r\n"
    for path in let_in:
        for method, costs in (("GET", 0), ("POST", 1), ("DELETE", 1)):
            before = door.paid
            kind = "multipart/form-data; boundary=B"
            status, _, reached = door.ask(method, f"/v1{path}", body, lane, Content_Type=kind)
            assert status == 200
            assert [(got[0], got[1]) for got in reached] == [(method, f"/api/v1{path}")]
            assert reached[0][3] == (b"" if method == "GET" else body)
            assert reached[0][2]["content-type"] == kind
            assert door.paid - before == costs
    for path in ["/filesystem", "/file", "/messages/batch", "/x/files", "/files/../models"]:
        assert door.ask("POST", f"/v1{path}", lane=lane)[2] == []
    for end in MISLEADING:
        assert door.ask("POST", f"/v1/files{end}", lane=lane)[2] == []


def test_what_a_get_carries_reaches_nobody(door: Door) -> None:
    """A provider may read it, and no check has."""
    _, _, reached = door.ask("GET", "/v1/models", b'{"model": "m", "tools": [{"type": "mcp"}]}')
    assert [got[3] for got in reached] == [b""]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(METHODS),
    st.lists(
        st.sampled_from(
            [*SIGNS, *COMPLETIONS, *COUNTS, "/models", "/files", "/count_tokens", "/input_tokens"]
        )
        | st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=4),
        max_size=6,
    ).map("".join),
    st.booleans(),
)
def test_whatever_is_asked_only_these_paths_are_reached(
    door: Door, method: str, path: str, below: bool
) -> None:
    before = door.paid
    _, _, reached = door.ask(method, f"/v1{path}" if below else f"/{path}")
    allowed = {(method, f"/api/v1{path}"): kind for (method, path), kind in OPEN.items()}
    for got in reached:
        where = (got[0], got[1].partition("?")[0])
        is_model = got[0] == "GET" and re.fullmatch(r"/api/v1/models(/[^/%#?]+){0,2}", where[1])
        kind = "free" if is_model else allowed[where]
        assert door.paid - before == (kind == "paid")
    assert len(reached) <= 1
    if not reached:
        assert door.paid == before


@given(st.sampled_from(METHODS), st.text(), st.text(), st.lists(st.text()))
def test_any_text_is_let_in_or_refused(
    method: str, path: str, query: str, allowed: list[str]
) -> None:
    entry = enter(method, f"/v1/{path}", query, allowed)
    if isinstance(entry, Entry):
        assert re.fullmatch(r"(/[A-Za-z0-9._~:@+=,-]+)+", entry.path)
        assert "#" not in query
    assert form_of(path, {}) in DIALECTS
