"""Regression tests for AI agents that run, for real, in a sandbox.

The names below load on first use: `import pytest_agent_sandbox` itself costs next to nothing,
because pytest imports this package in every project that has it installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_agent_sandbox.client.acp import acp_agent
    from pytest_agent_sandbox.client.agents import LLM, Agent, Tool, default_agent
    from pytest_agent_sandbox.client.client_tools import client_tool
    from pytest_agent_sandbox.client.conversation import RemoteConversation
    from pytest_agent_sandbox.client.skills import Skill
    from pytest_agent_sandbox.client.versions import AgentServerVersionWarning
    from pytest_agent_sandbox.client.workspace import RemoteWorkspace
    from pytest_agent_sandbox.engines.docker.dev_workspace import DockerDevWorkspace
    from pytest_agent_sandbox.engines.docker.workspace import DockerWorkspace
    from pytest_agent_sandbox.engines.engine import EngineContext, SandboxEngine, SandboxRequest
    from pytest_agent_sandbox.expectations.expect import expect
    from pytest_agent_sandbox.expectations.trajectory import trajectory
    from pytest_agent_sandbox.host.host_route import HostRoute
    from pytest_agent_sandbox.llm.replies import delay, error, say, tool, unchecked
    from pytest_agent_sandbox.sandbox.gateway import HostGateway, LLMEndpoint
    from pytest_agent_sandbox.sandbox.workspace import Workspace
    from pytest_agent_sandbox.standalone import Conversation

_HOMES = {
    "Agent": "client.agents",
    "AgentServerVersionWarning": "client.versions",
    "Conversation": "standalone",
    "DockerDevWorkspace": "engines.docker.dev_workspace",
    "DockerWorkspace": "engines.docker.workspace",
    "EngineContext": "engines.engine",
    "HostGateway": "sandbox.gateway",
    "HostRoute": "host.host_route",
    "LLM": "client.agents",
    "LLMEndpoint": "sandbox.gateway",
    "RemoteConversation": "client.conversation",
    "RemoteWorkspace": "client.workspace",
    "SandboxEngine": "engines.engine",
    "SandboxRequest": "engines.engine",
    "Skill": "client.skills",
    "Tool": "client.agents",
    "Workspace": "sandbox.workspace",
    "acp_agent": "client.acp",
    "client_tool": "client.client_tools",
    "default_agent": "client.agents",
    "delay": "llm.replies",
    "error": "llm.replies",
    "expect": "expectations.expect",
    "say": "llm.replies",
    "tool": "llm.replies",
    "trajectory": "expectations.trajectory",
    "unchecked": "llm.replies",
}

__all__ = [
    "LLM",
    "Agent",
    "AgentServerVersionWarning",
    "Conversation",
    "DockerDevWorkspace",
    "DockerWorkspace",
    "EngineContext",
    "HostGateway",
    "HostRoute",
    "LLMEndpoint",
    "RemoteConversation",
    "RemoteWorkspace",
    "SandboxEngine",
    "SandboxRequest",
    "Skill",
    "Tool",
    "Workspace",
    "acp_agent",
    "client_tool",
    "default_agent",
    "delay",
    "error",
    "expect",
    "say",
    "tool",
    "trajectory",
    "unchecked",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
