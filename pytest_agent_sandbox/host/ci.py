"""The signs in a process's environment that it is part of continuous integration."""

from __future__ import annotations

from collections.abc import Mapping

#: The variable that most services set, and with which a person says no: `CI=false`.
CI = "CI"
#: The variables of services that do not set `CI`, after the list of npm's ci-info; pytest itself
#: goes by `BUILD_NUMBER`.
VARIABLES = (
    "AGOLA_GIT_REF",
    "APPCENTER_BUILD_ID",
    "BUDDY_WORKSPACE_ID",
    "BUILDER_OUTPUT",  # Google Cloud Build
    "BUILD_ID",  # Jenkins, and others
    "BUILD_NUMBER",
    "CI_NAME",  # Codeship
    "CI_XCODE_PROJECT",
    "CODEBUILD_BUILD_ARN",  # AWS
    "CODEBUILD_BUILD_ID",
    "CONTINUOUS_INTEGRATION",
    "GERRIT_PROJECT",
    "GO_PIPELINE_LABEL",
    "HARNESS_BUILD_ID",
    "HEROKU_TEST_RUN_ID",
    "HUDSON_URL",
    "JENKINS_URL",
    "PROW_JOB_ID",
    "SCREWDRIVER",
    "TASKCLUSTER_ROOT_URL",
    "TEAMCITY_VERSION",
    "TF_BUILD",  # Azure Pipelines
    "bamboo_planKey",
)
_OFF = {"0", "false", "no", "off"}


def is_in_ci(environment: Mapping[str, str]) -> bool:
    """Tell whether this is a run of continuous integration.

    `CI` decides where it is set to anything, also for a service that is known by another variable.

    Args:
        environment: The process's.
    """
    said = environment.get(CI, "").strip().lower()
    if said:
        return said not in _OFF
    return any(environment.get(name, "").strip().lower() not in {"", *_OFF} for name in VARIABLES)
