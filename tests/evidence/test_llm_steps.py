"""LLM calls become steps, and are summed up."""

import json
from datetime import UTC, datetime

import pytest

from pytest_agent_sandbox.evidence import llm_steps
from pytest_agent_sandbox.evidence.llm_observer import answered_record, asked_record
from pytest_agent_sandbox.evidence.llm_steps import message_text
from pytest_agent_sandbox.evidence.result import LLMTotals
from pytest_agent_sandbox.llm.calls import LLMCall
from pytest_agent_sandbox.llm.observer import ANSWER_LIMIT, News
from pytest_agent_sandbox.llm.replies import Usage

STARTED = datetime(2026, 1, 1, 10, tzinfo=UTC)
QUESTION = {"role": "user", "content": [{"type": "text", "text": "Tidy up."}]}


def call(number=1, **fields):
    ended = {
        "origin": "live",
        "status": 200,
        "duration": 1.5,
        "usage": Usage(100, 10),
        "cost": 0.25,
    }
    return LLMCall(number, STARTED, "/chat/completions", model="gpt", **ended | fields)


def told(one, news=None, answer=b'{"id": 1}'):
    # On their way they are lines of JSON.
    records = [asked_record("1", one, news or News([QUESTION])), answered_record("1", one, answer)]
    (step,) = llm_steps.build_steps(json.loads(json.dumps(records)), STARTED.timestamp() - 2)
    return step


def totals(*calls):
    found = LLMTotals()
    for one in calls:
        found.add(one)
    return found


def test_a_call():
    step = told(call(3, usage=Usage(1000, 234, cache_read_tokens=900)),
                News([QUESTION], repeated=4, tools=["terminal", "think"]))  # fmt: skip
    assert (step.kind, step.title, step.conversation) == ("llm", "LLM call 3", "1")
    assert (step.time, step.duration, step.is_error) == (2, 1.5, False)
    assert step.summary == "live · 1,234 tokens · $0.2500"
    assert step.facts == [
        ("model", "gpt"),
        ("request", "4 messages as before, 1 new"),
        ("tools", "terminal, think"),
        ("answer", "live"),
        ("status", "200"),
        ("tokens", "1,000 in, 234 out"),
        ("cached tokens", "900"),
        ("cost", "$0.2500"),
    ]
    assert [(part.label, part.text) for part in step.parts] == [
        ("new: user", "Tidy up."),
        ("answer", '{"id": 1}'),
    ]


def test_what_a_replayed_call_cost_was_paid_earlier():
    step = told(call(origin="replayed"))
    assert ("cost", "$0.2500, when it was recorded") in step.facts


def test_a_call_whose_cost_is_not_known_and_a_scripted_one():
    assert "cost" not in dict(told(call(cost=None)).facts)
    assert "cost" not in dict(told(call(origin="scripted", cost=0.0)).facts)


def test_a_call_that_cost_nothing_says_so():
    assert told(call(cost=0.0)).summary == "live · 110 tokens · no cost"
    assert told(call(origin="scripted", cost=0.0)).summary == "scripted · 110 tokens"


def test_a_refused_call_says_why():
    miss = "CassetteMiss: The call is not there:\n  - old\n  + new"
    step = told(call(origin=None, status=400, usage=None, cost=None, problem=miss))
    assert (step.is_error, step.summary) == (True, "CassetteMiss: The call is not there")
    assert (step.parts[0].label, step.parts[0].text, step.parts[0].format) == (
        "problem",
        "CassetteMiss: The call is not there:\n- old\n+ new",
        "diff",
    )
    assert ("answer", "refused") in step.facts


@pytest.mark.parametrize(
    ("status", "is_error"), [(200, False), (399, False), (400, True), (529, True)]
)
def test_an_answer_that_is_an_error(status, is_error):
    assert told(call(status=status)).is_error is is_error


def test_a_call_that_was_never_answered():
    (step,) = llm_steps.build_steps([asked_record("1", call(), News([QUESTION]))], 0)
    assert (step.summary, step.duration, step.is_error) == ("no answer", None, False)


