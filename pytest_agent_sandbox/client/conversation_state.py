"""A conversation's state and its costs, as far as the server told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pytest_agent_sandbox.client.answers import a_number, as_text
from pytest_agent_sandbox.client.event_log import EventLog
from pytest_agent_sandbox.client.events import ConversationStateUpdateEvent


class ExecutionStatus(StrEnum):
    """The occupation of a conversation."""

    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    WAITING_FOR_CONFIRMATION = "waiting_for_confirmation"
    FINISHED = "finished"
    ERROR = "error"
    STUCK = "stuck"
    DELETING = "deleting"


class TokenUsage(BaseModel):
    """The numbers of tokens that went to an LLM and came from it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    prompt_tokens: int = 0
    completion_tokens: int = 0
    #: Part of `prompt_tokens` with most providers.
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    #: Part of `completion_tokens`.
    reasoning_tokens: int = 0

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            **{name: getattr(self, name) + getattr(other, name) for name in TokenUsage.model_fields}
        )


class UnknownCost(float):
    """What a conversation has cost whose model has no price: no comparison with it holds.

    It is not a number (NaN), so that `assert conversation.cost < 0.1` fails; pytest shows why.

    Args:
        models: The models whose prices are not known.
    """

    def __new__(cls, models: Iterable[str]) -> Self:  # noqa: ARG004 - __init__ takes them
        """Make it."""
        return super().__new__(cls, "nan")

    def __init__(self, models: Iterable[str]) -> None:
        self.models = tuple(models)

    def __repr__(self) -> str:
        return f"unknown: no price is known of {', '.join(self.models)}"


class Metrics(BaseModel):
    """The costs of one use of an LLM, or of all of them together."""

    model_config = ConfigDict(extra="allow", frozen=True)

    #: US dollars, by LiteLLM's price list; 0 for a model that is not on it.
    accumulated_cost: float = 0.0
    accumulated_token_usage: TokenUsage = TokenUsage()
    #: The LLM's model; `default` where there is none.
    model_name: str = "default"

    @property
    def is_unpriced(self) -> bool:
        """Whether the LLM was used, and nobody knows what that costs."""
        used = self.accumulated_token_usage
        return not self.accumulated_cost and bool(used.prompt_tokens or used.completion_tokens)

    def __add__(self, other: Metrics) -> Metrics:
        return Metrics(
            accumulated_cost=self.accumulated_cost + other.accumulated_cost,
            accumulated_token_usage=self.accumulated_token_usage + other.accumulated_token_usage,
        )


class ConversationStats(BaseModel):
    """The costs of a conversation, by the usage ids of its LLMs."""

    model_config = ConfigDict(extra="allow", frozen=True)

    usage_to_metrics: dict[str, Metrics] = Field(default_factory=dict)

    @property
    def cost(self) -> float:
        """US dollars, over all LLMs; an `UnknownCost` where one of them has no price."""
        unpriced = {one.model_name for one in self.usage_to_metrics.values() if one.is_unpriced}
        if unpriced:
            return UnknownCost(sorted(unpriced))
        return self.get_combined_metrics().accumulated_cost

    def get_combined_metrics(self) -> Metrics:
        """Return the sum over all LLMs."""
        return sum(self.usage_to_metrics.values(), start=Metrics())


class ConversationState:
    """The state of one conversation: what the event stream brought, or else what the server says.

    Args:
        conversation_id: The conversation's id.
        fetch: Asks the server for the conversation's description. Asked only for what no event has
            told yet.
        events: The conversation's events.
    """

    def __init__(
        self,
        conversation_id: str,
        fetch: Callable[[], dict[str, Any]],
        events: EventLog | None = None,
    ) -> None:
        self.id = conversation_id
        #: The conversation's events so far, in order.
        self.events = EventLog() if events is None else events
        self._fetch = fetch
        self._fields: dict[str, Any] = {}
        self._lock = threading.Lock()

    @property
    def execution_status(self) -> str:
        """What the conversation is doing: an `ExecutionStatus`, which equals its text."""
        return _status(self._field("execution_status"))

    @property
    def title(self) -> str | None:
        """The conversation's title; None while it has none."""
        return _text_or_none(self._field("title"))

    @property
    def tags(self) -> dict[str, Any]:
        """The conversation's tags."""
        return _mapping(self._fetch().get("tags"))

    @property
    def agent(self) -> dict[str, Any]:
        """The agent, as the server describes it; keys are masked."""
        return _mapping(self._field("agent"))

    @property
    def workspace(self) -> dict[str, Any]:
        """Where the agent works, as the server describes it."""
        return _mapping(self._field("workspace"))

    @property
    def persistence_dir(self) -> str | None:
        """The folder in the sandbox that holds the conversation."""
        return _text_or_none(self._field("persistence_dir"))

    @property
    def max_iterations(self) -> int:
        """The most steps that the agent may take in one run."""
        return a_number(self._field("max_iterations"), "max_iterations")

    @property
    def confirmation_policy(self) -> dict[str, Any]:
        """Which actions wait for a confirmation: its `kind`, and what that has."""
        return _mapping(self._field("confirmation_policy"))

    @property
    def security_analyzer(self) -> dict[str, Any] | None:
        """Who judges the risk of actions; None for nobody."""
        return _mapping(self._field("security_analyzer")) or None

    @property
    def activated_knowledge_skills(self) -> list[str]:
        """The skills whose text the agent was given because a message asked for them."""
        return [as_text(name) for name in self._field("activated_knowledge_skills") or ()]

    @property
    def invoked_skills(self) -> list[str]:
        """The skills that the agent has looked up by itself."""
        return [as_text(name) for name in self._field("invoked_skills") or ()]

    @property
    def goal(self) -> dict[str, Any]:
        """How it stands with the latest objective of `start_goal`; empty where there is none.

        `active`, `status` (`running`, `complete`, `capped` or `interrupted`), `iteration`,
        `max_iterations`, `objective` and the judge's `verdict`.
        """
        with self._lock:
            return _mapping(self._fields.get("goal"))

    @property
    def told_status(self) -> str:
        """The same without asking the server; empty where no event has told it yet."""
        with self._lock:
            told = "execution_status" in self._fields
            value = self._fields.get("execution_status")
        return _status(value) if told else ""

    @property
    def stats(self) -> ConversationStats:
        """What the conversation has cost so far."""
        try:
            return ConversationStats.model_validate(self._field("stats"))
        except ValidationError:  # a server that counts in another way
            return ConversationStats()

    def apply(self, event: ConversationStateUpdateEvent) -> None:
        """Take over what an event tells."""
        if not event.is_full:
            self.update({event.key: event.value})
        elif isinstance(event.value, dict):
            self.update(event.value)

    def update(self, fields: dict[str, Any]) -> None:
        """Take over fields as the server gives them."""
        with self._lock:
            self._fields.update(fields)

    def _field(self, name: str) -> Any:
        with self._lock:
            known = name in self._fields
            value = self._fields.get(name)
        return value if known else self._fetch().get(name)


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _text_or_none(value: Any) -> str | None:
    return None if value is None else as_text(value)


def _status(value: Any) -> str:
    try:
        return ExecutionStatus(value)
    except ValueError:  # a status of a newer server
        return as_text(value)
