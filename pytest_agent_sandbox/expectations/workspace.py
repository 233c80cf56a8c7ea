"""Expectations of a workspace: changed files, their content, commands that succeed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Self

from pytest_agent_sandbox.errors import SandboxError, ServiceUnavailable, SettingsError
from pytest_agent_sandbox.evidence import workspace_changes
from pytest_agent_sandbox.expectations.matching import (
    TextExpectation,
    cut,
    spelled,
    text_matches,
)
from pytest_agent_sandbox.sandbox.workspace import Workspace

if TYPE_CHECKING:
    from pytest_agent_sandbox.client.commands import CommandResult
    from pytest_agent_sandbox.client.workspace import RemoteWorkspace

__tracebackhide__ = True  # pytest shows the test's own line

_KINDS = ("added", "deleted", "modified", "renamed")
_LONGEST_OUTPUT = 2000
_LONGEST_FILE = 600
# Seconds for a command, and for one in a fresh container with all that this takes.
_PATIENCE, _FRESH_PATIENCE = 30.0, 60.0
#: Files that a message lists.
_MOST_FILES = 15
#: What programs leave behind that nobody reviews.
CACHES = (
    "__pycache__",
    "*.pyc",
    ".cache",
    ".coverage",
    ".hypothesis",
    ".mypy_cache",
    ".npm",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    "*.egg-info",
)
#: Bytes of a diff that are read to name the files in it.
_WHOLE_DIFF = 16 * 1024**2


class WorkspaceExpectation:
    """The expectations of a workspace, as it is now; each check returns this object.

    Example:
        ```python
        expect(agent_workspace).changed_files({"FACTS.txt": "added"}).succeeds("pytest -q")
        ```

    Args:
        workspace: The workspace.
    """

    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._workspace = workspace

    def changed_files(
        self, expected: Mapping[str, str] | Iterable[str], *, ignore: Sequence[str] = CACHES
    ) -> Self:
        """Check that these files changed, and no others, since the first conversation began.

        In a workspace that no conversation of the fixture `agent_conversation` has worked in: since
        the last commit. Files that git ignores do not count.

        Args:
            expected: The paths from the workspace's folder, alone or each with its change:
                `added`, `deleted`, `modified` or `renamed`.
            ignore: Patterns, as of a shell, of files and folders that may change: by their name,
                wherever they are, or by their path. A path in `expected` is checked all the same.
                By default the caches of programs: `__pycache__`, `.pytest_cache` and the like.

        Raises:
            AssertionError: Other files changed, or some of these did not.
            SandboxError: It cannot be found out which files changed.
            SettingsError: The expected files are given in another form.
        """
        wanted = _checked(expected)
        patterns = _checked_patterns(ignore)
        found = {
            path: what
            for path, what in self._changes().items()
            if path in wanted or not _is_ignored(path, patterns)
        }
        problems = [
            f"{path}: {what}, which was not expected"
            for path, what in found.items()
            if path not in wanted
        ]
        for path, what in wanted.items():
            if path not in found:
                problems.append(f"{path}: expected to be {what or 'changed'}, and is as it was")
            elif what and found[path] != what:
                problems.append(f"{path}: expected to be {what}, and was {found[path]}")
        if problems:
            more = len(problems) - _MOST_FILES
            shown = [*problems[:_MOST_FILES], *([f"… and {more} more"] if more > 0 else [])]
            raise AssertionError("\n".join(["other files changed than expected:", *shown]))
        return self

    def succeeds(
        self,
        command: str,
        *,
        cwd: str | None = None,
        timeout: float | None = None,
        fresh: bool = False,
        copy: Sequence[str] = (),
        image: str | None = None,
    ) -> Self:
        """Check that a command exits with 0.

        Args:
            command: The command line.
            cwd: Folder to run it in; the workspace's by default.
            timeout: Seconds that it may take; by default 30, with `fresh` 60 for all of it.
            fresh: Run it out of the agent's reach, as `verify_in_fresh` does: in a fresh container
                without network, on a copy of the files that are named.
            copy: These, as `verify_in_fresh` takes them.
            image: The image of that container; the sandbox's by default.

        Raises:
            AssertionError: The command does not; the message holds the end of its output.
            SettingsError: `copy` or `image` is given without `fresh`.
            ServiceUnavailable: The workspace has no engine that could run fresh containers.
        """
        result = self._result(command, cwd, timeout, fresh, copy, image)
        if result.exit_code != 0:
            text = str(result)
            if len(text) > _LONGEST_OUTPUT:
                head, _, output = text.partition("\n")
                text = f"{head}\n…{output[-_LONGEST_OUTPUT:]}"
            raise AssertionError(text)
        return self

    def _result(
        self,
        command: str,
        cwd: str | None,
        timeout: float | None,
        fresh: bool,
        copy: Sequence[str],
        image: str | None,
    ) -> CommandResult:
        workspace = self._workspace
        if not fresh:
            if copy or image is not None:
                raise SettingsError("succeeds: copy and image are of fresh=True")
            return workspace.execute_command(
                command, cwd=cwd, timeout=_PATIENCE if timeout is None else timeout
            )
        if not isinstance(workspace, Workspace):
            raise ServiceUnavailable(
                "fresh=True: this workspace's server runs in no container of ours, and there is "
                "no engine for a fresh one."
            )
        return workspace.verify_in_fresh(
            command,
            copy=copy,
            image=image,
            cwd=cwd,
            timeout=_FRESH_PATIENCE if timeout is None else timeout,
        )

    def has_file(self, path: str, content: TextExpectation = "") -> Self:
        """Check that there is such a file, with the expected content.

        Args:
            path: The path, from the workspace's folder.
            content: A part of its text, a compiled regular expression, or a function that accepts
                the text.

        Raises:
            AssertionError: There is no such file, or it holds something else.
            SettingsError: Something else than a text is expected as its content.
        """
        try:
            text = self._workspace.read_bytes(path).decode(errors="replace")
        except (FileNotFoundError, IsADirectoryError):
            raise AssertionError(
                f"expected a file {path}, and there is none{self._changed_files()}"
            ) from None
        if not text_matches(content, text):
            raise AssertionError(
                f"expected {spelled(content)} in {path}; it holds: {cut(text, _LONGEST_FILE)!r}"
            )
        return self

    def _changed_files(self) -> str:
        try:
            return f"; files that changed: {', '.join(self._changes()) or 'none'}"
        except SandboxError:  # too much has changed, or there is no git: that is another matter
            return ""

    def _changes(self) -> dict[str, str]:
        if reason := getattr(self._workspace, "no_snapshot", ""):
            raise SandboxError(
                "It cannot be told which files have changed: it is not known how they were before "
                f"the agents. {reason}"
            )
        before = getattr(self._workspace, "before_agents", None)
        diff = self._workspace.changes_as_diff(base=before or "HEAD", max_bytes=_WHOLE_DIFF)
        found, notes = workspace_changes.read(diff)
        if notes:  # it was cut, or could not be read: what is missing must not count as unchanged
            raise SandboxError(f"It cannot be told which files have changed: {cut(notes)}")
        kinds: dict[str, str] = {}
        for change in found:  # what becomes a link is listed as deleted and as added
            kinds[change.path] = "modified" if change.path in kinds else change.status
        return kinds


def _is_ignored(path: str, patterns: Sequence[str]) -> bool:
    parts = path.split("/")
    places = {*parts, *("/".join(parts[:end]) for end in range(1, len(parts) + 1))}
    return any(fnmatchcase(place, pattern) for pattern in patterns for place in places)


def _checked_patterns(ignore: Sequence[str]) -> list[str]:
    if isinstance(ignore, str) or not all(isinstance(pattern, str) for pattern in ignore):
        raise SettingsError(f'ignore takes a list of patterns, such as ["*.log"], not {ignore!r}')
    return [pattern.rstrip("/") for pattern in ignore]


def _checked(expected: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    if isinstance(expected, str):
        raise SettingsError(
            f"Files are expected as a list or a dict, not as one text: {expected!r}"
        )
    wanted = dict(expected) if isinstance(expected, Mapping) else dict.fromkeys(expected, "")
    for path, what in wanted.items():
        if not isinstance(path, str) or (what and what not in _KINDS):
            raise SettingsError(
                f"A changed file is a path, or a path and one of {', '.join(_KINDS)}, "
                f"not {path!r}: {what!r}"
            )
    return wanted
