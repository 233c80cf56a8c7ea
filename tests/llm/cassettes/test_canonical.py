"""The key of a request: the same for what means the same, another for all else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from pytest_agent_sandbox.host.redaction import Redactor
from pytest_agent_sandbox.llm.cassettes.canonical import CanonicalRequest, canonical
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser

from .requests import (
    CODEX,
    DIALECTS,
    PATHS,
    TOOL_USE,
    Make,
    changed,
    chat,
    each_dialect,
    messages,
    request,
)


@each_dialect
def test_ids_are_told_by_their_positions_alone(dialect: str, make: Make) -> None:
    assert request(make("a"), dialect).key == request(make("b"), dialect).key


@each_dialect
def test_what_the_caller_is_called_does_not_matter(dialect: str, make: Make) -> None:
    named = make(
        user="u1", metadata={"user_id": "u"}, prompt_cache_key="k1", safety_identifier="s1"
    )
    assert request(named, dialect).key == request(make(), dialect).key


@each_dialect
@pytest.mark.parametrize(
    "change",
    [
        {"model": "another"},
        {"temperature": 0.6},
        {"top_p": 0.5},
        {"max_tokens": 5},
        {"stream": True},
        {"tools": []},
        {"tool_choice": "none"},
        {"reasoning_effort": "low"},
    ],
    ids=str,
)
def test_what_changes_answers_changes_the_key(dialect: str, make: Make, change: Any) -> None:
    one, other = request(make(), dialect), request(make(**change), dialect)
    assert one.key != other.key
    assert one.skeleton != other.skeleton


def test_releases_of_a_model_are_different_models() -> None:
    one, other = chat(model="gpt-4o-2024-08-06"), chat(model="gpt-4o-2024-11-20")
    assert request(one).key != request(other).key


@pytest.mark.parametrize(
    ("dialect", "steps"),
    [
        ("openai-chat", ("messages", 0, "content", "You help!")),
        ("openai-chat", ("messages", 0, "role", "developer")),
        ("openai-chat", ("messages", 1, "content", 0, "text", "List those.")),
        ("openai-chat", ("messages", 2, "tool_calls", 0, "function", "arguments", '{"c": "l"}')),
        ("openai-chat", ("messages", 2, "tool_calls", 0, "function", "name", "zsh")),
        ("openai-chat", ("tools", 0, "function", "description", "It lists.")),
        ("openai-chat", ("tools", 0, "function", "parameters", "properties", "id", "type", "int")),
        ("openai-responses", ("instructions", "You help!")),
        ("openai-responses", ("input", 0, "content", 0, "text", "List those.")),
        ("openai-responses", ("input", 2, "arguments", '{"c": "l"}')),
        ("openai-responses", ("input", 1, "summary", [{"type": "summary_text", "text": "x"}])),
        ("openai-responses", ("input", "List them.")),
        ("anthropic-messages", ("system", 0, "text", "You help!")),
        ("anthropic-messages", ("system", 0, "cache_control", {"type": "ephemeral"})),
        ("anthropic-messages", ("messages", 1, "content", 0, "thinking", "I will not.")),
        ("anthropic-messages", ("messages", 1, "content", 2, "input", "n", [])),
        ("anthropic-messages", ("messages", 1, "content", 2, "input", "id", "row-9")),
        ("anthropic-messages", ("messages", 1, "content", 2, "input", "n", 0, "id", "row-9")),
    ],
    ids=str,
)
def test_a_changed_word_changes_key_and_skeleton(dialect: str, steps: tuple[Any, ...]) -> None:
    body = DIALECTS[dialect]()
    one, other = request(body, dialect), request(changed(body, *steps), dialect)
    assert one.key != other.key
    assert one.skeleton != other.skeleton


@pytest.mark.parametrize("name", ["signature", "encrypted_content", "thought_signature"])
def test_a_tool_s_own_signature_is_no_proof_of_reasoning(name: str) -> None:
    path = ("messages", 1, "content", 2, "input", name)
    one = request(changed(messages(), *path, "def f(x)"), "anthropic-messages")
    other = request(changed(messages(), *path, "def f(y)"), "anthropic-messages")
    assert one.key != other.key


@pytest.mark.parametrize("kind", ["server_tool_use", "mcp_tool_use"])
def test_an_id_in_a_provider_s_tool_s_input_is_kept(kind: str) -> None:
    body = changed(messages(), "messages", 1, "content", 2, "type", kind)
    other = changed(body, "messages", 1, "content", 2, "input", "id", "row-9")
    assert request(body, "anthropic-messages").key != request(other, "anthropic-messages").key


def test_signatures_do_not_matter_and_whether_there_is_one_does() -> None:
    body = messages()
    block = body["messages"][1]["content"][0]
    signed = request(body, "anthropic-messages")
    block["signature"] = "s-other"
    assert request(body, "anthropic-messages").key == signed.key
    del block["signature"]
    assert request(body, "anthropic-messages").key != signed.key


def test_which_call_an_output_belongs_to_matters() -> None:
    swapped = chat()
    first, second = swapped["messages"][3:]
    first["tool_call_id"], second["tool_call_id"] = second["tool_call_id"], first["tool_call_id"]
    assert request(swapped).key != request(chat()).key


def test_the_order_of_names_does_not_matter() -> None:
    body = chat()
    assert request(dict(reversed(body.items()))).key == request(body).key


@each_dialect
def test_tool_output_changes_the_key_and_not_the_skeleton(dialect: str, make: Make) -> None:
    one, other = request(make(), dialect), request(make(output="other.txt"), dialect)
    assert one.key != other.key
    assert one.skeleton == other.skeleton


@each_dialect
def test_a_tool_s_failure_is_output_too(dialect: str, make: Make) -> None:
    body = make()
    if dialect == "anthropic-messages":
        body["messages"][2]["content"][0]["is_error"] = True
    else:
        body = make(output="")
    one, other = request(make(), dialect), request(body, dialect)
    assert one.key != other.key
    assert one.skeleton == other.skeleton


@each_dialect
def test_one_more_output_is_another_skeleton(dialect: str, make: Make) -> None:
    body = make()
    turns = body["input" if dialect == "openai-responses" else "messages"]
    turns.append(copy.deepcopy(turns[-1]))
    assert request(body, dialect).skeleton != request(make(), dialect).skeleton


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"role": "tool"}, "content"),
        ({"type": "tool_result"}, "content"),
        ({"type": "program_output"}, "output"),
    ],
    ids=str,
)
def test_what_a_tool_is_given_is_no_output(data: dict[str, str], field: str) -> None:
    path = ("messages", 1, "content", 2, "input", "data")
    one, other = (
        request(changed(messages(), *path, {**data, field: word}), "anthropic-messages")
        for word in ("a", "b")
    )
    assert one.skeleton != other.skeleton


@each_dialect
def test_what_differs_from_run_to_run_does_not_matter(dialect: str, make: Make) -> None:
    def said(time: str, port: str) -> CanonicalRequest:
        printed = f"started at {time} on http://localhost:{port}, root@{port}-host"
        return request(make(output=printed), dialect, known={f"{port}-host": "host"})

    one = said("2026-11-24T13:30:22Z", "45123")
    other = said("2026-11-25T01:02:03Z", "33871")
    assert one.key == other.key


@each_dialect
def test_secrets_are_masked_so_that_raw_and_masked_match(dialect: str, make: Make) -> None:
    redactor = Redactor()
    redactor.add("sk-secret-0123456789")
    raw = request(make(output="key: sk-secret-0123456789"), dialect, scrub=redactor)
    masked = request(make(output="key: ***"), dialect)
    assert raw.key == masked.key
    assert "sk-secret" not in json.dumps(raw.body)


EQUAL = [
    ({"temperature": 0}, {"temperature": 0.0}),
    ({"temperature": -0.0}, {"temperature": 0}),
    ({"n": 1e20}, {"n": 10**20}),
    ({}, {"stop": None}),
    ({"messages": [{"b": [{"c": None}]}]}, {"messages": [{"b": [{}]}]}),
    ({"input": [{"b": {"c": None}}]}, {"input": [{"b": {}}]}),
    ({"system": [{"text": "a", "c": None}]}, {"system": [{"text": "a"}]}),
    ({"tools": [{"name": "a"}, {"name": "b"}]}, {"tools": [{"name": "b"}, {"name": "a"}]}),
    *(
        (
            {"tools": [{"parameters": {"properties": {name: {"required": ["a", "b"]}}}}]},
            {"tools": [{"parameters": {"properties": {name: {"required": ["b", "a"]}}}}]},
        )
        for name in ("x", "default", "arguments")
    ),
    ({"client_metadata": {"a": "b"}}, {}),
    ({"a": {"create_time": 1796022850.21}}, {"a": {"create_time": 1796022894.37}}),
    ({"created_at": 1796022850}, {"created_at": 1796029999}),
    ({"timestamp_ms": 1796022850123}, {"timestamp_ms": 1796029999456}),
]
#: What Codex and Claude Code put into each of their requests anew.
OF_AGENTS = [
    (
        {"input": [{"role": "user", CODEX: {"create_time": one, "turn_id": "t"}}]},
        {"input": [{"role": "user", CODEX: {"create_time": other, "turn_id": "t"}}]},
    )
    for one, other in ((1796022850.2109158, 1796022894.3672032), (5, 7))
] + [
    (
        {"system": [{"text": "x-anthropic-billing-header: cc_version=2.1; cch=0a1b2;"}]},
        {"system": [{"text": "x-anthropic-billing-header: cc_version=2.1; cch=f9e8d;"}]},
    )
]
DIFFERENT = [
    ({"n": 1}, {"n": True}),
    ({"n": 0}, {"n": False}),
    ({"n": 1}, {"n": "1"}),
    ({"n": 1}, {"n": 1.5}),
    ({"a": [None]}, {"a": []}),
    ({"stop": None}, {"stop": ""}),
    # What a tool is given, and what its schema says, means whatever the tool says.
    ({"messages": [TOOL_USE | {"input": {"a": None}}]}, {"messages": [TOOL_USE | {"input": {}}]}),
    ({"tools": [{"parameters": {"default": None}}]}, {"tools": [{"parameters": {}}]}),
    ({"tools": [{"input_examples": [{"a": None}]}]}, {"tools": [{"input_examples": [{}]}]}),
    ({"guided_json": {"default": None}}, {"guided_json": {}}),
    ({"structured_outputs": {"json": {"a": None}}}, {"structured_outputs": {"json": {}}}),
    ({"messages": [{"arguments": {"a": None}}]}, {"messages": [{"arguments": {}}]}),
    (
        {"messages": [{"function_call": {"arguments": {"id": "a"}}}]},
        {"messages": [{"function_call": {"arguments": {"id": "b"}}}]},
    ),
    *(
        (
            {"tools": [{"parameters": {"properties": {"x": {field: one}}}}]},
            {"tools": [{"parameters": {"properties": {"x": {field: other}}}}]},
        )
        for field in ("default", "const", "enum", "examples")
        for one, other in (
            ([{"required": ["a", "b"]}], [{"required": ["b", "a"]}]),
            ([{"id": "a"}], [{"id": "b"}]),
        )
    ),
    (
        {"tools": [{"input_examples": [{"id": "a"}]}]},
        {"tools": [{"input_examples": [{"id": "b"}]}]},
    ),
    (
        {"guided_json": {"default": {"at": 1796022850}}},
        {"guided_json": {"default": {"at": 1796022851}}},
    ),
    (
        {"structured_outputs": {"json": {"default": {"at": 1796022850}}}},
        {"structured_outputs": {"json": {"default": {"at": 1796022851}}}},
    ),
    (
        {"messages": [TOOL_USE | {"input": {"at": 1796022850}}]},
        {"messages": [TOOL_USE | {"input": {"at": 1796022851}}]},
    ),
    ({"tools": [{"enum": ["a", "b"]}]}, {"tools": [{"enum": ["b", "a"]}]}),
    ({"required": ["a", "b"]}, {"required": ["b", "a"]}),
    ({"seed": 1796022850}, {"seed": 1796022851}),
    ({"max_time": 100}, {"max_time": 200}),
    ({"tools": [{"name": "a"}] * 2}, {"tools": [{"name": "a"}]}),
]


@pytest.mark.parametrize(("one", "other"), [*EQUAL, *OF_AGENTS], ids=repr)
def test_what_means_the_same_is_the_same(one: Any, other: Any) -> None:
    assert request(one).key == request(other).key
    assert request(one).body == request(other).body


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=repr)
def test_what_may_mean_something_else_is_different(one: Any, other: Any) -> None:
    assert request(one).key != request(other).key


def test_fields_that_are_volatile_by_setting() -> None:
    def key(body: Any, *fields: str) -> str:
        return request(body, fields=fields).key

    body = {"a": [{"b": {"seen": 1, "c": 2}}], "seen": 5, "unseen": 7}
    assert key(body, "seen") == key({"a": [{"b": {"c": 2}}], "unseen": 7})
    assert key(body, "b.seen") == key({"a": [{"b": {"c": 2}}], "seen": 5, "unseen": 7})
    assert key(body, "a.b.seen") == key(body, "b.seen")
    assert key(body, "b.c", "a.seen") == key({"a": [{"b": {"seen": 1}}], "seen": 5, "unseen": 7})
    assert key(body, "b") == key({"a": [{}], "seen": 5, "unseen": 7})


TOLD = "create_time"


@pytest.mark.parametrize(
    ("make", "explicit"),
    [
        (lambda said: {"messages": [TOOL_USE | {"input": {TOLD: said}}]}, "input.create_time"),
        (lambda said: {"messages": [{"arguments": {TOLD: said}}]}, "arguments.create_time"),
        (lambda said: {"tools": [{"parameters": {"properties": {TOLD: {"type": said}}}}]},
         "parameters.properties.create_time"),
        (lambda said: {"tools": [{"input_schema": {"default": {TOLD: said}}}]},
         "input_schema.default.create_time"),
        (lambda said: {"messages": [TOOL_USE | {"input": {CODEX: {TOLD: said}}}]},
         f"input.{CODEX}.{TOLD}"),
    ],
)  # fmt: skip
def test_a_volatile_field_is_none_of_a_tool_s_unless_its_path_leads_there(
    make: Callable[[str], Any], explicit: str
) -> None:
    one, other = make("2pm"), make("rm -rf /")
    inside = explicit.partition(".")[2]
    for field in (TOLD, inside):
        assert request(one, fields=[field]).key != request(other, fields=[field]).key
    assert request(one, fields=[explicit]).key == request(other, fields=[explicit]).key


def test_secrets_and_dates_in_names_are_masked_too() -> None:
    redactor = Redactor()
    redactor.add("sk-secret-0123456789")
    path = ("messages", 1, "content", 2, "input", "env")
    body = changed(messages(), *path, {"sk-secret-0123456789": "", "2026-11-24": ""})
    assert "sk-secret" not in json.dumps(request(body, "anthropic-messages", scrub=redactor).body)


def test_values_whose_names_become_equal_are_all_kept() -> None:
    path = ("messages", 1, "content", 2, "input", "tasks")
    ids = ("3f2a9c41-7d05-4e1b-9c3a-0123456789ab", "4f2a9c41-7d05-4e1b-9c3a-0123456789ab")
    one, other = (
        request(changed(messages(), *path, {ids[0]: said, ids[1]: "b"}), "anthropic-messages")
        for said in ("a", "x")
    )
    assert one.key != other.key


def test_a_tool_s_parameter_may_be_called_headers() -> None:
    path = ("tools", 0, "function", "parameters", "properties", "headers")
    one, other = (request(changed(chat(), *path, {"type": kind})) for kind in ("object", "array"))
    assert one.key != other.key


@each_dialect
def test_the_canonical_form_of_a_canonical_form_is_the_same(dialect: str, make: Make) -> None:
    redactor = Redactor()
    redactor.add("sk-secret-0123456789")
    body = make(output="2026-11-24 sk-secret-0123456789 3f2a9c417d05 job-7", user="u")
    settings = {"scrub": redactor, "patterns": [r"job-\d"], "known": {"3f2a9c417d05": "host"}}
    once = request(body, dialect, **settings)
    twice = canonical(once.dialect, once.method, once.path, once.body, Normaliser(**settings))
    assert twice == once
    assert (twice.key, twice.skeleton) == (once.key, once.skeleton)
    # As it is read from a file, by somebody who knows neither secrets nor names.
    read = canonical(
        once.dialect, once.method, once.path, json.loads(json.dumps(once.body)), Normaliser()
    )
    assert read.key == once.key


def test_the_place_is_part_of_the_key() -> None:
    keys = {
        canonical(dialect, method, path, {}, Normaliser()).key
        for dialect in PATHS
        for method in ("GET", "POST")
        for path in ("/models", "/embeddings", "/models?limit=5")
    }
    assert len(keys) == 18


def test_volatile_content_of_a_path_does_not_matter() -> None:
    one, other = (
        canonical("openai-chat", "GET", f"/usage?since=2026-11-{day}", {}, Normaliser()).key
        for day in (24, 25)
    )
    assert one == other


@pytest.mark.parametrize(
    "body", ["", "no JSON", "\ud800", [], {}, {"a": ["\ud83c", 1, 1.5, None, True]}], ids=repr
)
def test_any_body_has_a_key(body: Any) -> None:
    assert request(body).key == request(copy.deepcopy(body)).key
    assert request(body).skeleton
