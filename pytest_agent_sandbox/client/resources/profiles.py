"""What agent servers keep for later conversations: LLMs, agents, ways to choose a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from pytest_agent_sandbox.client.agents import llm_payload
from pytest_agent_sandbox.client.resources.resource import Resource, given

if TYPE_CHECKING:
    from pytest_agent_sandbox.client.agents import LLM


class Named(Resource):
    """What the server keeps under names."""

    field = "profiles"

    def list(self) -> list[dict[str, Any]]:
        """Return all of them, without their details."""
        return self._list("GET", field=self.field)

    def get(self, name: str) -> dict[str, Any]:
        """Return one."""
        return self._object("GET", name)

    def delete(self, name: str) -> None:
        """Remove one."""
        self._ask("DELETE", name)

    def activate(self, name: str) -> dict[str, Any]:
        """Have new conversations of the server's clients begin with it; an agent by its id."""
        return self._object("POST", name, "activate")


class Profiles(Named):
    """`/api/profiles`: LLMs by name."""

    path = "/api/profiles"

    def save(self, name: str, llm: LLM | Mapping[str, Any]) -> None:
        """Keep one under a name; an earlier one of that name is replaced."""
        self._ask("POST", name, body={"llm": self._llm(llm), "include_secrets": True})

    def validate(self, name: str, llm: LLM | Mapping[str, Any]) -> dict[str, Any]:
        """Have the server try an LLM, with a call of it; return whether it is `valid`."""
        return self._object("POST", name, "validate", body={"llm": self._llm(llm)})

    def rename(self, name: str, new_name: str) -> None:
        """Give one another name."""
        self._ask("POST", name, "rename", body={"new_name": new_name})

    def _llm(self, llm: LLM | Mapping[str, Any]) -> dict[str, Any]:
        return self._described(llm_payload(llm))


class AgentProfiles(Named):
    """`/api/agent-profiles`: agents by name."""

    path = "/api/agent-profiles"

    def save(self, name: str, profile: Mapping[str, Any]) -> None:
        """Keep one under a name; an earlier one of that name is replaced."""
        self._ask("POST", name, body=self._described(profile))

    def rename(self, name: str, new_name: str) -> None:
        """Give one another name."""
        self._ask("POST", name, "rename", body={"new_name": new_name})

    def materialize(self, name: str) -> dict[str, Any]:
        """Return what an agent would be made of, and what it lacks."""
        return self._object("POST", name, "materialize")


class MetaProfiles(Named):
    """`/api/meta-profiles`: rules by which a model is chosen."""

    path = "/api/meta-profiles"
    field = "meta_profiles"

    def save(self, name: str, profile: Mapping[str, Any]) -> None:
        """Keep one under a name; an earlier one of that name is replaced."""
        self._ask("POST", name, body=self._described(profile))


class ProviderConnections(Resource):
    """`/api/llm/provider-connections`: keys of LLM providers."""

    path = "/api/llm/provider-connections"

    def list(self) -> list[dict[str, Any]]:
        """Return all of them, without their keys."""
        return self._list("GET")

    def add(
        self, name: str, api_key: SecretStr | str, *, provider: str, base_url: str | None = None
    ) -> dict[str, Any]:
        """Add one, under a name to show; return it, with its `id`."""
        body = given(
            display_name=name, api_key=self._in_clear(api_key), provider=provider, base_url=base_url
        )
        return self._object("POST", body=body)

    def update(
        self,
        connection_id: str,
        *,
        name: str | None = None,
        api_key: SecretStr | str | None = None,
        base_url: str | None = None,
    ) -> dict[str, Any]:
        """Change one; return it."""
        key = None if api_key is None else self._in_clear(api_key)
        body = given(display_name=name, api_key=key, base_url=base_url)
        return self._object("PATCH", connection_id, body=body)

    def delete(self, connection_id: str) -> None:
        """Remove one."""
        self._ask("DELETE", connection_id)
