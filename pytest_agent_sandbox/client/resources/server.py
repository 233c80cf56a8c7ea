"""All that an agent server keeps, in one place."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from pytest_agent_sandbox.client.resources.catalogue import Models, Tools
from pytest_agent_sandbox.client.resources.conversations import Conversations
from pytest_agent_sandbox.client.resources.extensions import Hooks, Plugins, Skills, SubAgents
from pytest_agent_sandbox.client.resources.folders import Folders
from pytest_agent_sandbox.client.resources.profiles import (
    AgentProfiles,
    MetaProfiles,
    Profiles,
    ProviderConnections,
)
from pytest_agent_sandbox.client.resources.settings import McpServers, Secrets, Settings
from pytest_agent_sandbox.client.transport import ServerConnection


class AgentServer:
    """The agent server of a workspace: `agent_workspace.server`.

    Example:
        ```python
        def test_finds_the_skill(agent_workspace):
            agent_workspace.write_text(".agents/skills/hello/SKILL.md", SKILL)
            found = agent_workspace.server.skills.find(agent_workspace.working_dir)
            assert "hello" in [skill["name"] for skill in found]
        ```

    Args:
        connection: The way to the server.
        on_secret: Called with each secret before the server gets it.
    """

    def __init__(
        self,
        connection: ServerConnection,
        on_secret: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._given = (connection, on_secret)

    @cached_property
    def conversations(self) -> Conversations:
        """Its conversations."""
        return Conversations(*self._given)

    @cached_property
    def settings(self) -> Settings:
        """Its settings, and the MCP servers in them."""
        return Settings(*self._given)

    @cached_property
    def secrets(self) -> Secrets:
        """Values that agents may use by name."""
        return Secrets(*self._given)

    @cached_property
    def mcp(self) -> McpServers:
        """MCP servers that are to be tried."""
        return McpServers(*self._given)

    @cached_property
    def profiles(self) -> Profiles:
        """LLMs by name."""
        return Profiles(*self._given)

    @cached_property
    def agent_profiles(self) -> AgentProfiles:
        """Agents by name."""
        return AgentProfiles(*self._given)

    @cached_property
    def meta_profiles(self) -> MetaProfiles:
        """Rules by which a model is chosen."""
        return MetaProfiles(*self._given)

    @cached_property
    def provider_connections(self) -> ProviderConnections:
        """Keys of LLM providers."""
        return ProviderConnections(*self._given)

    @cached_property
    def skills(self) -> Skills:
        """Skills."""
        return Skills(*self._given)

    @cached_property
    def plugins(self) -> Plugins:
        """Plugins."""
        return Plugins(*self._given)

    @cached_property
    def sub_agents(self) -> SubAgents:
        """Sub-agents."""
        return SubAgents(*self._given)

    @cached_property
    def hooks(self) -> Hooks:
        """Hooks."""
        return Hooks(*self._given)

    @cached_property
    def tools(self) -> Tools:
        """The tools that agents can have."""
        return Tools(*self._given)

    @cached_property
    def models(self) -> Models:
        """The models that it knows of."""
        return Models(*self._given)

    @cached_property
    def folders(self) -> Folders:
        """Folders to work in."""
        return Folders(*self._given)
