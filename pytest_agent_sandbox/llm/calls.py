"""The record of an LLM call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pytest_agent_sandbox.llm.replies import Usage

#: Who answered a call; `fault` is one that was made to fail.
Origin = Literal["scripted", "replayed", "recorded", "live", "fault"]


@dataclass
class LLMCall:
    """The record of one call, kept as evidence. Fields fill up while the call is in flight."""

    #: Which of its lane's calls this is, counted from 1.
    number: int
    #: When it arrived, in UTC.
    started: datetime
    #: Below the lane's base URL: "/chat/completions".
    path: str
    #: Empty where the request names none.
    model: str = ""
    #: How many messages the request held.
    messages: int = 0
    #: Whether the client asked for a stream.
    streamed: bool = False
    #: Who answered; None for a call that was refused.
    origin: Origin | None = None
    #: The HTTP status of the answer; None until there is one.
    status: int | None = None
    #: None where the answer did not say.
    usage: Usage | None = None
    #: In US dollars; None where the model's price or its usage is not known.
    cost: float | None = None
    #: Seconds from arrival to the answer's last byte; None until then.
    duration: float | None = None
    #: Why the client did not get what it asked for; empty when it did.
    problem: str = ""
