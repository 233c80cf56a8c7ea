"""Settings of the annotated tests, changed in code."""

import dataclasses

import pytest

from pytest_agent_sandbox import SandboxSettings


@pytest.fixture(scope="session")
def sandbox_settings(sandbox_settings: SandboxSettings) -> SandboxSettings:
    return dataclasses.replace(sandbox_settings, memory="2g", pids=512)
