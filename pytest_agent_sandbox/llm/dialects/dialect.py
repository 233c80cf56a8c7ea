"""The base of all dialects: how one provider's API words requests, answers and errors."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pytest_agent_sandbox.llm.dialects.downloads import downloads
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, Usage
from pytest_agent_sandbox.llm.sse import ServerSentEvent

#: Close enough for English; the point is a usage that is not zero and never changes.
_CHARACTERS_PER_TOKEN = 4
#: Characters of text, reasoning or arguments in one chunk of a stream.
_CHUNK_CHARACTERS = 24
#: The events by which Anthropic and OpenAI's responses report a failure in mid-stream.
_FAILURES = ("error", "response.failed")
#: Fields that bring the provider's own tools with them: OpenAI's web search and stored prompts,
#: OpenRouter's plugins, Anthropic's MCP servers.
_PROVIDER_FIELDS = ("web_search_options", "prompt", "plugins", "mcp_servers")
#: Fields of a request that hold what is said.
_SAID = {"messages", "input", "system"}
#: The names by which such tools are found. Some servers take them in any case.
_LOOKED_AT = {
    *("environment", "input", "messages", "model", "params", "requests", "tools", "type"),
    *_PROVIDER_FIELDS,
}


class MalformedRequestError(Exception):
    """The request is not one of its dialect; the message says why."""


class Dialect(ABC):
    """The wording of one provider's API: requests, answers, errors. It has no state."""

    #: Its name in cassettes.
    name: ClassVar[str]
    #: The path, below `/v1`, at which completions are asked for.
    path: ClassVar[str]
    #: The path at which the tokens of a request are counted, which costs nothing; may be empty.
    counting: ClassVar[str] = ""
    #: Further paths to which requests are posted that cost something.
    beside: ClassVar[tuple[str, ...]] = ()
    #: The field of a request that holds the conversation so far.
    turns: ClassVar[str]
    #: Whether some servers end a stream without a last event that says so.
    may_end_unsaid: ClassVar[bool] = False

    def parse(self, content: dict[str, Any], number: int) -> LLMRequest:
        """Read a request for a completion.

        Args:
            content: The body.
            number: The number of the request, among those to the script.

        Raises:
            MalformedRequestError: The body lacks a model or messages.
        """
        model, messages = content.get("model"), self.messages(content)
        tools = content.get("tools") or []
        if not isinstance(model, str) or not model:
            raise MalformedRequestError("The request names no model.")
        if not _is_list_of_objects(messages) or not messages:
            raise MalformedRequestError(f"The request's {self.turns} are not a list of objects.")
        if not _is_list_of_objects(tools):
            raise MalformedRequestError("The request's tools are not a list of objects.")
        return LLMRequest(number, model, messages, tools, content)

    def messages(self, content: Mapping[str, Any]) -> Any:
        """Return the conversation so far, if the request has one."""
        return content.get(self.turns)

    @abstractmethod
    def completion(self, request: LLMRequest, reply: Reply, label: str) -> dict[str, Any]:
        """Return an answer in one piece.

        Args:
            request: The request.
            reply: The reply to put into the answer.
            label: Makes the answer's ids unique in its conversation, and the same in every run.
        """

    @abstractmethod
    def stream(self, request: LLMRequest, reply: Reply, label: str) -> Iterator[bytes]:
        """Yield the same answer as server-sent events."""

    @abstractmethod
    def error(self, status: int, message: str) -> dict[str, Any]:
        """Return the body of an error."""

    @abstractmethod
    def usage(self, content: Mapping[str, Any], so_far: Usage | None) -> Usage | None:
        """Return the tokens that an answer states.

        Args:
            content: A whole answer, or one event of a streamed one.
            so_far: The usage in earlier events of the same answer.
        """

    @abstractmethod
    def is_last(self, event: ServerSentEvent) -> bool:
        """Tell whether nothing more of the answer follows; clients may hang up then."""

    def ends_answer(self, event: ServerSentEvent) -> bool:
        """Tell whether the answer is whole with this event, though more may follow."""
        return self.is_last(event)

    def is_failure(self, event: ServerSentEvent) -> bool:
        """Tell whether the event reports a failure of the provider in mid-stream."""
        if '"error"' not in event.data:
            return False
        content = event.content
        return content.get("type") in _FAILURES or isinstance(content.get("error"), dict)

    def provider_tools(self, content: Mapping[str, Any]) -> list[str]:
        """Return what the request asks the provider to run: web searches, code, MCP servers."""
        # Items of the input may bring tools with them, and so may each request of a batch.
        requests = objects(content.get("requests"))
        batch = [request.get("params") for request in requests]
        holders = [content, *objects(self.messages(content)), *objects(batch)]
        tools = [tool for holder in holders for tool in objects(holder.get("tools"))]
        model = str(content.get("model"))
        searches = "-search-" in model or model.endswith(("-search-api", ":online"))
        return [
            *(str(tool.get("type")) for tool in tools if not self.is_run_by_client(tool)),
            *(field for field in _PROVIDER_FIELDS if content.get(field) not in (None, [])),
            *([f"the model {model}"] if searches else []),
            *(
                f"a download ({name})"
                for one in [content, *objects(batch)]
                for name in downloads(_said(one))
            ),
            *(name for one in [*holders, *requests, *tools] for name in one if _is_disguised(name)),
        ]

    @abstractmethod
    def is_run_by_client(self, tool: Mapping[str, Any]) -> bool:
        """Tell whether a tool of a request is run by the agent; unknown ones are not."""

    @abstractmethod
    def malformed(self, content: dict[str, Any]) -> bool:
        """Make the tool arguments in an answer, or an event of one, unusable.

        Returns:
            Whether there were any arguments.
        """


