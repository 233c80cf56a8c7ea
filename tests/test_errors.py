"""Every error, and whose fault it is; docs/results.md says the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_agent_sandbox import errors
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.evidence.story import WHOSE

FAULTS = {
    "BudgetExceeded": "budget",
    "CassetteError": "script",
    "CassetteMiss": "script",
    "CassetteUnused": "script",
    "CommandTimeout": "sandbox",
    "ConversationClosed": "test",
    "ConversationFailed": "agent",
    "ConversationMisused": "test",
    "ConversationTimeout": "agent",
    "EngineUnavailable": "sandbox",
    "FaultUnused": "script",
    "ImageBuildFailed": "sandbox",
    "ImagePushFailed": "sandbox",
    "ImageNotFound": "sandbox",
    "ImagePullFailed": "sandbox",
    "LLMScriptError": "script",
    "LLMScriptExhausted": "script",
    "LLMScriptMismatch": "script",
    "LLMScriptUnused": "script",
    "SandboxDied": "sandbox",
    "SandboxError": "sandbox",
    "SandboxPaused": "sandbox",
    "SandboxStartFailed": "sandbox",
    "ServerError": "sandbox",
    "ServiceUnavailable": "test",
    "SettingsError": "test",
}

RESULTS = Path(__file__).parent.parent / "docs" / "results.md"


def _all_errors() -> dict[str, type[SandboxError]]:
    found = vars(errors).items()
    return {
        name: value
        for name, value in found
        if isinstance(value, type) and issubclass(value, BaseException)
    }


def test_each_error_has_a_row() -> None:
    assert set(_all_errors()) == set(FAULTS)
    assert set(FAULTS.values()) <= set(WHOSE)


@pytest.mark.parametrize("name", FAULTS)
def test_whose_fault_an_error_is(name: str) -> None:
    assert _all_errors()[name].fault == FAULTS[name]


@pytest.mark.parametrize("name", FAULTS)
def test_the_docs_say_whose_fault_an_error_is(name: str) -> None:
    rows = {
        row.split("|")[1].strip().strip("`"): row
        for row in RESULTS.read_text("utf-8").splitlines()
        if row.startswith("| `")
    }
    assert f"`{name}`" in rows[FAULTS[name]]
