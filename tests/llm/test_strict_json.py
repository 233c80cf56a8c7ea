"""What was checked is what is sent: bodies that programs read differently are refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_agent_sandbox.llm import strict_json
from pytest_agent_sandbox.llm.strict_json import UnclearJSONError, has_too_many, read_object

from .at_the_door import Door, opened

SEARCH = '{"type":"web_search"}'
#: Paths at which bodies are read.
READ = [
    "/chat/completions",
    "/responses",
    "/messages",
    "/embeddings",
    "/responses/compact",
    "/messages/count_tokens",
    "/responses/input_tokens",
]


def with_more(more: str) -> bytes:
    return f'{{"model":"m","tools":[{SEARCH}],{more}}}'.encode()


#: None of them is said to want a tool of the provider's: they cannot be told what they want.
UNCLEAR = {
    "a name twice, the first counts": b'{"model":"m","tools":[%b],"tools":[]}' % SEARCH.encode(),
    "a name twice, the last counts": b'{"model":"m","tools":[],"tools":[%b]}' % SEARCH.encode(),
    "a name twice, once escaped": rb'{"tools":[],"to\u006fls":[{"type":"web_search"}]}',
    "a name twice, inside": b'{"tools":[{"type":"function","type":"web_search"}]}',
    "lists, too deep": with_more('"z":' + "[" * 200 + "]" * 200),
    "objects, too deep": with_more('"z":' + '{"a":' * 200 + "1" + "}" * 200),
    "far too deep": with_more('"z":' + "[" * 100_000 + "]" * 100_000),
    "endless": b'{"z":' + b"[" * 100_000,
    "a long number": with_more('"z":' + "9" * 5000),
    "a large number": with_more('"z":1e999'),
    "a small number": with_more('"z":-1e999'),
    "no number": with_more('"z":NaN'),
    "infinity": with_more('"z":-Infinity'),
    "a comment": with_more('"z":1/**/'),
    "a comma too many": with_more('"z":1,'),
    "more after it": with_more('"z":1') + b"{}",
    "lines of JSON": with_more('"z":1') + b"\n" + with_more('"z":1'),
    "a list of requests": b"[" + with_more('"z":1') + b"]",
    "a text": json.dumps(with_more('"z":1').decode()).encode(),
    "no UTF-8": with_more('"z":"') + b"\xff\xfe",
    "single quotes": with_more('"z":1').replace(b'"', b"'"),
    "compressed": gzip.compress(with_more('"z":1')),
    "a form": b"model=m&tools=web_search",
    "parts": b'--B\r\nContent-Disposition: form-data; name="file"\r\n\r\n{}\r\n--B--\r\n',
    "nothing": b"",
}


@pytest.fixture(scope="module")
def nothing_left() -> None:
    """One gateway serves all of these tests; others look at what a gateway leaves."""


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with opened() as door:
        yield door


@pytest.mark.parametrize("body", UNCLEAR.values(), ids=UNCLEAR)
@pytest.mark.parametrize("provider_tools", [False, True])
def test_an_unclear_body_is_refused(door: Door, body: bytes, provider_tools: bool) -> None:
    lane = door.open(provider_tools=provider_tools)
    before = door.paid
    for path in READ:
        status, answer, reached = door.ask("POST", f"/v1{path}", body, lane)
        assert (status, reached) == (400, []), path
        content = json.loads(answer)
        assert ("type" in content) == path.startswith("/messages")
        message = content["error"]["message"]
        assert "The request's body" in message
        assert "llm_provider_tools" not in message
        assert lane.calls[-1].problem == message
    assert door.paid == before


def test_a_compressed_body_is_told_from_nonsense(door: Door) -> None:
    body = gzip.compress(b'{"model":"m"}')
    _, answer, _ = door.ask("POST", "/v1/responses", body, Content_Encoding="gzip")
    assert "encoded (gzip)" in json.loads(answer)["error"]["message"]


@pytest.mark.parametrize("path", READ)
@pytest.mark.parametrize(
    "name", ["Tools", "TOOLS", "tool\N{LATIN SMALL LETTER LONG S}", "Mcp_Servers", "Plugins"]
)
def test_a_name_that_some_servers_take_in_any_case_is_refused(
    door: Door, path: str, name: str
) -> None:
    body = json.dumps({"model": "m", name: [{"type": "web_search"}]}).encode()
    status, answer, reached = door.ask("POST", f"/v1{path}", body)
    assert (status, reached) == (400, [])
    assert "llm_provider_tools" in answer.decode()
    tool = {"type": "function", "Type": "web_search"}
    body = json.dumps({"model": "m", "tools": [tool]}).encode()
    assert door.ask("POST", f"/v1{path}", body)[2] == []


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
def test_text_in_another_coding_is_written_anew(door: Door, coding: str) -> None:
    body = '{"model": "grüße 🎉"}'.encode(coding)
    _, _, reached = door.ask("POST", "/v1/chat/completions", body)
    assert [got[3] for got in reached] == ['{"model":"grüße 🎉"}'.encode()]
    wants = b'{"model":"m","tools":[%b]}' % SEARCH.encode()
    assert door.ask("POST", "/v1/responses", wants.decode().encode(coding))[2] == []


def test_headers_that_would_have_it_read_otherwise_stay_here(door: Door) -> None:
    _, _, reached = door.ask(
        "POST",
        "/v1/messages/count_tokens",
        b'{"model":"m"}',
        Content_Type="application/json; charset=utf-7",
        Content_Encoding="identity",
        X_HTTP_Method_Override="PUT",
        X_HTTP_Method="PUT",
        X_Method_Override="PUT",
        X_Original_URL="/v1/files",
        X_Rewrite_URL="/v1/files",
    )
    ((_, _, headers, body),) = reached
    assert body == b'{"model":"m"}'
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(body))
    assert not {name for name in headers if name.startswith(("x-", "content-e"))} - {"x-api-key"}


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=5)
    | st.sampled_from(["\ud83c", "\x00", "\u2028", "</script>", 10**4000, 5e-324, -0.0, 1.0, 1e22])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=5)


@given(OBJECTS, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_whatever_is_clear_keeps_its_value(
    content: dict[str, Any], in_letters: bool, indent: int | str | None
) -> None:
    body = json.dumps(content, ensure_ascii=not in_letters, indent=indent)
    read, written = read_object(body.encode("utf-8", "surrogatepass"))
    # Their texts: Python takes 1 for True and for 1.0.
    assert json.dumps(read) == json.dumps(content) == json.dumps(json.loads(written))
    assert read_object(written) == (read, written)


def test_what_is_nested_as_deep_as_can_be_is_read_by_all(door: Door) -> None:
    body = ('{"model":"m","input":' + "[" * 199 + "]" * 199 + "}").encode()
    assert [got[3] for got in door.ask("POST", "/v1/responses", body)[2]] == [body]


@given(st.binary() | OBJECTS.map(lambda content: json.dumps(content).encode()), st.data())
def test_any_bytes_are_read_or_refused(body: bytes, data: st.DataObject) -> None:
    if body:
        at = data.draw(st.integers(0, len(body) - 1))
        body = body[:at] + data.draw(st.binary(max_size=2)) + body[at + 1 :]
    try:
        read, written = read_object(body)
    except UnclearJSONError as problem:
        assert str(problem).isprintable()  # noqa: PT017
    else:
        assert json.loads(written) == read


def first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


def any_case(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name.casefold(): value for name, value in pairs}


FIELD = st.tuples(
    st.sampled_from(["tools", "Tools", "TOOLS", r"to\u006fls", "tool\u017f", "x", "input"]),
    st.sampled_from(
        [
            "[]",
            "null",
            f"[{SEARCH}]",
            '[{"type":"function"}]',
            '[{"type":"function","Type":"web_search"}]',
            '[{"type":"web_search","type":"function"}]',
            f'[{{"type":"additional_tools","tools":[{SEARCH}]}}]',
            f'[{{"type":"additional_tools","Tools":[{SEARCH}]}}]',
            "9" * 5000,
            "NaN",
            "[" * 300 + "]" * 300,
        ]
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(FIELD, max_size=4), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_however_a_provider_reads_it_no_tool_of_its_own_is_asked_for(
    door: Door, fields: list[tuple[str, str]], coding: str
) -> None:
    text = ",".join(['"model":"m"', *(f'"{name}":{value}' for name, value in fields)])
    _, _, reached = door.ask("POST", "/v1/responses", f"{{{text}}}".encode(coding))
    for _, _, _, body in reached:
        for reading in (dict, first_wins, any_case):
            content = json.loads(body, object_pairs_hook=reading)
            holders = [content, *(i for i in content.get("input") or [] if isinstance(i, dict))]
            tools = [tool for holder in holders for tool in holder.get("tools") or []]
            assert all(tool["type"] == "function" for tool in tools), body


def _signs(content: Any) -> int:
    """How many signs stand before values and names in JSON, by reading what it says."""
    match content:
        case dict():
            return 1 + sum(1 + _signs(value) for value in content.values()) + _between(content)
        case list():
            return 1 + sum(map(_signs, content)) + _between(content)
    return 0


def _between(items: Any) -> int:
    return max(0, len(items) - 1)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(st.sampled_from('a,:[{"\\\n\u00e4')),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.sampled_from(',"\\')), inner),
        max_leaves=20,
    ),
    st.booleans(),
)
def test_values_are_counted_and_signs_in_texts_are_not(content: Any, is_ascii: bool) -> None:
    text, signs = json.dumps(content, ensure_ascii=is_ascii), _signs(content)
    with pytest.MonkeyPatch.context() as monkeypatch:
        for most in (signs - 1, signs):
            monkeypatch.setattr(strict_json, "_MOST_VALUES", most)
            assert has_too_many(text) == has_too_many(text.encode()) == (signs > most)


@pytest.mark.parametrize(
    "body",
    [b'{"a":[' + b"[]," * 200_000 + b"1]}", b"{" + b'"":0,' * 200_000 + b'"":0}'],
    ids=["lists", "names"],
)
def test_a_body_of_hundreds_of_thousands_of_values_is_refused(body: bytes) -> None:
    """They take ten times the memory of their text, and time in which nobody else is served."""
    with pytest.raises(UnclearJSONError, match="more than 250,000 values"):
        read_object(body)


@pytest.mark.parametrize(
    "body",
    ["a,b:" * 2_000_000, "{" * 4_000_000, '",' * 2_000_000, "\\" * 4_000_000],
    ids=["commas", "brackets", "escaped quotes", "backslashes"],
)
def test_signs_in_a_text_are_no_values(body: str) -> None:
    assert read_object(json.dumps({"a": body}).encode())[0] == {"a": body}


@pytest.mark.parametrize("text", ['{"a":"' + "," * 300_000, '"' + '\\"' * 9 + "," * 300_000])
def test_a_text_without_an_end_is_looked_through_once(text: str) -> None:
    assert not has_too_many(text)
