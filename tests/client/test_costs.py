"""What conversations cost, by what the server tells of each of their LLMs."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pytest_agent_sandbox.client.conversation_state import ConversationStats, UnknownCost


def stats(**models: tuple[float, int]) -> ConversationStats:
    told: dict[str, Any] = {
        usage: {
            "model_name": f"openai/{usage}",
            "accumulated_cost": cost,
            "accumulated_token_usage": {"prompt_tokens": tokens},
        }
        for usage, (cost, tokens) in models.items()
    }
    return ConversationStats.model_validate({"usage_to_metrics": told})


def test_the_sum_of_all_llms() -> None:
    assert stats(agent=(0.25, 10), condenser=(0.5, 20), unused=(0.0, 0)).cost == 0.75
    assert stats().cost == 0.0


def test_a_model_without_a_price_makes_no_assertion_true() -> None:
    cost = stats(agent=(0.25, 10), local=(0.0, 20), own=(0.0, 1)).cost
    assert isinstance(cost, UnknownCost)
    assert math.isnan(cost)
    assert not cost < 1
    assert not cost >= 0
    assert str(cost) == repr(cost) == "unknown: no price is known of openai/local, openai/own"
    with pytest.raises(AssertionError, match="no price is known of openai/local"):
        assert cost < 0.1
