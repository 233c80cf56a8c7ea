"""Tools for an agent that are functions of the test: described here, called in its process."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, overload

from pydantic import BaseModel, TypeAdapter, validate_call
from pydantic.errors import PydanticUserError
from pydantic_core import to_json

from pytest_agent_sandbox.client.agents import plain
from pytest_agent_sandbox.errors import SettingsError

#: What providers allow.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class ClientTool:
    """A function that an agent may call; made by `client_tool`.

    Attributes:
        name: How the agent calls it.
        description: What its LLM is told of it.
        parameters: JSON schema of its arguments, an object.
        function: What is called.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    function: Callable[..., Any]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function, as if it were not decorated."""
        return self.function(*arguments, **named)

    def answer(self, arguments: dict[str, Any]) -> str:
        """Call the function as an agent does, and return what the agent is told.

        Raises:
            ValidationError: The arguments are not what the function takes; the message says why.
            BaseException: Whatever the function raises.
        """
        result = validate_call(self.function)(**arguments)
        if result is None:
            return ""
        return result if isinstance(result, str) else to_json(result).decode()


@overload
def client_tool(function: Callable[..., Any], /) -> ClientTool: ...


@overload
def client_tool(
    *, name: str | None = None, description: str | None = None
) -> Callable[[Callable[..., Any]], ClientTool]: ...


def client_tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
) -> ClientTool | Callable[[Callable[..., Any]], ClientTool]:
    """Make a function of the test a tool that the agent in the sandbox may call.

    Example:
        ```python
        @client_tool
        def price_of(article: str, amount: int = 1) -> float:
            "Looks up what an article costs."
            return prices[article] * amount

        conversation = agent_conversation(client_tools=[price_of])
        ```

    It runs in the test's own process, on a thread, one call at a time. What it returns is what the
    agent is told: text as it is, anything else as JSON. When it raises, the agent is told the
    error, and may try something else; a failed assertion, or `pytest.fail()`, is the test's: the
    conversation's `run` raises it.

    Args:
        function: A function whose parameters have type hints.
        name: How the agent calls it; the function's name by default.
        description: What the agent's LLM is told of it; the function's docstring by default.

    Raises:
        SettingsError: The function cannot be described to an LLM; the message says why.
    """
    if function is None:
        return lambda decorated: _described(decorated, name, description)
    return _described(function, name, description)


def by_specification(tools: Sequence[object]) -> tuple[list[object], list[dict[str, Any]]]:
    """Return the tools that are functions, and those that are only described, as the server has it.

    Args:
        tools: Functions; and dicts, or objects of openhands-sdk, with a `name`, a `description` and
            `parameters`.

    Raises:
        SettingsError: A description has no name.
    """
    functions: list[object] = []
    described: list[dict[str, Any]] = []
    for tool in tools:
        if not isinstance(tool, Mapping | BaseModel):
            functions.append(tool)
            continue
        specification = dict(plain(tool))
        if not _NAME.fullmatch(str(specification.get("name") or "")):
            raise SettingsError(
                'client_tools=[{…}] takes {"name": "…", "description": "…", "parameters": {…}}, '
                f"not {tool!r}."
            )
        described.append(specification)
    return functions, described


def as_client_tool(tool: object) -> ClientTool:
    """Return a tool, also of a function that is not decorated.

    Raises:
        SettingsError: It is neither, or cannot be described to an LLM.
    """
    if isinstance(tool, ClientTool):
        return tool
    if not callable(tool):
        raise SettingsError(f"client_tools=[…] takes functions, not {tool!r}.")
    return _described(tool, None, None)


def _described(
    function: Callable[..., Any], name: str | None, description: str | None
) -> ClientTool:
    name = name or str(getattr(function, "__name__", ""))
    description = description or inspect.getdoc(function)
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"The client tool {function!r} needs a name of letters, digits, '_' or '-': "
            '@client_tool(name="…").'
        )
    if not description:
        raise SettingsError(f"The client tool {name} needs a docstring: it is what the LLM reads.")
    if inspect.iscoroutinefunction(function):
        raise SettingsError(f"The client tool {name} is a coroutine: use a plain function.")
    try:
        parameters = TypeAdapter(cast(Any, function)).json_schema()
    except (PydanticUserError, NameError) as error:
        raise SettingsError(f"The client tool {name} cannot be described: {error}") from None
    if parameters.get("type") != "object":
        raise SettingsError(f"The client tool {name} needs parameters that can be given by name.")
    return ClientTool(name, description, parameters, function)
