"""What changed in a folder of the sandbox, by git, without leaving a trace in it.

Everything is asked of the sandbox's own git through a scratch index and a scratch object store, so
that the repository's index, objects and configuration stay as they are; a folder that is no
repository gets a scratch repository elsewhere. The server's own endpoints are not used: they refuse
names with spaces and limit files to 1 MiB.
"""

from __future__ import annotations

import difflib
import posixpath
import shlex
from dataclasses import dataclass
from enum import StrEnum

from pytest_agent_sandbox.client import files
from pytest_agent_sandbox.client.commands import CommandResult, run_command
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import ServerError

_TIMEOUT = 120.0
_GIT_FAILED = 128

# How deep repositories inside of a folder are looked for, and how many are looked into.
_DEPTH = 4
_MOST_INNER = 20

# `safe.directory` because files may belong to a user other than the server's; the rest undoes
# settings that change what git prints.
_SETTINGS = """
command -v git >/dev/null || { echo "git is not installed in the sandbox" >&2; exit 127; }
export GIT_OPTIONAL_LOCKS=0 GIT_CONFIG_COUNT=5 \\
  GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' \\
  GIT_CONFIG_KEY_1=core.quotePath GIT_CONFIG_VALUE_1=false \\
  GIT_CONFIG_KEY_2=core.fsmonitor GIT_CONFIG_VALUE_2=false \\
  GIT_CONFIG_KEY_3=diff.noprefix GIT_CONFIG_VALUE_3=false \\
  GIT_CONFIG_KEY_4=diff.mnemonicPrefix GIT_CONFIG_VALUE_4=false
"""

# Takes $wanted (a commit or tree) and $kept (the objects of an earlier `snapshot`, or nothing).
# Leaves $t (a scratch folder), $repository (yes or no), $base (a tree) and a scratch index with all
# of the current folder's files. Repositories inside of the folder are left to their own snapshot.
_SNAPSHOT = """
t=$(mktemp -d) || exit; trap 'rm -rf "$t"' EXIT
if [ "$(git rev-parse --is-inside-work-tree 2>/dev/null)" = true ]; then
  repository=yes
  cp "$(git rev-parse --git-path index)" "$t/index" 2>/dev/null
  objects=$(cd "$(git rev-parse --git-path objects)" && pwd) && mkdir "$t/objects" || exit
  export GIT_ALTERNATE_OBJECT_DIRECTORIES="$objects:$kept" GIT_OBJECT_DIRECTORY="$t/objects"
else
  repository=no
  export GIT_DIR="$t/repository" GIT_WORK_TREE="$PWD"
  git init -q || exit
  export GIT_ALTERNATE_OBJECT_DIRECTORIES="$kept"
fi
export GIT_INDEX_FILE="$t/index"
base=$(git rev-parse -q --verify "$wanted^{tree}") || {
  [ "$wanted" = HEAD ] || { echo "there is no commit $wanted" >&2; exit 128; }
  base=$(git hash-object -t tree -w --stdin </dev/null) || exit; }
git add -A --ignore-errors -- . 2>"$t/problems" ||
  grep -v -e '^hint:' -e '^warning:' -e 'does not have a commit checked out' "$t/problems" >&2
"""


@dataclass(frozen=True)
class Snapshot:
    """All files of a folder at one moment, kept in the sandbox: see `RemoteWorkspace.snapshot`.

    Attributes:
        tree: git's id of them.
        objects: Folder in the sandbox, outside of the workspace, with what git needs to show them.
    """

    tree: str
    objects: str


class GitChangeStatus(StrEnum):
    """What happened to a file."""

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
    """One file that differs from the base: what happened to it, and its path from the folder."""

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


def changes(connection: ServerConnection, folder: str, base: str = "HEAD") -> list[GitChange]:
    """Return what differs between the commit `base` and the files below `folder`, by path.

    Files that git ignores are left out. Nothing where `folder` is in no repository.

    Raises:
        FileNotFoundError: There is no such folder.
        ServerError: git failed, is not installed, or knows no such commit.
    """
    found = []
    for inner, commit in _repositories(connection, folder, base):
        result = _git(
            connection,
            posixpath.join(folder, inner),
            f"kept=; wanted={shlex.quote(commit)}{_SNAPSHOT}"
            "[ $repository = no ] || "
            'git diff --cached --name-status --no-renames -z --relative "$base" -- .',
        )
        fields = result.stdout.split("\0")
        found += [
            GitChange(_STATUSES.get(letter, GitChangeStatus.UPDATED), posixpath.join(inner, path))
            for letter, path in zip(fields[0::2], fields[1::2], strict=False)
        ]
    return sorted(found, key=lambda change: change.path)


