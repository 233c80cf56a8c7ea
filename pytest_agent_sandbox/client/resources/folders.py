"""The folders that an agent server's clients offer to work in, and those that there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_agent_sandbox.client.pages import items
from pytest_agent_sandbox.client.resources.resource import Resource


class Folders(Resource):
    """`/api/workspaces`: folders by name, of the server's own clients."""

    path = "/api/workspaces"

    def list(self) -> dict[str, Any]:
        """Return the `workspaces`, and the `workspaceParents` that have more of them."""
        return self._object("GET")

    def add(self, workspaces: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Add folders, each with a `name` and a `path`; return all."""
        return self._object("POST", body={"workspaces": list(workspaces)})

    def delete(self, path: str) -> None:
        """Remove a folder from the list; the folder itself stays."""
        self._ask("DELETE", params={"path": path})

    def home(self) -> dict[str, Any]:
        """Return the server's `home` folder, and others that are often used."""
        answer = self._connection.get_json("/api/file/home")
        return dict(answer)

    def inside(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the folders in a folder of the sandbox."""
        return items(
            self._connection, "/api/file/search_subdirs", {"path": path, "limit": 100}, timeout=60.0
        )
