"""What is new in a request."""

import json

import pytest

from pytest_agent_sandbox.llm.dialects import dialect_of
from pytest_agent_sandbox.llm.observer import News, Reader


class Exchange:
    """What a reader looks at."""

    def __init__(self, path, content):
        self.content = json.loads(json.dumps(content))  # nothing is shared with other requests
        self.dialect = dialect_of(path)


def read(path, *contents):
    reader = Reader()
    return [reader.news(Exchange(path, content)) for content in contents]


def chat(*messages, **more):
    return {"model": "gpt", "messages": list(messages)} | more


SYSTEM = {"role": "system", "content": "You are …"}
ASK = {"role": "user", "content": [{"type": "text", "text": "Tidy up."}]}
CALL = {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "t"}}]}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "a.txt"}


def test_chat_completions():
    tools = [{"type": "function", "function": {"name": name}} for name in ("terminal", "think")]
    first, second, third = read(
        "/chat/completions",
        chat(SYSTEM, ASK, tools=tools),
        chat(SYSTEM, ASK, CALL, RESULT, tools=tools),
        chat(SYSTEM, ASK, CALL, RESULT, ASK, tools=tools[:1]),
    )
    assert first == News([SYSTEM, ASK], 0, ["terminal", "think"])
    assert second == News([CALL, RESULT], 2, None)
    assert third == News([ASK], 4, ["terminal"])


def test_messages_of_anthropic():
    tools = [{"name": "terminal", "input_schema": {}}]
    system = [{"type": "text", "text": "You are …"}]
    first, second = read(
        "/messages",
        {"system": system, "messages": [ASK], "tools": tools},
        {"system": system, "messages": [ASK, CALL], "tools": tools},
    )
    assert first == News([{"role": "system", "content": system}, ASK], 0, ["terminal"])
    assert second == News([CALL], 2, None)


def test_responses():
    ask = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]}
    call = {"type": "function_call", "call_id": "c", "name": "t", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "x"}
    tools = [{"type": "function", "name": "terminal"}, {"type": "web_search"}]
    first, second, plain = read(
        "/responses",
        {"instructions": "You are …", "input": [ask], "tools": tools},
        {"instructions": "You are …", "input": [ask, call, output], "tools": tools},
        {"input": "hello"},
    )
    assert first.messages == [{"role": "system", "content": "You are …"}, ask]
    assert first.tools == ["terminal", "?"]
    assert second == News([call, output], 2, None)
    assert plain == News([{"role": "user", "content": "hello"}], 0, [])


def test_marks_for_a_provider_s_cache_move_on_and_are_no_news():
    def marked(message):
        part = {"type": "text", "text": "Tidy up.", "cache_control": {"type": "ephemeral"}}
        return message | {"content": [part]}

    first, second, third = read(
        "/messages",
        {"messages": [marked(ASK)]},
        {"messages": [ASK, marked(CALL)]},
        {
            "messages": [
                ASK,
                CALL | {"content": [{"type": "text", "text": "Tidy up."}]},
                marked(ASK),
            ]
        },
    )
    assert (first.repeated, second.repeated, third.repeated) == (0, 1, 2)
    # What is told is what was sent.
    assert second.messages == [marked(CALL)]


def test_a_request_that_is_not_like_the_one_before_is_all_new():
    _, changed, shorter, longer = read(
        "/chat/completions",
        chat(SYSTEM, ASK, CALL),
        chat(SYSTEM, CALL, CALL),
        chat(SYSTEM),
        chat(SYSTEM, CALL, CALL),
    )
    assert (changed.repeated, changed.messages) == (1, [CALL, CALL])
    assert (shorter.repeated, shorter.messages) == (1, [])
    assert (longer.repeated, longer.messages) == (1, [CALL, CALL])


@pytest.mark.parametrize("path", ["/chat/completions", "/messages", "/responses", "/embeddings"])
@pytest.mark.parametrize("bad", [None, 5, {}, [], [None, 5, [], "x"], True])
def test_requests_of_any_kind(path, bad):
    content = {"messages": bad, "input": bad, "tools": bad, "system": bad, "instructions": bad}
    first, second = read(path, content, content)
    assert second.messages == []
    assert second.repeated == len(first.messages)
    assert second.tools is None


def test_a_request_without_messages_says_nothing():
    assert read("/chat/completions", {}) == [News([], 0, None)]
    assert read("/embeddings", {"input": 5}) == [News([], 0, None)]


def test_tools_of_any_kind():
    tools = [None, 5, {}, {"function": 5}, {"name": 5}, {"function": {"name": None}}]
    (news,) = read("/chat/completions", chat(tools=tools))
    assert news.tools == ["?", "?", "?", "?", "5", "None"]