def _said(content: Mapping[str, Any]) -> list[Any]:
    """Return the parts of a request that may hold pictures and files."""
    return [item for name, item in content.items() if name.casefold() in _SAID]


def _is_disguised(name: str) -> bool:
    """Tell whether only some servers take a field's name for one that is looked at."""
    return name not in _LOOKED_AT and name.casefold() in _LOOKED_AT


def usage_of(request: LLMRequest, reply: Reply) -> Usage:
    """Return the usage of a scripted reply: the script's own numbers, or counted ones."""
    if reply.usage is not None:
        return reply.usage
    calls = "".join(call.name + dump(call.arguments) for call in reply.calls)
    return Usage(_tokens(request.length), _tokens(len(reply.reasoning + reply.text + calls)))


def wants_stream(content: Mapping[str, Any]) -> bool:
    """Tell whether the answer is to come as server-sent events."""
    return content.get("stream") is True


def pieces(text: str) -> Iterator[str]:
    """Cut a text into pieces, one for each event of a stream."""
    for start in range(0, len(text), _CHUNK_CHARACTERS):
        yield text[start : start + _CHUNK_CHARACTERS]


def dump(content: Any) -> str:
    """Return JSON as models write it inside JSON: in letters, not escapes."""
    return json.dumps(content, ensure_ascii=False)


def number(content: Mapping[str, Any], *path: str) -> int | None:
    """Return the number at a path of names; None if there is none."""
    value: Any = content
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def stated_cost(content: Any, so_far: Usage | None = None) -> float | None:
    """Return the cost in US dollars that an answer's `usage` states; None if it states none.

    OpenRouter, LiteLLM's proxy and others give a number; Perplexity gives parts and their sum.
    With a key of one's own for the provider behind OpenRouter, that provider's cost is added.

    Args:
        content: The answer, or an event of it.
        so_far: The usage in earlier events; a cost in it counts until a later event states one.
    """
    before = None if so_far is None else so_far.cost
    usage = content.get("usage") if isinstance(content, Mapping) else None
    if not isinstance(usage, Mapping):
        return before
    cost = usage.get("cost")
    cost = _amount(cost.get("total_cost") if isinstance(cost, Mapping) else cost)
    details = usage.get("cost_details")
    if cost is not None and usage.get("is_byok") is True and isinstance(details, Mapping):
        cost += _amount(details.get("upstream_inference_cost")) or 0.0
    return before if cost is None else cost


def _amount(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < math.inf else None


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a list; none if it is not a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _tokens(characters: int) -> int:
    return max(1, characters // _CHARACTERS_PER_TOKEN)


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)
