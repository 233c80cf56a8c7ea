"""The live LLM that the environment names."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from pytest_agent_sandbox.llm.budgets import Budget
from pytest_agent_sandbox.llm.live import LiveSource, live_source
from pytest_agent_sandbox.plugin.skip_forecast import missing


class LiveLLM:
    """The live LLM that `LLM_MODEL`, `LLM_API_KEY` and `LLM_BASE_URL` name, if they do.

    Args:
        environment: Holds these variables.
        budget: The budget for its calls.
    """

    def __init__(self, environment: Mapping[str, str], budget: Budget) -> None:
        self._environment = environment
        self._budget = budget

    @property
    def missing(self) -> str:
        """The variables that are needed and not set, in words; empty if there are none."""
        return missing(self._environment)

    @property
    def model(self) -> str:
        """The model as LiteLLM spells it; empty if none is set."""
        return self._environment.get("LLM_MODEL", "")

    @property
    def key(self) -> str:
        """The provider's key, as it is now."""
        return self._environment.get("LLM_API_KEY", "")

    def source(self) -> LiveSource:
        """Return the source of its answers.

        Raises:
            SettingsError: The address or the key cannot be used.
        """
        return live_source(
            self.model,
            self._environment.get("LLM_BASE_URL") or None,
            SecretStr(self.key),
            budget=self._budget,
        )
