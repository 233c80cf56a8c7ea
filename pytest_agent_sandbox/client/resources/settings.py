"""The settings of an agent server, and what belongs to them: secrets and MCP servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from pytest_agent_sandbox.client.resources.resource import Resource, given


class Settings(Resource):
    """`/api/settings`: what new conversations of the server's own clients begin with."""

    path = "/api/settings"

    def get(self) -> dict[str, Any]:
        """Return the settings; keys in them are masked."""
        return self._object("GET")

    def update(
        self,
        *,
        agent: Mapping[str, Any] | None = None,
        conversation: Mapping[str, Any] | None = None,
        misc: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Change some of the settings; return them all.

        Args:
            agent: What changes of `agent_settings`.
            conversation: What changes of `conversation_settings`.
            misc: What changes of `misc_settings`.
        """
        body = given(
            agent_settings_diff=agent,
            conversation_settings_diff=conversation,
            misc_settings_diff=misc,
        )
        return self._object("PATCH", body=self._described(body))

    def agent_schema(self) -> dict[str, Any]:
        """Return which settings of agents there are."""
        return self._object("GET", "agent-schema")

    def conversation_schema(self) -> dict[str, Any]:
        """Return which settings of conversations there are."""
        return self._object("GET", "conversation-schema")

    def add_mcp_server(self, key: str, server: Mapping[str, Any]) -> dict[str, Any]:
        """Add an MCP server, with a `command` in the sandbox or a `url`; return the settings."""
        return self._object("POST", "mcp", key, body=self._described(server))

    def update_mcp_server(self, key: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Change an MCP server; return the settings."""
        return self._object("PATCH", "mcp", key, body=self._described(changes))

    def delete_mcp_server(self, key: str) -> dict[str, Any]:
        """Remove an MCP server; return the settings."""
        return self._object("DELETE", "mcp", key)


class Secrets(Resource):
    """`/api/settings/secrets`: values that agents may use by name."""

    path = "/api/settings/secrets"

    def list(self) -> list[dict[str, Any]]:
        """Return the secrets' names and descriptions."""
        return self._list("GET", field="secrets")

    def set(self, name: str, value: str | SecretStr, *, description: str = "") -> None:
        """Keep a secret; one of that name is replaced."""
        body = {"name": name, "value": self._in_clear(value), "description": description or None}
        self._ask("PUT", body=body)

    def value(self, name: str) -> SecretStr:
        """Return a secret's value."""
        answer = self._connection.request("GET", self._at(name), timeout=60.0)
        return SecretStr(answer.text)

    def delete(self, name: str) -> None:
        """Remove a secret."""
        self._ask("DELETE", name)


class McpServers(Resource):
    """`/api/mcp`: MCP servers that are tried before they are used."""

    path = "/api/mcp"

    def test(
        self, server: Mapping[str, Any], *, name: str | None = None, timeout: float = 30.0
    ) -> dict[str, Any]:
        """Start an MCP server and return which tools it has, or why it does not work.

        Args:
            server: As `mcp_servers=` takes one: with a `command`, or a `url`.
            name: Its name.
            timeout: Seconds that it has.
        """
        body = given(server=self._described(server), name=name, timeout=timeout)
        return self._object("POST", "test", body=body, timeout=timeout + 30.0)
