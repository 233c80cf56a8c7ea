"""The prices of LLM calls, from a library's table that a user can override."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.llm.replies import Usage

_MILLION = 1_000_000
_KINDS = ("input", "output", "cache_read", "cache_write", "cache_write_1h")


class Prices:
    """Prices by the model's name, in US dollars for a million tokens.

    Args:
        own: The user's own prices: `{"my-model": {"input": 0.5, "output": 1.5}}`. `cache_read` and
            `cache_write` may be given too; by default both cost what `input` does. So may
            `cache_write_1h`, of what is kept for an hour; by default it costs what `cache_write`
            does.
    """

    def __init__(self, own: Mapping[str, Mapping[str, float]] | None = None) -> None:
        self._own = own or {}

    @classmethod
    def load(cls, file: Path) -> Prices:
        """Load the user's own prices from a JSON file.

        Raises:
            SettingsError: The file cannot be read, or does not hold such prices.
        """
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise SettingsError(f"llm_prices: {file} cannot be read: {problem}") from problem
        if not isinstance(content, dict):
            raise SettingsError(f"llm_prices: {file} must hold an object of models.")
        for model, price in content.items():
            _check(price, f"llm_prices: {file}, {model!r}")
        return cls(content)

    def prepare(self) -> None:
        """Load the table, which takes 0.1 s, before a call on its way has to wait for it."""
        _listed_cost("gpt-4o", Usage(1, 1))

    def cost(self, model: str, usage: Usage | None) -> float | None:
        """Return the cost in US dollars; None if the usage or the model's price is not known.

        The user's own price comes first, then what the provider says, then the table.

        Args:
            model: The model's name, with or without LiteLLM's provider prefix.
            usage: The tokens that the call used.
        """
        if usage is None:
            return None
        own = self._own_price(model)
        if own is not None:
            return _own_cost(own, usage)
        if usage.cost is not None:
            return usage.cost
        for name in (model, _end(model)):
            cost = _listed_cost(name, usage)
            if cost is not None:
                return cost
        return None

    def _own_price(self, model: str) -> Mapping[str, float] | None:
        for name in (model, _end(model)):
            if name in self._own:
                return self._own[name]
        # LiteLLM takes the provider's name away before it asks the provider.
        return next((p for name, p in self._own.items() if _end(name) == _end(model)), None)


def _end(model: str) -> str:
    return model.rpartition("/")[2]


def _own_cost(price: Mapping[str, float], usage: Usage) -> float:
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    write = price.get("cache_write", price["input"])
    total = (
        (usage.prompt_tokens - cached) * price["input"]
        + usage.cache_read_tokens * price.get("cache_read", price["input"])
        + (usage.cache_write_tokens - usage.cache_write_1h_tokens) * write
        + usage.cache_write_1h_tokens * price.get("cache_write_1h", write)
        + usage.completion_tokens * price["output"]
    )
    return total / _MILLION


def _listed_cost(model: str, usage: Usage) -> float | None:
    import genai_prices  # takes 0.1 s, and only calls of a provider need it

    for_an_hour = usage.cache_write_1h_tokens
    tokens = genai_prices.Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        **({"cache_write_1h_tokens": for_an_hour} if for_an_hour else {}),
    )
    try:
        return float(genai_prices.calc_price(tokens, model_ref=model).total_price)
    except (LookupError, ValueError):  # not listed, or not by these kinds of tokens
        return None


def _check(price: Any, where: str) -> None:
    if not isinstance(price, dict) or not {"input", "output"} <= set(price) <= set(_KINDS):
        raise SettingsError(
            f"{where}: give an object with input and output, and cache_read and cache_write "
            "where they differ, and cache_write_1h, each in US dollars for a million tokens."
        )
    for kind, number in price.items():
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not is_number or not 0 <= number < math.inf:
            raise SettingsError(f"{where}: {kind} is {number!r}: give a number, 0 or more.")
