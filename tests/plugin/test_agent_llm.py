"""The LLM of one test: where its answers come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_agent_sandbox.host.redaction import Redactor
from pytest_agent_sandbox.llm.budgets import Budget, Limits
from pytest_agent_sandbox.llm.prices import Prices
from pytest_agent_sandbox.plugin.agent_llm import AgentLLM
from pytest_agent_sandbox.settings.table import SandboxSettings


@pytest.mark.parametrize("name", ["CI", "TF_BUILD", "JENKINS_URL", "TEAMCITY_VERSION"])
def test_nothing_is_recorded_in_ci_though_there_are_keys(tmp_path: Path, name: str) -> None:
    keys = {"LLM_MODEL": "openai/gpt-4o", "LLM_API_KEY": "sk-of-nobody"}

    def mode(environment: dict[str, str]) -> str:
        llm = AgentLLM(
            test="test_it.py::test_it",
            cassette=tmp_path / "cassette.json",
            settings=SandboxSettings(),
            own=SandboxSettings(),
            prices=Prices(),
            run_budget=Budget("run", Limits()),
            secrets=Redactor(),
            environment=environment,
        )
        return llm.mode

    assert mode(keys) == "recorded"
    assert mode({**keys, name: "True"}) == "replayed"
