"""Regression tests for AI agents that run, for real, in a sandbox.

The names below load on first use: `import pytest_agent_sandbox` itself costs next to nothing,
because pytest imports this package in every project that has it installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_agent_sandbox.client.acp import acp_agent
    from pytest_agent_sandbox.client.agents import (
        LLM,
        Agent,
        Tool,
        default_agent,
    )
    from pytest_agent_sandbox.client.background_commands import BackgroundCommand
    from pytest_agent_sandbox.client.client_tools import client_tool
    from pytest_agent_sandbox.client.commands import CommandResult
    from pytest_agent_sandbox.client.conversation import RemoteConversation
    from pytest_agent_sandbox.client.event_base import Event
    from pytest_agent_sandbox.client.event_log import EventLog, ToolCall
    from pytest_agent_sandbox.client.git import GitCommit
    from pytest_agent_sandbox.client.resources.server import AgentServer
    from pytest_agent_sandbox.client.skills import Skill
    from pytest_agent_sandbox.client.upstream_names import get_default_agent, get_logger
    from pytest_agent_sandbox.client.versions import AgentServerVersionWarning
    from pytest_agent_sandbox.client.workspace import RemoteWorkspace
    from pytest_agent_sandbox.engines.docker.dev_workspace import DockerDevWorkspace
    from pytest_agent_sandbox.engines.docker.workspace import DockerWorkspace
    from pytest_agent_sandbox.engines.engine import EngineContext, SandboxEngine, SandboxRequest
    from pytest_agent_sandbox.engines.hosted.cloud import OpenHandsCloudWorkspace
    from pytest_agent_sandbox.engines.hosted.runtime_api import APIRemoteWorkspace
    from pytest_agent_sandbox.engines.process.apptainer import ApptainerWorkspace
    from pytest_agent_sandbox.errors import (
        BudgetExceeded,
        CassetteError,
        CassetteMiss,
        CassetteUnused,
        CommandTimeout,
        ConversationClosed,
        ConversationFailed,
        ConversationMisused,
        ConversationTimeout,
        EngineUnavailable,
        FaultUnused,
        ImageBuildFailed,
        ImageNotFound,
        ImagePullFailed,
        ImagePushFailed,
        LLMScriptError,
        LLMScriptExhausted,
        LLMScriptMismatch,
        LLMScriptUnused,
        SandboxDied,
        SandboxError,
        SandboxPaused,
        SandboxStartFailed,
        ServerError,
        ServiceUnavailable,
        SettingsError,
    )
    from pytest_agent_sandbox.expectations.expect import expect
    from pytest_agent_sandbox.expectations.trajectory import trajectory
    from pytest_agent_sandbox.host.host_route import HostRoute
    from pytest_agent_sandbox.llm.calls import LLMCall
    from pytest_agent_sandbox.llm.replies import (
        Entry,
        LLMRequest,
        Reply,
        delay,
        error,
        say,
        tool,
        unchecked,
    )
    from pytest_agent_sandbox.plugin.agent_llm import AgentLLM
    from pytest_agent_sandbox.plugin.conversation_factory import ConversationFactory
    from pytest_agent_sandbox.plugin.workspace_factory import WorkspaceFactory
    from pytest_agent_sandbox.sandbox.fresh_result import FreshCommandResult
    from pytest_agent_sandbox.sandbox.gateway import HostGateway, LLMEndpoint
    from pytest_agent_sandbox.sandbox.service_status import ServiceStatus
    from pytest_agent_sandbox.sandbox.services.readiness import Ready
    from pytest_agent_sandbox.sandbox.services.running_service import RunningService
    from pytest_agent_sandbox.sandbox.services.service import Service
    from pytest_agent_sandbox.sandbox.services.services import Services
    from pytest_agent_sandbox.sandbox.workspace import Workspace
    from pytest_agent_sandbox.settings.table import SandboxSettings
    from pytest_agent_sandbox.standalone import Conversation

_HOMES = {
    "APIRemoteWorkspace": "engines.hosted.runtime_api",
    "Agent": "client.agents",
    "AgentLLM": "plugin.agent_llm",
    "AgentServer": "client.resources.server",
    "AgentServerVersionWarning": "client.versions",
    "ApptainerWorkspace": "engines.process.apptainer",
    "BackgroundCommand": "client.background_commands",
    "BudgetExceeded": "errors",
    "CassetteError": "errors",
    "CassetteMiss": "errors",
    "CassetteUnused": "errors",
    "CommandResult": "client.commands",
    "CommandTimeout": "errors",
    "Conversation": "standalone",
    "ConversationClosed": "errors",
    "ConversationFactory": "plugin.conversation_factory",
    "ConversationFailed": "errors",
    "ConversationMisused": "errors",
    "ConversationTimeout": "errors",
    "DockerDevWorkspace": "engines.docker.dev_workspace",
    "DockerWorkspace": "engines.docker.workspace",
    "EngineContext": "engines.engine",
    "EngineUnavailable": "errors",
    "Entry": "llm.replies",
    "Event": "client.event_base",
    "EventLog": "client.event_log",
    "FaultUnused": "errors",
    "FreshCommandResult": "sandbox.fresh_result",
    "GitCommit": "client.git",
    "HostGateway": "sandbox.gateway",
    "HostRoute": "host.host_route",
    "ImageBuildFailed": "errors",
    "ImageNotFound": "errors",
    "ImagePullFailed": "errors",
    "ImagePushFailed": "errors",
    "LLM": "client.agents",
    "LLMCall": "llm.calls",
    "LLMEndpoint": "sandbox.gateway",
    "LLMRequest": "llm.replies",
    "LLMScriptError": "errors",
    "LLMScriptExhausted": "errors",
    "LLMScriptMismatch": "errors",
    "LLMScriptUnused": "errors",
    "OpenHandsCloudWorkspace": "engines.hosted.cloud",
    "Ready": "sandbox.services.readiness",
    "RemoteConversation": "client.conversation",
    "RemoteWorkspace": "client.workspace",
    "Reply": "llm.replies",
    "RunningService": "sandbox.services.running_service",
    "SandboxDied": "errors",
    "SandboxEngine": "engines.engine",
    "SandboxError": "errors",
    "SandboxPaused": "errors",
    "SandboxRequest": "engines.engine",
    "SandboxSettings": "settings.table",
    "SandboxStartFailed": "errors",
    "ServerError": "errors",
    "Service": "sandbox.services.service",
    "ServiceStatus": "sandbox.service_status",
    "ServiceUnavailable": "errors",
    "Services": "sandbox.services.services",
    "SettingsError": "errors",
    "Skill": "client.skills",
    "Tool": "client.agents",
    "ToolCall": "client.event_log",
    "Workspace": "sandbox.workspace",
    "WorkspaceFactory": "plugin.workspace_factory",
    "acp_agent": "client.acp",
    "client_tool": "client.client_tools",
    "default_agent": "client.agents",
    "delay": "llm.replies",
    "error": "llm.replies",
    "expect": "expectations.expect",
    "get_default_agent": "client.upstream_names",
    "get_logger": "client.upstream_names",
    "say": "llm.replies",
    "tool": "llm.replies",
    "trajectory": "expectations.trajectory",
    "unchecked": "llm.replies",
}

__all__ = [
    "LLM",
    "APIRemoteWorkspace",
    "Agent",
    "AgentLLM",
    "AgentServer",
    "AgentServerVersionWarning",
    "ApptainerWorkspace",
    "BackgroundCommand",
    "BudgetExceeded",
    "CassetteError",
    "CassetteMiss",
    "CassetteUnused",
    "CommandResult",
    "CommandTimeout",
    "Conversation",
    "ConversationClosed",
    "ConversationFactory",
    "ConversationFailed",
    "ConversationMisused",
    "ConversationTimeout",
    "DockerDevWorkspace",
    "DockerWorkspace",
    "EngineContext",
    "EngineUnavailable",
    "Entry",
    "Event",
    "EventLog",
    "FaultUnused",
    "FreshCommandResult",
    "GitCommit",
    "HostGateway",
    "HostRoute",
    "ImageBuildFailed",
    "ImageNotFound",
    "ImagePullFailed",
    "ImagePushFailed",
    "LLMCall",
    "LLMEndpoint",
    "LLMRequest",
    "LLMScriptError",
    "LLMScriptExhausted",
    "LLMScriptMismatch",
    "LLMScriptUnused",
    "OpenHandsCloudWorkspace",
    "Ready",
    "RemoteConversation",
    "RemoteWorkspace",
    "Reply",
    "RunningService",
    "SandboxDied",
    "SandboxEngine",
    "SandboxError",
    "SandboxPaused",
    "SandboxRequest",
    "SandboxSettings",
    "SandboxStartFailed",
    "ServerError",
    "Service",
    "ServiceStatus",
    "ServiceUnavailable",
    "Services",
    "SettingsError",
    "Skill",
    "Tool",
    "ToolCall",
    "Workspace",
    "WorkspaceFactory",
    "acp_agent",
    "client_tool",
    "default_agent",
    "delay",
    "error",
    "expect",
    "get_default_agent",
    "get_logger",
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
