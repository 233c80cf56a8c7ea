"""Steps out of llm-calls.jsonl: the LLM calls of a test."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_agent_sandbox.evidence import picture_files, records
from pytest_agent_sandbox.evidence.readable import dollars
from pytest_agent_sandbox.evidence.story import Fact, Part, Step
from pytest_agent_sandbox.llm.dialects.dialect import objects
from pytest_agent_sandbox.llm.exchange import FIRST_ERROR

#: The fact of a call whose provider could not be reached.
UNANSWERED: Fact = ("answer", "unanswered")
_LONGEST_REPLY = 120
_INDENTED_CHANGE = re.compile(r"^\s+([-+] )", re.MULTILINE)
#: What parts of a message hold their text in, in the three dialects.
_TEXTS = (
    "text",
    "thinking",
    "reasoning_content",
    "summary",
    "content",
    "refusal",
    "output",
    "arguments",
)
_LABEL = 80


def build_steps(found: Iterable[Mapping[str, Any]], started: float) -> list[Step]:
    """Build the steps, in the order of the requests; one without an answer has no duration."""
    steps: dict[tuple[str, str], Step] = {}
    for record in found:
        key = str(record.get("conversation", "")), str(record.get("number"))
        if record.get("state") == "asked":
            steps[key] = _asked(record, started)
        elif key in steps:
            _add_answer(steps[key], record)
    return list(steps.values())


def _asked(record: Mapping[str, Any], started: float) -> Step:
    new, tools = record.get("new_messages"), record.get("tools")
    messages = new if isinstance(new, list) else []
    repeated = int(records.number(record.get("repeated_messages")) or 0)
    time = records.number(record.get("time"))
    facts: list[Fact] = [("model", str(record.get("model", "")))]
    facts.append(("request", f"{repeated} messages as before, {len(messages)} new"))
    if tools and isinstance(tools, list):
        facts.append(("tools", ", ".join(map(str, tools))))
    return Step(
        kind="llm",
        title=f"LLM call {record.get('number')}",
        summary="no answer",
        time=None if time is None else time - started,
        conversation=str(record.get("conversation", "")),
        facts=facts,
        parts=[
            Part(label=f"new: {_role(message)[:_LABEL]}", text=_whole_text(message))
            for message in messages
        ],
        pictures=picture_files.names_in(record),
    )


def _add_answer(step: Step, record: Mapping[str, Any]) -> None:
    origin = str(record.get("origin") or "refused")
    usage, problem = record.get("usage"), str(record.get("problem") or "")
    status, price = record.get("status"), records.number(record.get("cost"))
    step.duration = records.number(record.get("duration"))
    step.facts += [("answer", origin), ("status", str(status or "none"))]
    said = [origin]
    if isinstance(usage, dict):
        tokens_in, tokens_out = _tokens(usage, "prompt_tokens"), _tokens(usage, "completion_tokens")
        step.facts.append(("tokens", f"{tokens_in:,} in, {tokens_out:,} out"))
        if cached := _tokens(usage, "cache_read_tokens"):
            step.facts.append(("cached tokens", f"{cached:,}"))
        said.append(f"{tokens_in + tokens_out:,} tokens")
    if price is not None and origin != "scripted":
        cost = dollars(price)
        step.facts.append(("cost", f"{cost}, when it was recorded" if _is_old(origin) else cost))
        said.append(cost)
    if problem:
        said = [problem.partition("\n")[0].removesuffix(":")]
        # What a miss says of a difference is indented: as a diff, it has colours.
        text = _INDENTED_CHANGE.sub(r"\1", problem)
        step.parts.insert(0, Part(label="problem", text=text, format="diff"))
    step.is_error = bool(problem) or _is_bad(status)
    answer = str(record.get("answer") or "")
    told = "" if problem else _reply(answer)
    step.summary = " · ".join([*said, *([told] if told else [])])
    if answer:
        step.parts.append(Part(label="answer", text=answer, format="json"))


def _reply(answer: str) -> str:
    """Return what an answer in one piece says, on one line; empty for a streamed one."""
    try:
        content = json.loads(answer)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(content, dict):
        return ""
    choices = objects(content.get("choices"))
    messages = [choice.get("message") for choice in choices]
    text = message_text(messages or content.get("content") or content.get("output"))
    line = " ".join(text[: 4 * _LONGEST_REPLY].split())
    return line if len(line) <= _LONGEST_REPLY else f"{line[:_LONGEST_REPLY]}…"


def _tokens(usage: Mapping[str, Any], name: str) -> int:
    return int(records.number(usage.get(name)) or 0)


def _is_bad(status: Any) -> bool:
    return (records.number(status) or 0) >= FIRST_ERROR


def _is_old(origin: str) -> bool:
    return origin == "replayed"


def _role(message: Any) -> str:
    if not isinstance(message, dict):
        return "message"
    return str(message.get("role") or message.get("type") or "message")


def _whole_text(message: Any) -> str:
    try:
        return message_text(message)
    except RecursionError:
        return "(nested too deeply to be shown)"


def message_text(message: Any) -> str:
    """Return what a message of any dialect says; tool calls as their name and arguments."""
    if isinstance(message, str):
        return message
    if isinstance(message, list):
        return "\n".join(text for part in message if (text := message_text(part)))
    if not isinstance(message, dict):
        return "" if message is None else json.dumps(message)
    if isinstance(message.get("function"), dict):
        message = message["function"]
    texts = [message_text(message[name]) for name in _TEXTS if message.get(name)]
    if message.get("name"):
        arguments = message.get("input")  # Anthropic's, and no text
        texts.insert(0, str(message["name"]))
        texts += [json.dumps(arguments, ensure_ascii=False)] if arguments else []
    texts += [message_text(message["tool_calls"])] if message.get("tool_calls") else []
    if not texts and message.get("type") not in (None, "text"):
        return f"({message['type']}{_picture_name(message)})"  # an image, say
    return "\n".join(texts)


def _picture_name(message: Mapping[str, Any]) -> str:
    """Find the file's name that stands in place of a picture, where the three dialects have it."""
    holders = (message.get("image_url"), message.get("source"))
    inner = (holder.get(name) for holder in holders if isinstance(holder, dict) for name in holder)
    names = filter(picture_files.is_name, (*holders, *inner))
    return next((f": {name}" for name in names), "")
