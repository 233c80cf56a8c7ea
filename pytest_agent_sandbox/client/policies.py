"""Which actions of an agent wait for a confirmation, and who judges their risk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from pytest_agent_sandbox.errors import SettingsError

#: What `confirm=` and `set_confirmation_policy` take.
ConfirmationPolicy = bool | str | Mapping[str, Any] | BaseModel
#: What `security_analyzer=` and `set_security_analyzer` take.
SecurityAnalyzer = str | Mapping[str, Any] | BaseModel

# Of agent server 1.58.
_POLICIES: Final[dict[str, dict[str, Any]]] = {
    "always": {"kind": "AlwaysConfirm"},
    "never": {"kind": "NeverConfirm"},
    "risky": {"kind": "ConfirmRisky"},
}
_ANALYZERS: Final[dict[str, dict[str, Any]]] = {
    "llm": {"kind": "LLMSecurityAnalyzer"},
    "pattern": {"kind": "PatternSecurityAnalyzer"},
    "policy_rail": {"kind": "PolicyRailSecurityAnalyzer"},
}


def policy_payload(policy: ConfirmationPolicy) -> dict[str, Any]:
    """Return a confirmation policy as the server takes it.

    Raises:
        SettingsError: It is none.
    """
    if isinstance(policy, bool):
        policy = "always" if policy else "never"
    return _payload(policy, _POLICIES, "confirm")


def analyzer_payload(analyzer: SecurityAnalyzer) -> dict[str, Any]:
    """Return a security analyzer as the server takes it.

    Raises:
        SettingsError: It is none.
    """
    return _payload(analyzer, _ANALYZERS, "security_analyzer")


def needs_analyzer(policy: Mapping[str, Any]) -> bool:
    """Tell whether a policy goes by risk: without an analyzer, all risks are unknown to it."""
    return policy.get("kind") == "ConfirmRisky"


def _payload(value: object, known: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    if isinstance(value, str) and value in known:
        return dict(known[value])
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping) and isinstance(value.get("kind"), str):
        return dict(value)
    names = ", ".join(repr(one) for one in known)
    raise SettingsError(
        f'{name}={value!r}: it takes {names}, or a dict as the server has it, {{"kind": "…"}}'
    )
