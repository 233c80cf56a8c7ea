"""What every request goes through, whoever answers it: refusals, faults on purpose, accounting."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace

from pytest_agent_sandbox.llm.budgets import Budget, Limits
from pytest_agent_sandbox.llm.dialects.dialect import wants_stream
from pytest_agent_sandbox.llm.exchange import FIRST_ERROR, UNSPOKEN, Answer, Exchange, Source
from pytest_agent_sandbox.llm.fault_injection import Faults
from pytest_agent_sandbox.llm.prices import Prices
from pytest_agent_sandbox.llm.sse import EventSplitter, ServerSentEvent, json_object

_COST_HEADER = b"x-litellm-response-cost"


@dataclass
class Policy:
    """What a lane's requests have to get past before they reach its source."""

    #: What may be spent, whoever answers; a call that would come after its end is refused.
    budget: Budget = field(default_factory=lambda: Budget("test", Limits()))
    #: What calls cost.
    prices: Prices = field(default_factory=Prices)
    #: What goes wrong on purpose.
    faults: Faults = field(default_factory=Faults)
    #: Whether requests may ask the provider to search the web or to run code.
    provider_tools: bool = False

    def check(self) -> None:
        """Raise what makes waiting for the agent pointless.

        Raises:
            BudgetExceeded: A call was refused for want of budget.
        """
        self.budget.check()


async def respond(exchange: Exchange, source: Source, policy: Policy) -> Answer:
    """The answer to a request: a refusal, a fault, or the source's own."""
    if exchange.unspoken:
        return exchange.refuse(exchange.unspoken, UNSPOKEN)
    if exchange.method == "GET":  # asks the model nothing
        return await source.answer(exchange)
    if not policy.provider_tools:
        wanted = exchange.dialect.provider_tools(exchange.content)
        if wanted:
            return exchange.refuse(
                f"The request wants the provider to run {', '.join(wanted)}, which would reach "
                "the internet from there. Set llm_provider_tools = true to allow it."
            )
    refusal = exchange.charge_to(policy.budget)
    if refusal:
        return exchange.refuse(refusal)

    # Accounted below the faults: what a fault keeps from the agent was paid for all the same.
    async def ask() -> Answer:
        answer = await source.answer(exchange)
        return Answer(answer.status, answer.headers, _accounted(answer, exchange, policy))

    fault = policy.faults.take() if exchange.asks_model else None
    return await (ask() if fault is None else fault.answer(exchange, ask))


def note_request(exchange: Exchange) -> None:
    """Fill in what a request says of itself into its record."""
    call, content = exchange.call, exchange.content
    model, messages = content.get("model"), exchange.dialect.messages(content)
    call.model = model if isinstance(model, str) else ""
    call.messages = len(messages) if isinstance(messages, list) else 0
    call.streamed = wants_stream(content)


async def _accounted(
    answer: Answer, exchange: Exchange, policy: Policy
) -> AsyncGenerator[bytes, None]:
    """The answer's body; what it says it cost is booked before its end is passed on."""
    call, dialect = exchange.call, exchange.dialect
    splitter, whole = EventSplitter(), bytearray()
    is_complete = False
    try:
        async for chunk in answer.chunks:
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


def _told_by_header(answer: Answer) -> float | None:
    """What a LiteLLM proxy says the call cost, in US dollars; None where it does not."""
    for name, value in answer.headers:
        if name == _COST_HEADER:
            try:
                cost = float(value)
            except ValueError:
                return None
            # Of a stream, and of a model whose price it does not know, it may say 0.
            return cost if 0 < cost < math.inf else None
    return None


def _note_usage(exchange: Exchange, event: ServerSentEvent) -> None:
    if '"usage"' in event.data:
        exchange.call.usage = exchange.dialect.usage(event.content, exchange.call.usage)


def _book(exchange: Exchange, answer: Answer, policy: Policy, *, is_complete: bool = True) -> None:
    """Book what a call has cost, once."""
    call = exchange.call
    if answer.status < FIRST_ERROR:
        told = _told_by_header(answer)
        if call.usage is not None and call.usage.cost is None and told is not None:
            call.usage = replace(call.usage, cost=told)
        if call.origin != "scripted" and call.cost is None:
            call.cost = policy.prices.cost(call.model, call.usage)
        for budget in exchange.budgets:
            budget.book(call, is_complete=is_complete)
    exchange.budgets.clear()
