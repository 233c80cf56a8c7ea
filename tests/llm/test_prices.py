"""What calls cost: the user's own prices, the list's, or not known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.llm.dialects import DIALECTS
from pytest_agent_sandbox.llm.dialects.anthropic_messages import AnthropicMessages
from pytest_agent_sandbox.llm.dialects.dialect import Dialect
from pytest_agent_sandbox.llm.prices import Prices
from pytest_agent_sandbox.llm.replies import Usage

MILLION = 1_000_000
#: 100 from the cache, 200 into it, 700 others; 50 of the answer.
CACHED = Usage(1000, 50, cache_read_tokens=100, cache_write_tokens=200)


@pytest.mark.parametrize(
    ("price", "usage", "cost"),
    [
        ({"input": 2, "output": 10}, Usage(MILLION, 0), 2),
        ({"input": 2, "output": 10}, Usage(0, MILLION), 10),
        ({"input": 2, "output": 10}, Usage(0, 0), 0),
        ({"input": 0, "output": 0}, Usage(5, 5), 0),
        # What is cached costs what the rest does, where nothing else is said.
        ({"input": 2, "output": 10}, CACHED, (1000 * 2 + 50 * 10) / MILLION),
        (
            {"input": 2, "output": 10, "cache_read": 0.2, "cache_write": 2.5},
            CACHED,
            (700 * 2 + 100 * 0.2 + 200 * 2.5 + 50 * 10) / MILLION,
        ),
        (
            {"input": 2, "output": 10, "cache_read": 0},
            CACHED,
            (700 * 2 + 200 * 2 + 50 * 10) / MILLION,
        ),
    ],
)
def test_own_prices(price: dict[str, float], usage: Usage, cost: float) -> None:
    assert Prices({"m": price}).cost("m", usage) == pytest.approx(cost)


OWN = {"input": MILLION, "output": MILLION}


@pytest.mark.parametrize(
    ("own", "asked"),
    [("m", "m"), ("m", "openai/m"), ("a/m", "a/m"), ("m", "openrouter/a/m"), ("gpt-4o", "gpt-4o")],
)
def test_own_prices_by_name(own: str, asked: str) -> None:
    assert Prices({own: OWN}).cost(asked, Usage(1, 1)) == 2


@pytest.mark.parametrize("own", ["openai/m", "openrouter/a/m"])
def test_own_prices_by_the_name_that_litellm_knows(own: str) -> None:
    assert Prices({own: OWN}).cost("m", Usage(1, 1)) == 2


def test_the_whole_name_comes_before_its_end() -> None:
    prices = Prices({"m": OWN, "a/m": {"input": 0, "output": 0}})
    assert prices.cost("a/m", Usage(1, 1)) == 0
    assert prices.cost("b/m", Usage(1, 1)) == 2


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o",
        "openai/gpt-4o",
        "gpt-4o-2024-08-06",
        "claude-sonnet-4-5",
        "anthropic/claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
    ],
)
def test_listed_prices(model: str) -> None:
    whole = Prices().cost(model, Usage(1000, 100))
    cached = Prices().cost(model, Usage(1000, 100, cache_read_tokens=800))
    assert whole is not None
    assert cached is not None
    assert 0 < cached < whole < 1


def test_writing_to_anthropic_s_cache_costs_more() -> None:
    usual = Prices().cost("claude-sonnet-4-5", Usage(1000, 100))
    written = Prices().cost("claude-sonnet-4-5", Usage(1000, 100, cache_write_tokens=1000))
    assert usual is not None
    assert written is not None
    assert written > usual


def test_what_anthropic_keeps_for_an_hour_costs_more_still() -> None:
    def cost(for_an_hour: int) -> float | None:
        usage = Usage(100_000, 0, 0, 100_000, for_an_hour)
        return Prices().cost("claude-sonnet-4-5", usage)

    assert cost(0) == pytest.approx(0.375)
    assert cost(100_000) == pytest.approx(0.60)
    assert cost(40_000) == pytest.approx(0.6 * 0.375 + 0.4 * 0.60)


def test_a_price_of_one_s_own_for_what_is_kept_for_an_hour() -> None:
    usage = Usage(1000, 0, 0, 1000, 400)
    own = {"input": 1, "output": 1, "cache_write": 10}
    assert Prices({"m": own}).cost("m", usage) == pytest.approx(0.01)
    own["cache_write_1h"] = 100
    assert Prices({"m": own}).cost("m", usage) == pytest.approx(0.006 + 0.04)


def test_what_the_provider_says_comes_before_the_table_and_after_one_s_own_price() -> None:
    told = Usage(1000, 100, cost=0.0123)
    for model in ("openrouter/some/new-model", "gpt-4o"):
        assert Prices().cost(model, told) == 0.0123
    assert Prices({"m": OWN}).cost("m", told) == Prices({"m": OWN}).cost("m", Usage(1000, 100))


TOLD = [
    # usage beside the tokens, and the cost that it tells
    ({"cost": 0.0123}, 0.0123),
    ({"cost": 0}, 0.0),
    ({"cost": {"input_tokens_cost": 0.001, "total_cost": 0.004}}, 0.004),
    ({"cost": 0.05, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.04}}, 0.05),
    ({"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": 1.0}}, 1.05),
    ({"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, 0.05),
    ({"cost": None}, None),
    ({"cost": "0.05"}, None),
    ({"cost": True}, None),
    ({"cost": -1}, None),
    ({"cost": float("nan")}, None),
    ({}, None),
]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(("extra", "cost"), TOLD, ids=repr)
def test_a_cost_that_the_provider_tells(dialect: Dialect, extra: Any, cost: float | None) -> None:
    tokens = dict.fromkeys(
        ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"), 10
    )
    usage = dialect.usage({"usage": {**tokens, **extra}}, None)
    assert usage is not None
    assert usage.cost == cost


def test_anthropic_s_stream_tells_what_is_kept_for_an_hour_at_its_beginning() -> None:
    lifetimes = {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 400}
    begun = {"input_tokens": 5, "cache_creation_input_tokens": 500, "cache_creation": lifetimes}
    dialect = AnthropicMessages()
    usage = dialect.usage({"type": "message_start", "message": {"usage": begun}}, None)
    usage = dialect.usage({"type": "message_delta", "usage": {"output_tokens": 7}}, usage)
    assert usage == Usage(505, 7, 0, 500, 400)
    usage = dialect.usage({"usage": {"output_tokens": 8, "cost": 0.5}}, usage)
    assert usage == Usage(505, 8, 0, 500, 400, 0.5)


@pytest.mark.parametrize("model", ["", "nobodys-model", "scripted", "openai/", "/", "gpt"])
def test_an_unlisted_model_s_cost_is_not_known(model: str) -> None:
    assert Prices().cost(model, Usage(1000, 100)) is None


def test_without_its_usage_a_call_s_cost_is_not_known() -> None:
    assert Prices({"m": OWN}).cost("m", None) is None


def test_what_no_table_lists_needs_a_price_of_one_s_own() -> None:
    """Embeddings, for example, are in no table (genai-prices 0.2)."""
    model = "text-embedding-3-small"
    assert Prices().cost(model, Usage(1000, 0)) is None
    assert Prices({model: {"input": 20, "output": 0}}).cost(model, Usage(1000, 0)) == 0.02


def test_prices_are_loaded_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text('{"m": {"input": 1, "output": 2.5}, "ü/m": {"input": 0, "output": 0}}')
    assert Prices.load(file).cost("m", Usage(MILLION, MILLION)) == 3.5
    file.write_text("{}")
    assert Prices.load(file).cost("gpt-4o", Usage(1, 1))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "cannot be read"),
        ("no JSON", "cannot be read"),
        ("[]", "object of models"),
        ({"m": 5}, "'m'"),
        ({"m": {}}, "input and output"),
        ({"m": {"input": 1}}, "input and output"),
        ({"m": {"input": 1, "output": 2, "cached": 3}}, "cache_read and cache_write"),
        ({"m": {"input": -1, "output": 2}}, "input is -1"),
        ({"m": {"input": "1", "output": 2}}, "input is '1'"),
        ({"m": {"input": True, "output": 2}}, "input is True"),
        ({"m": {"input": None, "output": 2}}, "input is None"),
        ({"m": {"input": float("nan"), "output": 2}}, "input is nan"),
        ({"a": {"input": 1, "output": 2}, "b": {"input": 1, "output": []}}, "'b'"),
    ],
    ids=str,
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: Any, told: str) -> None:
    file = tmp_path / "prices.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(SettingsError) as failure:
        Prices.load(file)
    assert told in str(failure.value)
    assert str(file) in str(failure.value)


def test_an_infinite_price_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text('{"m": {"input": Infinity, "output": 1e999}}')
    with pytest.raises(SettingsError):
        Prices.load(file)


def test_a_missing_file_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read") as failure:
        Prices.load(tmp_path / "missing.json")
    assert "missing.json" in str(failure.value)
