"""What makes a run one of continuous integration."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_agent_sandbox.host.ci import is_in_ci
from pytest_agent_sandbox.host.redaction import Redactor
from pytest_agent_sandbox.llm.budgets import Budget, Limits
from pytest_agent_sandbox.llm.prices import Prices
from pytest_agent_sandbox.plugin.agent_llm import AgentLLM
from pytest_agent_sandbox.settings.table import SandboxSettings

# What each service sets, as its documentation has it.
SERVICES = {
    "AWS CodeBuild": {"CODEBUILD_BUILD_ID": "project:b1e6661e-e4f2"},
    "Azure Pipelines": {"TF_BUILD": "True"},
    "Bamboo": {"bamboo_planKey": "PROJECT-PLAN"},
    "GitHub Actions": {"CI": "true", "GITHUB_ACTIONS": "true"},
    "GitLab": {"CI": "true", "GITLAB_CI": "true"},
    "GoCD": {"GO_PIPELINE_LABEL": "17"},
    "Google Cloud Build": {"BUILDER_OUTPUT": "/builder/outputs"},
    "Jenkins": {"JENKINS_URL": "https://ci.example/", "BUILD_ID": "17"},
    "Prow": {"PROW_JOB_ID": "1ce07fa2"},
    "TeamCity": {"TEAMCITY_VERSION": "2024.12"},
    "one that counts": {"BUILD_NUMBER": "17"},
    "Travis": {"CI": "1"},
}


@pytest.mark.parametrize("variables", SERVICES.values(), ids=SERVICES)
def test_services(variables: dict[str, str]) -> None:
    assert is_in_ci({"PATH": "/bin", **variables})
    assert not is_in_ci({**variables, "CI": "false"})
    for name in variables.keys() - {"GITHUB_ACTIONS", "GITLAB_CI"}:  # they come with CI
        assert is_in_ci({name: "1"})


@pytest.mark.parametrize("variables", [{}, {"CI": ""}, {"CI": "0"}, {"CI": "False"}, {"CI": "no"}])
def test_a_laptop(variables: dict[str, str]) -> None:
    assert not is_in_ci({"PATH": "/bin", "TF_BUILD": "", "BUILD_ID": "false", **variables})


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