def snapshot(connection: ServerConnection, folder: str) -> Snapshot:
    """Keep the files below `folder` as they are now, those that git ignores left out.

    Raises:
        FileNotFoundError: There is no such folder.
        ServerError: git failed, or is not installed.
    """
    result = _git(
        connection,
        folder,
        f"kept=; wanted=HEAD{_SNAPSHOT}"
        "git write-tree || exit\n"
        'kept=$(mktemp -d) && mv "$(git rev-parse --git-path objects)" "$kept" && echo "$kept"',
    )
    try:
        tree, kept = result.stdout.split()
    except ValueError:
        raise _odd_git(folder, result) from None
    return Snapshot(tree, posixpath.join(kept, "objects"))


def changes_as_diff(
    connection: ServerConnection, folder: str, *, base: str | Snapshot = "HEAD", max_bytes: int
) -> str:
    """Return what `changes` finds as one text in git's diff format; binary files are only named.

    In a folder that is no repository, and where there is no commit yet, all files are new.

    Args:
        connection: The server.
        folder: Absolute path of the folder.
        base: The commit or snapshot to compare with.
        max_bytes: Length after which the text is cut, with a note that says so.

    Raises:
        FileNotFoundError: There is no such folder.
        ServerError: git failed, is not installed, or knows no such commit.
    """
    texts, problems = [], ""
    size = kept = 0
    objects = base.objects if isinstance(base, Snapshot) else ""
    tree = base.tree if isinstance(base, Snapshot) else base
    for inner, commit in _repositories(connection, folder, tree):
        prefix = shlex.quote(f"{inner}/" if inner else "")
        result = _git(
            connection,
            posixpath.join(folder, inner),
            f"kept={shlex.quote(objects)}; wanted={shlex.quote(commit)}{_SNAPSHOT}"
            "git diff --cached --no-color --no-ext-diff --no-textconv --relative"
            f' --src-prefix=a/{prefix} --dst-prefix=b/{prefix} "$base" -- . >"$t/diff" || exit\n'
            f'wc -c <"$t/diff"; head -c {max_bytes - kept} "$t/diff"',
        )
        whole, _, text = result.stdout.partition("\n")
        if not whole.strip().isdecimal():
            raise _odd_git(folder, result)
        size += int(whole)
        kept = min(size, max_bytes)
        texts.append(text)
        problems += result.stderr
    text = "".join(texts)
    if kept < size:
        lines = text.rpartition("\n")[0]
        text = f"{lines}\n[Cut here: the whole difference is {size} bytes.]\n"
    if problems:
        text += f"[Incomplete, git says: {problems.strip()}]\n"
    return text


def diff(connection: ServerConnection, path: str, base: str = "HEAD") -> GitDiff:
    """Return both texts of the file at the absolute `path`: in the commit `base`, and now.

    Raises:
        FileNotFoundError: The file exists neither there nor here.
        IsADirectoryError: It is a folder.
        ServerError: git is not installed.
    """
    name = shlex.quote(path)
    result = _git(
        connection,
        "/",
        f"path={name}; folder=${{path%/*}}\n"
        'while [ ! -d "$folder/" ]; do folder=${folder%/*}; done\n'
        f'cd "$folder/" && git cat-file blob {shlex.quote(base)}:./"${{path#"$folder"/}}"',
        accepted=(0, _GIT_FAILED),
    )
    original = result.stdout if result.exit_code == 0 else None
    modified = None
    try:
        modified = files.read_bytes(connection, path).decode(errors="replace")
    except FileNotFoundError:
        if original is None:
            raise
    return GitDiff(path, original, modified)


def _repositories(connection: ServerConnection, folder: str, base: str) -> list[tuple[str, str]]:
    """Return the folder itself and the repositories in it, each with its base.

    An agent's clone in a subfolder is a repository of its own, which git does not look into.
    """
    found = run_command(
        connection,
        f"find . -mindepth 2 -maxdepth {_DEPTH} -name .git -prune | sort | head -n {_MOST_INNER}",
        cwd=folder,
        timeout=_TIMEOUT,
    )
    inner = [line.removeprefix("./").removesuffix("/.git") for line in found.stdout.splitlines()]
    return [("", base), *((path, "HEAD") for path in inner)]


def _odd_git(folder: str, result: CommandResult) -> ServerError:
    """What an agent has put in git's place may print anything."""
    return ServerError(
        f"What runs as git in the sandbox, in {folder}, printed: {result.stdout!r:.200}"
    )


def _git(
    connection: ServerConnection, folder: str, script: str, accepted: tuple[int, ...] = (0,)
) -> CommandResult:
    folder = posixpath.normpath(folder)
    result = run_command(connection, _SETTINGS + script, cwd=folder, timeout=_TIMEOUT)
    if result.exit_code not in accepted:
        reason = "it took too long" if result.timed_out else result.stderr.strip()
        raise ServerError(f"git failed in {folder} of the sandbox: {reason}")
    return result
