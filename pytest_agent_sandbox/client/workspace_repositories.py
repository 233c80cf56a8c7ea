"""Git repositories that come into a workspace."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from pytest_agent_sandbox.client.asynchronous import InThread
from pytest_agent_sandbox.client.commands import left_until
from pytest_agent_sandbox.client.repositories import (
    CloneResult,
    RepoMapping,
    Repository,
    as_repository,
    repos_context,
    unique_folders,
)
from pytest_agent_sandbox.client.resources.settings import Secrets
from pytest_agent_sandbox.client.workspace_commands import WorkspaceCommands
from pytest_agent_sandbox.errors import ServerError

#: Seconds for one repository.
CLONE_TIMEOUT = 300.0


class WorkspaceRepositories(WorkspaceCommands):
    """A workspace into which repositories are cloned."""

    def clone_repos(
        self,
        repos: Sequence[str | Mapping[str, Any] | BaseModel],
        target_dir: str | None = None,
        *,
        timeout: float = CLONE_TIMEOUT,
    ) -> CloneResult:
        """Clone git repositories into the workspace, each into a folder of its name.

        Example:
            ```python
            agent_workspace.clone_repos(
                [{"url": "https://github.com/pytest-dev/pluggy", "ref": "1.6.0"}]
            ).check()
            ```

        The sandbox's own git does it, by the sandbox's network. A private repository of GitHub,
        GitLab, Bitbucket or Azure DevOps is opened by the server's secret `github_token`,
        `gitlab_token`, `bitbucket_token` or `azure_devops_token`, where `server.secrets` has it.

        Args:
            repos: An address for each, or a dict with its `url`, a `ref` (branch, tag or commit)
                and a `provider`, which makes `owner/name` an address.
            target_dir: Where their folders go; `working_dir` by default.
            timeout: Seconds for each.

        Returns:
            Which are there and which are not; its `check()` fails where one is not.

        Raises:
            SettingsError: What is given is no repository.
            ServerError: The server did not run git, or did not tell of a secret in time.
        """
        token = cache(self._token)
        mappings: dict[str, RepoMapping] = {}
        errors: dict[str, str] = {}
        for name, one in unique_folders(map(as_repository, repos)).items():
            path = self.path(posixpath.join(target_dir or "", name))
            end = time.monotonic() + timeout
            with self.connection.time.within(timeout):
                secret = token(one.token_name)
            error = self._clone(one, path, secret, left_until(end))
            if error is None:
                mappings[one.name] = RepoMapping(one.name, name, path, one.ref)
            else:
                errors[one.name] = error
        return CloneResult(len(mappings), list(errors), mappings, errors)

    def get_repos_context(self, repo_mappings: Mapping[str, RepoMapping]) -> str:
        """Return what to tell an agent of the repositories, for the beginning of a message.

        Args:
            repo_mappings: Those of a result of `clone_repos`.
        """
        return repos_context(repo_mappings)

    def _clone(
        self, repository: Repository, path: str, token: str | None, timeout: float
    ) -> str | None:
        command = repository.command(path, has_token=token is not None)
        env = None if token is None else {"TOKEN": token}
        result = self.execute_command(command, timeout=timeout, env=env)
        if result.timed_out:
            return f"git was not done within {timeout:.3g} s."
        return None if result.exit_code == 0 else result.stderr.strip()

    def _token(self, name: str | None) -> str | None:
        if name is None:
            return None
        try:
            return Secrets(self.connection).value(name).get_secret_value() or None
        except ServerError as error:
            if error.status != HTTPStatus.NOT_FOUND:  # else there is none
                raise
            return None

    aclone_repos = InThread(clone_repos)
