"""The stages of every request, whoever answers it: refusals, faults on purpose, accounting."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace

from pytest_agent_sandbox.llm.budgets import Budget, Limits
from pytest_agent_sandbox.llm.dialects.dialect import wants_stream
from pytest_agent_sandbox.llm.exchange import (
    FIRST_ERROR,
    Answer,
    BrokenAnswerError,
    Exchange,
    Source,
)
from pytest_agent_sandbox.llm.fault_injection import Faults
from pytest_agent_sandbox.llm.prices import Prices
from pytest_agent_sandbox.llm.sse import EventSplitter, ServerSentEvent, json_object

#: Bytes. Pictures that a model makes stay well below; an answer without an end does not.
_LARGEST_ANSWER = 128 * 1024 * 1024
_COST_HEADER = b"x-litellm-response-cost"


@dataclass
class Policy:
    """The rules that a lane's requests have to pass before they reach its source."""

    #: The budget for all calls, whoever answers. Once it is used up, calls are refused.
    budget: Budget = field(default_factory=lambda: Budget("test", Limits()))
    #: The prices of calls.
    prices: Prices = field(default_factory=Prices)
    #: The faults on purpose.
    faults: Faults = field(default_factory=Faults)
    #: Whether requests may ask the provider to search the web or to run code.
    provider_tools: bool = False
    #: Beginnings of paths below `/v1` that are passed on although no dialect here has them.
    allow_paths: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise what makes waiting for the agent pointless.

        Raises:
            BudgetExceeded: A call was refused because the budget was used up.
        """
        self.budget.check()


async def respond(exchange: Exchange, source: Source, policy: Policy) -> Answer:
    """Answer a request: with a refusal, a fault, or the source's own answer."""
    if exchange.refusal is not None:
        return exchange.refuse(exchange.refusal.message, exchange.refusal.status)
    if exchange.method == "GET":  # asks the model nothing
        return await source.answer(exchange)
    if not policy.provider_tools:
        wanted = exchange.provider_tools
        if wanted:
            return exchange.refuse(
                f"The request wants the provider to run {', '.join(wanted)}, which would reach "
                "the internet from there. Set llm_provider_tools = true to allow it."
            )
    refusal = exchange.charge_to(policy.budget)
    if refusal:
        return exchange.refuse(refusal)

    # Accounting comes before the faults: an answer that a fault withholds was paid for as well.
    async def ask() -> Answer:
        answer = await source.answer(exchange)
        return Answer(answer.status, answer.headers, _accounted(answer, exchange, policy))

    fault = policy.faults.take() if exchange.asks_model else None
    return await (ask() if fault is None else fault.answer(exchange, ask))


def note_request(exchange: Exchange) -> None:
    """Note in the call's record what the request says of itself."""
    call, content = exchange.call, exchange.content
    model, messages = content.get("model"), exchange.dialect.messages(content)
    call.model = model if isinstance(model, str) else ""
    call.messages = len(messages) if isinstance(messages, list) else 0
    call.streamed = wants_stream(content)


async def _accounted(
    answer: Answer, exchange: Exchange, policy: Policy
) -> AsyncGenerator[bytes, None]:
    """Yield the answer's body, and book its cost before its end is passed on."""
    call, dialect = exchange.call, exchange.dialect
    splitter, whole = EventSplitter(), bytearray()
    is_complete, size = False, 0
    try:
        async for chunk in answer.chunks:
            size += len(chunk)
            if size > _LARGEST_ANSWER:
                limit = _LARGEST_ANSWER // 1024**2
                raise BrokenAnswerError(f"The provider's answer was cut off at {limit} MB.")
            if answer.is_stream:
                for event in splitter.feed(chunk):
                    _note_usage(exchange, event)
                    if dialect.is_last(event):  # the agent may go on now
                        _book(exchange, answer, policy)
            else:
                whole += chunk
                if len(whole) == answer.length:
                    call.usage = dialect.usage(json_object(bytes(whole)), call.usage)
                    _book(exchange, answer, policy)
            yield chunk
        is_complete = True
    finally:
        await answer.aclose()
        for event in splitter.end():
            _note_usage(exchange, event)
        if call.usage is None:
            call.usage = dialect.usage(json_object(bytes(whole)), None)
        _book(exchange, answer, policy, is_complete=is_complete)


def _cost_in_header(answer: Answer) -> float | None:
    """Return what the call cost in US dollars, if a LiteLLM proxy says so."""
    for name, value in answer.headers:
        if name == _COST_HEADER:
            try:
                cost = float(value)
            except ValueError:
                return None
            # It may say 0 for a stream, or for a model whose price it does not know.
            return cost if 0 < cost < math.inf else None
    return None


def _note_usage(exchange: Exchange, event: ServerSentEvent) -> None:
    if '"usage"' in event.data:
        exchange.call.usage = exchange.dialect.usage(event.content, exchange.call.usage)


def _book(exchange: Exchange, answer: Answer, policy: Policy, *, is_complete: bool = True) -> None:
    """Book what a call has cost, once."""
    call = exchange.call
    if answer.status < FIRST_ERROR:
        stated = _cost_in_header(answer)
        if call.usage is not None and call.usage.cost is None and stated is not None:
            call.usage = replace(call.usage, cost=stated)
        if call.origin != "scripted" and call.cost is None:
            call.cost = policy.prices.cost(call.model, call.usage)
        for budget in exchange.budgets:
            budget.book(call, is_complete=is_complete)
    exchange.budgets.clear()
