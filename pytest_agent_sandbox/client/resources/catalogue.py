"""What an agent server can offer: tools and models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_agent_sandbox.client.resources.resource import Resource, given


class Tools(Resource):
    """`/api/tools`: the tools that agents can have."""

    path = "/api/tools"

    def names(self) -> list[str]:
        """Return the names of the tools that are registered."""
        return self._list("GET", "")

    def catalog(self) -> list[dict[str, Any]]:
        """Return the tools with their descriptions and settings."""
        return self._list("GET", "catalog", field="tools")


class Models(Resource):
    """`/api/llm`: the models that the server knows of; needs no key, and no internet."""

    path = "/api/llm"

    def providers(self) -> list[str]:
        """Return the names of the providers."""
        return self._list("GET", "providers", field="providers")

    def list(self, provider: str | None = None) -> list[str]:
        """Return the names of the models, of one provider or of all."""
        return self._list("GET", "models", field="models", params=given(provider=provider))

    def verified(self) -> dict[str, Any]:
        """Return the names of the models that OpenHands has tried, by provider."""
        models: dict[str, Any] = self._object("GET", "models", "verified")["models"]
        return models

    def of_acp_agent(self, settings: Mapping[str, Any], *, refresh: bool = False) -> dict[str, Any]:
        """Start an ACP agent and return which models it has.

        Args:
            settings: The agent, as the server takes one.
            refresh: Ask it also where the answer is known.
        """
        path = "/api/acp/models"
        body = {"agent_settings": dict(settings), "refresh": refresh}
        answer = self._connection.request("POST", path, json=body, timeout=120.0)
        return dict(self._connection.decoded(answer))
