"""Questions that an agent asks beside its work, which use up replies meant for the work.

Many agents ask their LLM for a title first, or for a commit message last. Such a request offers no
tools while the requests of the work do, or it has another system prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pytest_agent_sandbox.llm.entries import shorten
from pytest_agent_sandbox.llm.replies import LLMRequest

#: What to do about them.
ADVICE = (
    "Agents ask for titles, summaries and commit messages beside their work: give each a reply in "
    "its place, or switch it off (docs/agents.md says how)."
)

_LONGEST_QUOTE = 100
#: How many of them are listed.
_MOST = 3


@dataclass(frozen=True)
class Question:
    """A short form of what a request asked.

    Attributes:
        number: The request's number, from 1, which is also the number of the reply that it took.
        prompt: The beginning of its system prompt; empty if there is none.
        last: Its last message.
        has_tools: Whether it offered tools.
    """

    number: int
    prompt: str
    last: str
    has_tools: bool

    @classmethod
    def of(cls, request: LLMRequest) -> Self:
        """Return the question of a request."""
        prompt = shorten(request.system_prompt, _LONGEST_QUOTE)
        last = shorten(request.last_message, _LONGEST_QUOTE)
        return cls(request.number, prompt, last, bool(request.tools))

    def __str__(self) -> str:
        return f"{self.prompt!r}, and then {self.last!r}" if self.prompt else repr(self.last)


def describe(questions: Sequence[Question], replies: int, *, guess: bool) -> str:
    """Say which replies went to questions beside the agent's work; empty if none did.

    Args:
        questions: All questions, in order.
        replies: How many replies the script holds.
        guess: Go by the system prompt if no request offers tools. A program may well have several
            prompts, so this guess is worth mentioning only if script and agent do not agree.
    """
    if any(question.has_tools for question in questions):
        asides = [question for question in questions if not question.has_tools]
        which = "offered no tools, unlike others"
    elif guess and questions and all(question.prompt for question in questions):
        usual = Counter(question.prompt for question in questions).most_common(1)[0][0]
        asides = [question for question in questions if question.prompt != usual]
        which = "had another system prompt than others"
    else:
        return ""
    lines = [
        f"Request {question.number}{_taken(question, replies)} {which}: {question}"
        for question in asides[:_MOST]
    ]
    if not lines:
        return ""
    return "\n".join([*lines, ADVICE])


def _taken(question: Question, replies: int) -> str:
    return f", which took reply {question.number}," if question.number <= replies else ""
