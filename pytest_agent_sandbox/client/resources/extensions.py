"""What agents can be given: skills, plugins, sub-agents, hooks."""

from __future__ import annotations

from typing import Any

from pytest_agent_sandbox.client.answers import an_object
from pytest_agent_sandbox.client.resources.resource import Resource, given


class Installable(Resource):
    """What is installed for all conversations to come: the last word of the path names it."""

    @property
    def _field(self) -> str:
        return self.path.rpartition("/")[2]

    def install(
        self,
        source: str,
        *,
        ref: str | None = None,
        repo_path: str | None = None,
        force: bool = False,
    ) -> dict[str, Any]:
        """Install one for all conversations to come.

        Args:
            source: A git repository, or a folder in the sandbox.
            ref: A branch, tag or commit of the repository.
            repo_path: Where in the repository it is.
            force: Replace one that is installed already.
        """
        body = given(source=source, ref=ref, repo_path=repo_path, force=force)
        return self._object("POST", "install", body=body)

    def installed(self) -> list[dict[str, Any]]:
        """Return those that are installed."""
        return self._list("GET", "installed", field=self._field)

    def get(self, name: str) -> dict[str, Any]:
        """Return one that is installed."""
        return self._object("GET", "installed", name)

    def enable(self, name: str, enabled: bool = True) -> None:
        """Say whether conversations to come have it."""
        self._ask("PATCH", "installed", name, body={"enabled": enabled})

    def uninstall(self, name: str) -> None:
        """Remove one."""
        self._ask("DELETE", "installed", name)

    def refresh(self, name: str) -> dict[str, Any]:
        """Install one anew from where it came."""
        return self._object("POST", "installed", name, "refresh")

    def marketplace(self) -> list[dict[str, Any]]:
        """Return those that the server knows of."""
        return self._list("GET", "marketplace", field=self._field)


class Skills(Installable):
    """`/api/skills`: texts that agents are given when they need them."""

    path = "/api/skills"

    def find(self, project_dir: str | None = None, **load: Any) -> list[dict[str, Any]]:
        """Return the skills that a conversation in a folder would have.

        Args:
            project_dir: The folder, in the sandbox.
            load: Which kinds, as the server has them: `load_public`, `load_user`, `load_project`,
                `load_org`.
        """
        body = given(project_dir=project_dir, **load)
        return self._list("POST", field="skills", body=body)

    def catalog(self) -> list[dict[str, Any]]:
        """Return all skills that the server can find."""
        return self._list("GET", "catalog", field="skills")

    def sync(self) -> dict[str, Any]:
        """Fetch the public skills anew; needs the internet."""
        return self._object("POST", "sync")


class Plugins(Installable):
    """`/api/plugins`: skills, hooks, commands and MCP servers in one."""

    path = "/api/plugins"

    def find(self, project_dir: str | None = None, **load: Any) -> list[dict[str, Any]]:
        """Return the plugins that a conversation in a folder would have.

        Args:
            project_dir: The folder, in the sandbox.
            load: Which kinds, as the server has them: `load_user`, `load_project`.
        """
        body = given(project_dir=project_dir, **load)
        return self._list("POST", field="plugins", body=body)

    def fetch(
        self, source: str, *, ref: str | None = None, repo_path: str | None = None
    ) -> dict[str, Any]:
        """Fetch one into the sandbox without installing it; return what is in it."""
        return self._object(
            "POST", "fetch", body=given(source=source, ref=ref, repo_path=repo_path)
        )


class SubAgents(Resource):
    """`/api/sub-agents`: agents that an agent can give work to."""

    path = "/api/sub-agents"

    def find(self, project_dir: str | None = None, **load: Any) -> list[dict[str, Any]]:
        """Return the sub-agents that a conversation in a folder would have.

        Args:
            project_dir: The folder, in the sandbox.
            load: Which kinds, as the server has them: `load_user`, `load_project`, `load_builtin`.
        """
        return self._list("POST", field="agents", body=given(project_dir=project_dir, **load))


class Hooks(Resource):
    """`/api/hooks`: commands that run before and after what an agent does."""

    path = "/api/hooks"

    def find(self, project_dir: str | None = None) -> dict[str, Any]:
        """Return the hooks that a conversation in a folder would have; empty for none."""
        answer = self._object("POST", body=given(project_dir=project_dir)).get("hook_config")
        return {} if answer is None else an_object(answer, self.path)