def test_answers_find_their_calls_and_those_without_a_call_are_passed_over():
    one, two = call(1), call(2)
    steps = llm_steps.build_steps(
        [
            asked_record("1", one, News()),
            asked_record("2", one, News()),
            asked_record("1", two, News()),
            answered_record("2", one, b"of conversation 2"),
            answered_record("1", two, b"second"),
            answered_record("1", one, b"first"),
            answered_record("9", one, b"whose?"),
        ],
        0,
    )
    assert [(step.conversation, step.title, step.parts[-1].text) for step in steps] == [
        ("1", "LLM call 1", "first"),
        ("2", "LLM call 1", "of conversation 2"),
        ("1", "LLM call 2", "second"),
    ]


def test_an_answer_that_was_cut_says_so_and_ends_in_no_half_a_secret():
    secret = b"sk-0123456789"
    answer = (b"x" * ANSWER_LIMIT)[: ANSWER_LIMIT - len(secret) + 3] + secret[:-3]
    assert len(answer) == ANSWER_LIMIT
    kept = answered_record("1", call(), answer)["answer"]
    assert "sk-" not in kept
    assert kept.endswith("x\n… the rest of the answer is left out …")
    assert len(kept) > ANSWER_LIMIT - 2000
    assert answered_record("1", call(), answer[1:])["answer"] == answer[1:].decode()


def test_an_answer_that_is_no_text():
    assert told(call(), answer=b"\xff\x00\x1b").parts[-1].text == "\ufffd\x00\x1b"


def test_totals():
    found = totals(
        call(origin="live", cost=0.5),
        call(origin="recorded", cost=0.25),
        call(origin="replayed", cost=2.0),
        call(origin="replayed", cost=None),
        call(origin="scripted", cost=0.0, usage=None),
        call(origin="fault", cost=None, usage=None, status=500),
        call(origin=None, cost=None, usage=None, status=400, problem="no budget"),
    )
    assert found.calls == {
        "live": 1, "recorded": 1, "replayed": 2, "scripted": 1, "fault": 1, "refused": 1,
    }  # fmt: skip
    assert found.tokens == 4 * 110
    assert found.cost == 0.75
    assert found.saved == 2.0


def test_a_cost_that_is_not_known_makes_the_sum_unknown():
    assert totals(call(cost=0.5), call(cost=None), call(cost=0.5)).cost is None
    # But a provider asks nothing for an error, and nobody knows what broke off.
    assert totals(call(cost=0.5), call(cost=None, status=429)).cost == 0.5
    assert totals(call(cost=0.5), call(cost=None, problem="The client went away")).cost == 0.5


@pytest.mark.parametrize(
    ("message", "text"),
    [
        # OpenAI's chat completions
        ({"role": "user", "content": "hello"}, "hello"),
        ({"role": "user", "content": [{"type": "text", "text": "a"},
                                      {"type": "text", "text": "b"}]}, "a\nb"),
        ({"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [
            {"id": "c", "type": "function",
             "function": {"name": "terminal", "arguments": '{"command": "ls"}'}}]},
         'Hm.\nterminal\n{"command": "ls"}'),
        ({"role": "assistant", "content": "", "refusal": "I will not."}, "I will not."),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:…"}}]},
         "(image_url)"),
        # Anthropic's messages
        ({"role": "system", "content": [{"type": "text", "text": "You are …",
                                         "cache_control": {"type": "ephemeral"}}]}, "You are …"),
        ({"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "x"},
            {"type": "tool_use", "id": "t", "name": "terminal",
             "input": {"command": "ls \u00e9"}}]},
         'Hm.\nterminal\n{"command": "ls \u00e9"}'),
        ({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t",
                                       "content": [{"type": "text", "text": "a.txt"}]}]}, "a.txt"),
        ({"role": "user", "content": [{"type": "tool_result", "content": "plain"}]}, "plain"),
        ({"role": "user", "content": [{"type": "image", "source": {"data": "…"}}]}, "(image)"),
        # OpenAI's responses
        ({"type": "message", "role": "user",
          "content": [{"type": "input_text", "text": "a"}]}, "a"),
        ({"type": "function_call", "name": "terminal", "arguments": "{}", "call_id": "c"},
         "terminal\n{}"),
        ({"type": "function_call_output", "call_id": "c", "output": "a.txt"}, "a.txt"),
        ({"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}, "Hm."),
        ({"type": "reasoning", "summary": [], "encrypted_content": "x"}, "(reasoning)"),
        # Anything else
        ("text", "text"),
        (None, ""),
        (5, "5"),
        ([], ""),
        ({}, ""),
        ({"content": 5, "name": 7, "tool_calls": "x", "function": [], "type": 3}, "7\n5\nx"),
    ],
)  # fmt: skip
def test_messages_of_all_dialects(message, text):
    assert message_text(message) == text


