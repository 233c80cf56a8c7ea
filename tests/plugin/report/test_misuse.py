"""What openhands-sdk is given by mistake; tests/interop/test_openhands_sdk.py gives it really."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.plugin.report import misuse

REFUSES = """
def start(workspace):
    assert workspace is None, "workspace must be another"
"""


@pytest.fixture(autouse=True)
def sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openhands.sdk", ModuleType("openhands.sdk"))


def notes_of(module: str, workspace: object) -> list[str]:
    """Those of the error that a function of such a module raises."""
    functions: dict[str, Any] = {"__name__": module}
    exec(REFUSES, functions)
    with pytest.raises(AssertionError) as raised:
        functions["start"](workspace)
    misuse.explain(raised.value)
    return getattr(raised.value, "__notes__", [])


def test_a_workspace_of_ours() -> None:
    with RemoteWorkspace("http://127.0.0.1:9") as workspace:
        (note,) = notes_of("openhands.sdk.conversation.impl.local_conversation", workspace)
        assert "agent_workspace.as_openhands()" in note
        assert notes_of("a.test", workspace) == []
    assert notes_of("openhands.sdk.conversation.conversation", "./folder") == []


def test_without_the_sdk_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "openhands.sdk")
    with RemoteWorkspace("http://127.0.0.1:9") as workspace:
        assert notes_of("openhands.sdk.conversation", workspace) == []
