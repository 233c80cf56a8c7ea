"""The conversations that an agent server has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_agent_sandbox.client.answers import a_number
from pytest_agent_sandbox.client.resources.resource import Resource, given


class Conversations(Resource):
    """`/api/conversations`: all conversations of the server, whoever began them."""

    path = "/api/conversations"

    def search(
        self, *, status: str | None = None, sort_order: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the conversations.

        Args:
            status: Only those of this `ExecutionStatus`.
            sort_order: `CREATED_AT`, `UPDATED_AT`, or one of these with `_DESC`, the default.
        """
        return self._pages("search", **given(status=status, sort_order=sort_order, limit=100))

    def count(self, *, status: str | None = None) -> int:
        """Return how many there are."""
        return a_number(self._ask("GET", "count", params=given(status=status)), self._at("count"))

    def get(self, conversation_id: str) -> dict[str, Any]:
        """Return what the server tells of one."""
        return self._object("GET", conversation_id)

    def delete(self, conversation_id: str) -> None:
        """Delete one, with its events."""
        self._ask("DELETE", conversation_id)

    def trajectory(self, conversation_id: str) -> bytes:
        """Return all events of one as the server packs them: a zip archive of JSON files."""
        path = f"/api/file/download-trajectory/{conversation_id}"
        return self._connection.request("GET", path, timeout=120.0).content
