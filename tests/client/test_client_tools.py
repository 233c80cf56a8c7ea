"""Functions of a test as tools: how they are described, and called as an agent does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ValidationError

from pytest_agent_sandbox.client.client_tools import as_client_tool, by_specification, client_tool
from pytest_agent_sandbox.errors import SettingsError


class Article(BaseModel):
    name: str
    tags: list[str] = []


def price_of(
    article: str, amount: int = 1, *, currency: Literal["EUR", "USD"] = "EUR"
) -> dict[str, object]:
    """Looks up a price.

    In the shop of the test.
    """
    return {"article": article, "price": 2.5 * amount, "currency": currency}


def test_its_description() -> None:
    tool = as_client_tool(price_of)
    assert tool.name == "price_of"
    assert tool.description == "Looks up a price.\n\nIn the shop of the test."
    assert tool.parameters["required"] == ["article"]
    assert tool.parameters["properties"]["amount"] == {
        "title": "Amount",
        "type": "integer",
        "default": 1,
    }
    assert tool.parameters["properties"]["currency"]["enum"] == ["EUR", "USD"]
    json.dumps(tool.parameters)


def test_a_decorated_function_is_still_one() -> None:
    tool = client_tool(price_of)
    assert tool("tea", currency="USD")["currency"] == "USD"
    assert as_client_tool(tool) is tool


def test_another_name_and_description() -> None:
    tool = client_tool(name="shop-price", description="Asks the shop.")(price_of)
    assert (tool.name, tool.description) == ("shop-price", "Asks the shop.")
    assert as_client_tool(client_tool(name="b")(price_of)).name == "b"


@pytest.mark.parametrize(
    ("function", "answer"),
    [
        (lambda: "as it is", "as it is"),
        (lambda: None, ""),
        (lambda: 2.5, "2.5"),
        (lambda: {"ü": [1, None]}, '{"ü":[1,null]}'),
        (lambda: Article(name="tea"), '{"name":"tea","tags":[]}'),
    ],
)
def test_what_the_agent_is_told(function: Callable[[], Any], answer: str) -> None:
    tool = client_tool(name="f", description="d")(function)
    assert tool.answer({}) == answer


def test_arguments_become_what_the_hints_say() -> None:
    def tags_of(articles: list[Article]) -> list[str]:
        """Tells all tags."""
        return [tag for article in articles for tag in article.tags]

    tool = as_client_tool(tags_of)
    assert tool.answer({"articles": [{"name": "tea", "tags": ["hot"]}]}) == '["hot"]'
    assert json.loads(as_client_tool(price_of).answer({"article": "tea", "amount": "2"})) == {
        "article": "tea",
        "price": 5.0,
        "currency": "EUR",
    }


@pytest.mark.parametrize(
    "arguments", [{}, {"article": 1}, {"article": "x", "amount": "many"}, {"article": "x", "z": 1}]
)
def test_arguments_that_do_not_fit(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        as_client_tool(price_of).answer(arguments)


def test_what_it_raises_is_passed_on() -> None:
    def fail() -> None:
        """Fails."""
        raise KeyError("x")

    with pytest.raises(KeyError):
        as_client_tool(fail).answer({})


def undescribed() -> None:
    pass


async def coroutine() -> None:
    """Says one."""


def positional(*things: str) -> None:
    """Says one."""


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (undescribed, "docstring"),
        (coroutine, "coroutine"),
        (positional, "by name"),
        (lambda: 1, "needs a name"),
        ("price_of", "takes functions"),
    ],
)
def test_what_is_no_tool(function: object, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        as_client_tool(function)


def test_a_name_that_no_provider_takes() -> None:
    with pytest.raises(SettingsError, match="needs a name"):
        client_tool(name="a b")(price_of)


def test_tools_that_are_only_described() -> None:
    class Specification(BaseModel):
        name: str
        parameters: dict[str, str]
        annotations: None = None

    parameters = {"type": "object"}
    described = {"name": "blink", "description": "Blinks.", "parameters": parameters}
    functions, found = by_specification(
        [price_of, described, Specification(name="nod", parameters=parameters)]
    )
    assert functions == [price_of]
    assert found == [described, {"name": "nod", "parameters": parameters}]
    with pytest.raises(SettingsError, match=r'takes \{"name"'):
        by_specification([{"description": "Blinks."}])
