"""The record of an LLM call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pytest_agent_sandbox.llm.replies import Usage

#: Who answered a call; `fault` is a call that was made to fail, `unanswered` one whose provider
#: could not be reached.
Origin = Literal["scripted", "replayed", "recorded", "live", "fault", "unanswered"]


@dataclass
class LLMCall:
    """The record of one call, kept as evidence. Fields fill up while the call is in flight."""

    #: The number of the call in its lane, from 1.
    number: int
    #: The time of its arrival, in UTC.
    started: datetime
    #: Below the lane's base URL: "/chat/completions".
    path: str
    #: Empty if the request names no model.
    model: str = ""
    #: How many messages the request held.
    messages: int = 0
    #: Whether the client asked for a stream.
    streamed: bool = False
    #: Who answered; None for a call that was refused.
    origin: Origin | None = None
    #: The HTTP status of the answer; None until there is one.
    status: int | None = None
    #: None if the answer did not say.
    usage: Usage | None = None
    #: US dollars; None if the model's price or the usage is not known.
    cost: float | None = None
    #: Seconds from arrival to the answer's last byte; None until then.
    duration: float | None = None
    #: Why the client did not get what it asked for; empty if it did.
    problem: str = ""
