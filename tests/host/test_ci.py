"""What makes a run one of continuous integration."""

from __future__ import annotations

import pytest

from pytest_agent_sandbox.host.ci import is_in_ci

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
