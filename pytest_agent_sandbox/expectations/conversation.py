"""Expectations of a conversation: the agent's calls, their order and number, its last message."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn, Self

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.expectations.matching import (
    TextExpectation,
    check_expectation,
    check_number,
    checked_text,
    cut,
    differences,
    likeness,
    matches,
    spelled,
    text_matches,
)

if TYPE_CHECKING:
    from pytest_agent_sandbox.client.conversation import RemoteConversation
    from pytest_agent_sandbox.client.event_log import ToolCall

__tracebackhide__ = True  # pytest shows the test's own line

#: Tool calls that a message lists.
_MOST_CALLS = 12
_LONGEST_MESSAGE = 600
#: A step of `called_in_order`: a tool's name, or with arguments.
Step = str | tuple[str, Mapping[str, Any]]


class ConversationExpectation:
    """The expectations of a conversation, as far as it has gone; each check returns this object.

    Example:
        ```python
        expect(conversation).called_tool("terminal", command=re.compile("pytest")).at_most(steps=9)
        ```

    An argument is expected as its value, a compiled regular expression that is found in it, a
    function that accepts it, a dict with some of its keys, or `...` for any value.

    Args:
        conversation: The conversation.
    """

    def __init__(self, conversation: RemoteConversation) -> None:
        self._conversation = conversation

    def called_tool(
        self, name: str, /, *, times: int | None = None, at_least: int = 1, **arguments: Any
    ) -> Self:
        """Check that the agent called a tool, with these arguments among others.

        Args:
            name: The tool's name, such as `terminal`.
            times: The exact number of such calls.
            at_least: The least number of such calls, if `times` is not given.
            arguments: The expected arguments.

        Raises:
            AssertionError: The agent did not; the message shows the nearest call.
            SettingsError: The name or a number cannot be used.
        """
        checked_text(name, "A tool's name")
        check_number(times, "times", least=0)
        check_number(0 if at_least is None else at_least, "at_least", least=1)
        calls = self._conversation.events.tool_calls()
        fitting = [call for call in calls if _fits(call, name, arguments)]
        wanted = _spelled_call(name, arguments)
        if times is not None and len(fitting) != times:
            problem = f"expected {_times(times)} {wanted}, and there are {len(fitting)}"
        elif times is None and len(fitting) < at_least:
            problem = f"expected {wanted}, which was not called"
            if at_least > 1:
                problem = (
                    f"expected at least {_times(at_least)} {wanted}, and there are {len(fitting)}"
                )
        else:
            return self
        is_too_few = times is None or len(fitting) < times
        more = self._nearest(name, arguments, fitting) if is_too_few else []
        self._fail(problem, fitting, *more)

    def never_called(self, name: str, /, **arguments: Any) -> Self:
        """Check that the agent never called a tool, or never with these arguments.

        Args:
            name: The tool's name.
            arguments: The arguments that no call may have.

        Raises:
            AssertionError: The agent did; the message shows where.
            SettingsError: The name cannot be used.
        """
        checked_text(name, "A tool's name")
        calls = self._conversation.events.tool_calls()
        fitting = [call for call in calls if _fits(call, name, arguments)]
        if fitting:
            self._fail(f"expected no {_spelled_call(name, arguments)}", fitting)
        return self

    def called_in_order(self, *steps: Step) -> Self:
        """Check that the agent made these calls in this order; others may be between them.

        Args:
            steps: Names of tools, or names with the expected arguments:
                `"file_editor", ("terminal", {"command": re.compile("pytest")})`.

        Raises:
            AssertionError: The agent did not; the message shows how far it came.
            SettingsError: A step is neither a name nor a name with arguments.
        """
        wanted = [_checked_step(step) for step in steps]
        if not wanted:
            raise SettingsError("called_in_order() takes the steps that are expected.")
        calls = self._conversation.events.tool_calls()
        found: list[ToolCall] = []
        rest = iter(calls)
        for number, (name, arguments) in enumerate(wanted, start=1):
            call = next((call for call in rest if _fits(call, name, arguments)), None)
            if call is None:
                after = f" after step {number - 1}" if number > 1 else ""
                self._fail(
                    f"expected step {number} of {len(wanted)}, {_spelled_call(name, arguments)}: "
                    f"there is none{after}",
                    found,
                    *self._nearest(name, arguments, found),
                )
            found.append(call)
        return self

    def at_most(
        self,
        *,
        steps: int | None = None,
        tool_calls: int | None = None,
        tokens: int | None = None,
        cost: float | None = None,
    ) -> Self:
        """Check that the agent needed no more than this.

        Args:
            steps: Tool calls and messages of the agent together.
            tool_calls: Tool calls.
            tokens: Tokens of requests and answers together, as the server counts them.
            cost: US dollars, as the server counts them.

        Raises:
            AssertionError: The agent needed more.
            SettingsError: No limit is given, or a limit is not a number; or the server has not
                counted what the agent used, as with some ACP agents: `agent_llm.usage` knows it;
                or the model has no price.
        """
        if (steps, tool_calls, tokens, cost) == (None, None, None, None):
            raise SettingsError("at_most() takes a limit: steps=, tool_calls=, tokens= or cost=.")
        for name, value in (("steps", steps), ("tool_calls", tool_calls), ("tokens", tokens)):
            check_number(value, name, least=0)
        check_number(cost, "cost", least=0, kind=int | float)
        events = self._conversation.events
        calls = len(events.tool_calls())
        limits: list[tuple[str, float | None, Any]] = [
            ("steps", steps, lambda: calls + len(events.messages("agent"))),
            ("tool calls", tool_calls, lambda: calls),
            ("tokens", tokens, self._tokens),
            ("US dollars", cost, lambda: self._conversation.cost),
        ]
        if (tokens, cost) != (None, None):
            self._check_counted()
        if cost is not None and math.isnan(self._conversation.cost):
            raise SettingsError(f"at_most(cost=…): the cost is {self._conversation.cost!r}")
        for what, limit, needed in limits:
            if limit is not None and needed() > limit:
                self._fail(f"expected at most {limit:,} {what}, and it took {needed():,}", [])
        return self

    def said(self, expected: TextExpectation) -> Self:
        """Check the agent's last message.

        Args:
            expected: A part of the message, a compiled regular expression, or a function that
                accepts it.

        Raises:
            AssertionError: The message is another one, or there is none.
            SettingsError: Something else than a text is expected.
        """
        check_expectation(expected)
        found = self._conversation.events.final_message
        if found is not None and text_matches(expected, found):
            return self
        said = "it said nothing" if found is None else f"it said: {cut(found, _LONGEST_MESSAGE)}"
        self._fail(f"expected {spelled(expected)} in the last message; {said}", [])

    def finished(self) -> Self:
        """Check that the agent is done, and says so itself.

        Raises:
            AssertionError: The agent is not done.
        """
        status = self._conversation.status
        if status != "finished":
            self._fail(f"expected the conversation to be finished; it is {status}", [])
        return self

    def has_no_errors(self) -> Self:
        """Check that no tool and no run failed, and that the server refused no call.

        A command that exits with another code than 0 does not count as an error.

        Raises:
            AssertionError: There is an error; the message shows the first one.
        """
        errors = self._conversation.events.errors()
        if errors:
            more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
            self._fail(f"expected no errors; there is {cut(str(errors[0]), 400)}{more}", [])
        return self

    def _check_counted(self) -> None:
        """Raise if a limit would hold only because nobody has counted."""
        events = self._conversation.events
        has_worked = bool(events.tool_calls() or events.messages("agent"))
        if has_worked and not (self._tokens() or self._conversation.cost > 0):
            raise SettingsError(
                "at_most(tokens=…, cost=…): the agent has worked, and the server has counted no "
                "tokens: not every ACP agent tells. Compare agent_llm.usage instead."
            )

    def _tokens(self) -> int:
        used = self._conversation.tokens
        return used.prompt_tokens + used.completion_tokens

    def _nearest(
        self, name: str, arguments: Mapping[str, Any], fitting: Sequence[ToolCall]
    ) -> list[str]:
        """Describe what came nearest: a call with other arguments, or a tool of another name."""
        calls = self._conversation.events.tool_calls()
        found = _ids(fitting)
        same = [call for call in calls if call.name == name and call.action.id not in found]
        if same:
            nearest = max(same, key=lambda call: likeness(arguments, call.arguments))
            lines = differences(arguments, nearest.arguments)
            return [f"nearest is call {calls.index(nearest) + 1}:", *(f"  {one}" for one in lines)]
        names = {call.name for call in calls} - {name}
        close = get_close_matches(name, names, n=1)
        return [f"did you mean {close[0]!r}?"] if close else []

    def _fail(self, problem: str, marked: Sequence[ToolCall], *more: str) -> NoReturn:
        lines = [problem, *more, *_listed(self._conversation.events.tool_calls(), marked)]
        raise AssertionError("\n".join(lines))


def _fits(call: ToolCall, name: str, arguments: Mapping[str, Any]) -> bool:
    return call.name == name and matches(arguments, call.arguments)


def _checked_step(step: Any) -> tuple[str, Mapping[str, Any]]:
    if isinstance(step, str):
        return checked_text(step, "A step"), {}
    if isinstance(step, tuple) and len(step) == 2 and isinstance(step[1], Mapping):  # noqa: PLR2004
        return checked_text(step[0], "A step's tool"), step[1]
    raise SettingsError(
        f"A step is a tool's name, or ('terminal', {{'command': 'ls'}}), not {step!r}"
    )


def _listed(calls: Sequence[ToolCall], marked: Sequence[ToolCall]) -> list[str]:
    """List the calls, one a line; if there are many, those around the last marked one."""
    if not calls:
        return ["the agent called no tool"]
    found = _ids(marked)
    places = [at for at, call in enumerate(calls) if call.action.id in found]
    last = places[-1] if places else len(calls) - 1
    start = max(0, min(last - _MOST_CALLS // 2, len(calls) - _MOST_CALLS))
    shown = list(enumerate(calls))[start : start + _MOST_CALLS]
    lines = [f"  … {start} before"] if start else []
    for at, call in shown:
        failed = "  [failed]" if call.is_error else ""
        sign = ">" if at in places else " "
        lines.append(
            f"{sign} {at + 1:>3}  {_spelled_call(call.name, given_arguments(call))}{failed}"
        )
    left = len(calls) - start - len(shown)
    return ["the agent's tool calls:", *lines, *([f"  … {left} after"] if left else [])]


def _ids(calls: Sequence[ToolCall]) -> set[str]:
    """Return the ids of calls; the log makes new objects each time, which are never the same."""
    return {call.action.id for call in calls}


def given_arguments(call: ToolCall) -> dict[str, Any]:
    """Return the arguments that the agent gave: servers fill in those that it left out."""
    return {
        name: value
        for name, value in call.arguments.items()
        if value is not None and value is not False
    }


def _spelled_call(name: str, arguments: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={spelled(value)}' for key, value in arguments.items())})"


def _times(count: int) -> str:
    return "1 call of" if count == 1 else f"{count} calls of"
