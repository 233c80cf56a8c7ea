"""The changes in a folder of the sandbox, by git, which leaves no trace in it.

Everything is asked of the sandbox's own git, which writes to a scratch folder alone (see
`git_files.sh`), so that the repository's index, objects and configuration stay as they are. The
server's own endpoints are not used: they refuse names with spaces and limit files to 1 MiB.

All files of a folder become one tree, those of repositories inside of it included, and two such
trees are compared: so it does not matter where repositories came, went or got commits meanwhile.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from enum import StrEnum

from pytest_agent_sandbox.client import files
from pytest_agent_sandbox.client.git_script import GitScript, words
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import ServerError

#: Seconds that it may take to look at a folder.
TIMEOUT = 120.0
_MOST_TOLD = 20


@dataclass(frozen=True)
class Snapshot:
    """All files of a folder at one moment, kept in the sandbox: see `RemoteWorkspace.snapshot`.

    Attributes:
        tree: git's id of them; empty where there were none.
        objects: Folder in the sandbox, outside of the workspace, with what git needs to show them;
            empty where it needs nothing.
        repositories: Paths of the repositories that were inside of the folder.
        problems: What git could not see.
    """

    tree: str
    objects: str
    repositories: tuple[str, ...] = ()
    problems: str = ""


@dataclass(frozen=True)
class GitCommit:
    """A commit.

    Attributes:
        sha: Its id.
        subject: The first line of its message.
        author: Who made the change.
        timestamp: When, as git has it in ISO 8601.
    """

    sha: str
    subject: str
    author: str
    timestamp: str


class GitChangeStatus(StrEnum):
    """The kind of a change to a file."""

    ADDED = "ADDED"
    DELETED = "DELETED"
    UPDATED = "UPDATED"


_STATUSES = {
    "A": GitChangeStatus.ADDED,
    "D": GitChangeStatus.DELETED,
    "M": GitChangeStatus.UPDATED,
}


@dataclass(frozen=True)
class GitChange:
    """One file that differs from the base: what happened to it, and its path from the folder.

    Bytes of the path that are not UTF-8 are kept by `surrogateescape`.
    """

    status: GitChangeStatus
    path: str


@dataclass(frozen=True)
class GitDiff:
    """Both texts of one file: at the base and now. None where there is no such file."""

    path: str
    original: str | None
    modified: str | None

    def unified(self) -> str:
        """Return the difference as a unified diff; empty if there is none."""
        if self.original == self.modified:
            return ""
        lines = difflib.unified_diff(
            (self.original or "").splitlines(keepends=True),
            (self.modified or "").splitlines(keepends=True),
            "/dev/null" if self.original is None else f"a/{self.path}",
            "/dev/null" if self.modified is None else f"b/{self.path}",
        )
        return "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            for line in lines
        )


def changes(
    connection: ServerConnection, folder: str, base: str = "HEAD", *, timeout: float = TIMEOUT
) -> list[GitChange]:
    """Return what differs between the commit `base` and the files below `folder`, by path.

    Files that git ignores are left out. Nothing where `folder` is in no repository.

    Raises:
        FileNotFoundError: There is no such folder.
        ServerError: git failed, is not installed, knows no such commit, cannot tell it all, or was
            not done in time.
    """
    git = GitScript(connection, folder, timeout)
    inner, left_out = git.repositories()
    answer = git.ask(
        f"take_all {words(*inner)}\nunversioned=$outer\n"
        f"since_commit {words(base, *inner)}\nprint_changes",
        fields=1,
    )
    fields = git.names(answer.fields[0]).split("\0")
    by_path = {
        path: GitChange(_STATUSES.get(raw[-1:], GitChangeStatus.UPDATED), path)
        for raw, path in zip(fields[0::2], fields[1::2], strict=False)
    }
    found = [by_path[path] for path in sorted(by_path)]
    if problems := _lines(left_out, answer.problems, answer.raw):
        known = [f"{change.status} {_shown(change.path)}" for change in found[:_MOST_TOLD]]
        known += ["…"] if len(found) > _MOST_TOLD else []
        raise ServerError(
            f"git cannot tell all that changed in {folder} of the sandbox: {problems}\n"
            f"What it can tell: {', '.join(known) or 'no changes'}"
        )
    return found


def commits(
    connection: ServerConnection, folder: str, most: int, *, timeout: float = TIMEOUT
) -> list[GitCommit]:
    """Return the latest commits of the repository at `folder`, the latest first.

    Raises:
        FileNotFoundError: There is no such folder.
        ServerError: git failed, or was not done in time.
    """
    script = GitScript(connection, folder, timeout)
    printed = script.run(
        "git='git -c safe.directory=*'; $git rev-parse -q --verify HEAD >/dev/null 2>&1 || exit 0; "
        f"exec $git log -z -{most:d} --format=%H%x1f%s%x1f%an%x1f%aI --"
    )
    parts = [line.split("\x1f") for line in printed.split("\0") if line]
    if any(len(part) != len(fields(GitCommit)) for part in parts):
        raise script.odd(printed)
    return [GitCommit(*part) for part in parts]


def snapshot(connection: ServerConnection, folder: str, *, timeout: float = TIMEOUT) -> Snapshot:
    """Keep the files below `folder` as they are now, those that git ignores left out.

    Raises:
        FileNotFoundError: There is no such folder.
        ServerError: git failed, is not installed, or was not done in time.
    """
    git = GitScript(connection, folder, timeout)
    inner, left_out = git.repositories()
    if git.is_empty:  # before most tests' first agent: git need not be started a dozen times
        return Snapshot(tree="", objects="")
    answer = git.ask(f"take_all {words(*inner)}\nprint_snapshot", fields=2)
    tree, kept = answer.fields
    return Snapshot(tree, kept, tuple(inner), _lines(left_out, answer.problems))


def changes_as_diff(
    connection: ServerConnection,
    folder: str,
    *,
    base: str | Snapshot = "HEAD",
    max_bytes: int,
    timeout: float = TIMEOUT,
) -> str:
    """Return what `changes` finds as one text in git's diff format.

    Binary and large files are only named. In a folder that is no repository, and where there is no
    commit yet, all files are new.

    Args:
        connection: The server.
        folder: Absolute path of the folder.
        base: The commit or snapshot to compare with.
        max_bytes: Length after which the text is cut, with a note that says so.
        timeout: Seconds that it may take.

    Raises:
        FileNotFoundError: There is no such folder.
        ServerError: git failed, is not installed, knows no such commit, or was not done in time.
    """
    git = GitScript(connection, folder, timeout)
    inner, left_out = git.repositories()
    if isinstance(base, Snapshot):
        new = [path for path in inner if path not in base.repositories]
        since, kept = f"since_snapshot {words(base.tree, *new)}", base.objects
    else:
        since, kept = f"since_commit {words(base, *inner)}", ""
    answer = git.ask(
        f"take_all {words(*inner)}\n{since}\nprint_diff {max_bytes}", fields=3, kept=kept
    )
    large, rest_size, rest = answer.fields
    try:
        text = "".join(_large_file(line) for line in large.split("\n") if line)
        size = len(text.encode()) + int(rest_size)
    except ValueError:
        raise git.odd(f"{large:.100} {rest_size}") from None
    text += rest
    if size > max_bytes:
        lines = text.encode()[:max_bytes].decode(errors="ignore").rpartition("\n")[0]
        text = f"{lines}\n[Cut here: the whole difference is {size} bytes.]\n"
    if isinstance(base, Snapshot):  # it was taken the same way, so everything can be told
        problems = _lines(base.problems, left_out, answer.problems)
    else:
        problems = _lines(left_out, answer.problems, answer.raw, answer.unread)
    return f"{text}[Incomplete, git says: {problems}]\n" if problems else text


def diff(
    connection: ServerConnection, path: str, base: str = "HEAD", *, timeout: float = TIMEOUT
) -> GitDiff:
    """Return both texts of the file at the absolute `path`: in the commit `base`, and now.

    Raises:
        FileNotFoundError: The file exists neither there nor here.
        IsADirectoryError: It is a folder.
        ServerError: git failed, is not installed, or knows no such commit.
    """
    git = GitScript(connection, "/", timeout)
    there, text = git.ask(f"print_file {words(base, path)}", fields=2).fields
    original = text if there == "yes" else None
    modified = None
    try:
        modified = files.read_bytes(connection, path).decode(errors="replace")
    except FileNotFoundError:
        if original is None:
            raise
    return GitDiff(path, original, modified)


def _large_file(line: str) -> str:
    """Return the section of a diff for a file that is not shown, from its sizes and git's raw line.

    It has the form that git has for binary files, and their sizes.
    """
    numbers, _, name = line.partition("\t")
    old_size, size, old_mode, mode, old_id, new_id, status = numbers.split()
    quote, name = ('"', name.removeprefix('"')) if name.startswith('"') else ("", name)
    old, new = (f"{quote}{side}/{name}" for side in "ab")
    head = f"diff --git {old} {new}\n"
    if status == "A":
        head, old = f"{head}new file mode {mode}\n", "/dev/null"
    elif status == "D":
        head, new = f"{head}deleted file mode {old_mode[1:]}\n", "/dev/null"
    elif old_mode[1:] != mode:
        head += f"old mode {old_mode[1:]}\nnew mode {mode}\n"
    sizes = " and ".join(
        "one that is not there any more" if one == "missing" else f"{int(one):,} bytes"
        for one in (old_size, size)
        if one != "-"
    )
    return f"{head}index {old_id}..{new_id}\nBinary files {old} and {new} differ: {sizes}\n"


def _shown(path: str) -> str:
    return path.encode(errors="surrogateescape").decode(errors="replace")


def _lines(*texts: str) -> str:
    return "\n".join(text for text in texts if text)
