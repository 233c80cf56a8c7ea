"""The version control of a workspace: what was changed in it, since a commit or a snapshot."""

from __future__ import annotations

import time
from dataclasses import replace

from pytest_agent_sandbox.client import files, git
from pytest_agent_sandbox.client.asynchronous import InThread
from pytest_agent_sandbox.client.commands import left_until
from pytest_agent_sandbox.client.git import GitChange, GitCommit, GitDiff, Snapshot
from pytest_agent_sandbox.client.workspace_files import WorkspaceFiles


class WorkspaceGit(WorkspaceFiles):
    """A workspace that tells what changed in it, by the sandbox's own git."""

    def git_changes(
        self, path: str | None = None, *, base: str = "HEAD", timeout: float = git.TIMEOUT
    ) -> list[GitChange]:
        """Return which files differ from a commit, those that git does not know yet included.

        Also those that git was told not to look at (`assume-unchanged`, `skip-worktree`).

        Args:
            path: A folder; `working_dir` by default. Repositories inside of it are looked into:
                submodules since the commit that is noted of them, others since their last one.
            base: The commit to compare with.
            timeout: Seconds that it may take.

        Returns:
            One entry per file, by path from the folder. Nothing where that is no repository.

        Raises:
            FileNotFoundError: There is no such folder.
            ServerError: git failed, is not installed in the sandbox, was not done in time, or
                cannot tell it all: a folder may not be read, a filter such as git-crypt is missing.
                It names what can be told.
        """
        folder = self.path(path or "")
        try:
            with self.connection.time.within(timeout):
                return git.changes(self.connection, folder, base, timeout=timeout)
        except FileNotFoundError:
            if path is None:  # nothing was done in it yet
                return []
            raise

    def git_diff(self, path: str, *, base: str = "HEAD", timeout: float = git.TIMEOUT) -> GitDiff:
        """Return both texts of a file: in a commit, and now; `.unified()` compares them.

        Args:
            path: The file.
            base: The commit.
            timeout: Seconds that it may take.

        Raises:
            FileNotFoundError: The file exists neither there nor here.
            IsADirectoryError: It is a folder.
            ServerError: git is not installed in the sandbox, or was not done in time.
        """
        with self.connection.time.within(timeout):
            found = git.diff(self.connection, self.path(path), base, timeout=timeout)
        return replace(found, path=path)

    def git_commits(
        self, path: str | None = None, *, most: int = 100, timeout: float = git.TIMEOUT
    ) -> list[GitCommit]:
        """Return the latest commits of a repository, the latest first; none where it has none.

        Args:
            path: The repository's folder; `working_dir` by default.
            most: How many at most.
            timeout: Seconds that it may take.

        Raises:
            FileNotFoundError: There is no such folder.
            ServerError: git failed, or was not done in time.
        """
        with self.connection.time.within(timeout):
            return git.commits(self.connection, self.path(path or ""), most, timeout=timeout)

    def snapshot(self, *, timeout: float = git.TIMEOUT) -> Snapshot:
        """Keep the files below `working_dir` as they are now, to compare with later.

        Ignored files are left out. The repository, if there is one, stays as it is; what git needs
        to remember is kept elsewhere in the sandbox, for as long as that lives. Of files over 8 MiB
        that is their size and git's id.

        Args:
            timeout: Seconds that it may take.

        Raises:
            ServerError: git failed, is not installed in the sandbox, or was not done in time.
        """
        end = time.monotonic() + timeout
        try:
            return git.snapshot(self.connection, self.working_dir, timeout=timeout)
        except FileNotFoundError:
            files.make_folder(self.connection, self.working_dir, left_until(end))
            return git.snapshot(self.connection, self.working_dir, timeout=left_until(end))

    def changes_as_diff(
        self,
        *,
        base: str | Snapshot = "HEAD",
        max_bytes: int = 200_000,
        timeout: float = git.TIMEOUT,
    ) -> str:
        """Return all changes below `working_dir` as one text, in git's diff format.

        New files are included, ignored ones are not; binary files are only named, and those over
        8 MiB with their sizes. In a folder that is no repository all files are new. What is in
        repositories inside is included, commits as well. They and their indexes stay as they are.

        Args:
            base: The commit to compare with, or what `snapshot` returned.
            max_bytes: Length after which the text is cut, with a note that says so.
            timeout: Seconds that it may take.

        Returns:
            The diff; at its end a note of what git cannot tell, if there is such.

        Raises:
            ServerError: git failed, is not installed in the sandbox, or was not done in time.
        """
        try:
            with self.connection.time.within(timeout):
                return git.changes_as_diff(
                    self.connection,
                    self.working_dir,
                    base=base,
                    max_bytes=max_bytes,
                    timeout=timeout,
                )
        except FileNotFoundError:
            return ""

    # Their awaitable forms.
    agit_changes = InThread(git_changes)
    agit_commits = InThread(git_commits)
    agit_diff = InThread(git_diff)
    asnapshot = InThread(snapshot)
    achanges_as_diff = InThread(changes_as_diff)