BAD = [None, "x", -1, 1.5, True, [], [None], {}, {"a": []}, float("nan"), 10**30]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
@pytest.mark.parametrize(
    "name", sorted({*asked_record("1", call(), News()), *answered_record("1", call(), b"")})
)
def test_fields_that_are_not_what_they_should_be(name, bad):
    one = call()
    asked = asked_record("1", one, News([QUESTION], 1, ["t"])) | {name: bad}
    answered = answered_record("1", one, b"x") | {name: bad}
    for step in llm_steps.build_steps([asked, answered, {}], 0):
        assert isinstance(step.summary, str)
        assert all(isinstance(value, str) for fact in step.facts for value in fact)
        assert all(isinstance(part.text, str) for part in step.parts)


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_usage_and_messages_that_are_not_what_they_should_be(bad):
    asked = asked_record("1", call(), News([bad, {"role": bad, "content": bad, "type": bad}]))
    usage = {"prompt_tokens": bad, "completion_tokens": bad, "cache_read_tokens": bad}
    answered = answered_record("1", call(), b"x") | {"usage": usage}
    assert len(llm_steps.build_steps([asked | {"tools": [bad]}, answered], 0)) == 1


def test_messages_that_are_nested_deeply():
    deep = "x"
    for _ in range(900):
        deep = {"content": [deep]}
    (step,) = llm_steps.build_steps([asked_record("1", call(), News([deep]))], 0)
    assert step.parts[0].text == "(nested too deeply to be shown)"


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [{"message": {"role": "assistant", "content": "I will look.", "tool_calls": [
            {"type": "function", "function": {"name": "terminal", "arguments": "{}"}}]}}]},
        {"content": [{"type": "text", "text": "I will look."},
                     {"type": "tool_use", "name": "terminal", "input": {}}]},
        {"output": [{"type": "message", "content": [{"text": "I will look."}]},
                    {"type": "function_call", "name": "terminal", "arguments": "{}"}]},
    ],
    ids=["chat", "anthropic", "responses"],
)  # fmt: skip
def test_the_summary_says_what_was_answered(answer):
    step = told(call(), answer=json.dumps(answer).encode())
    assert step.summary.partition("I will look. ")[2].startswith("terminal")


@pytest.mark.parametrize("answer", [b"data: {}", b"[]", b'{"choices": [7], "content": 7}', b""])
def test_an_answer_that_is_no_such_thing_says_nothing(answer):
    assert "None" not in told(call(), answer=answer).summary


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "screenshot-7.png", "detail": "low"}},
        {"type": "input_image", "image_url": "screenshot-7.png"},
        {"type": "image", "source": {"type": "base64", "data": "screenshot-7.png"}},
    ],
)
def test_pictures_of_a_request(part):
    assert (
        message_text({"role": "user", "content": [part]}) == f"({part['type']}: screenshot-7.png)"
    )
    other = json.loads(json.dumps(part).replace("screenshot-7.png", "https://x.example/x.png"))
    assert message_text(other) == f"({part['type']})"
    asked = asked_record("1", call(), News([{"role": "user", "content": [part]}]))
    (step,) = llm_steps.build_steps([asked | {"pictures": ["screenshot-7.png"]}], 0.0)
    assert step.pictures == ["screenshot-7.png"]
