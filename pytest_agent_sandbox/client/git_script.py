"""The shell scripts by which git in the sandbox tells what is in a folder, and what it answers."""

from __future__ import annotations

import base64
import posixpath
import shlex
import time
from dataclasses import dataclass
from functools import cache
from importlib import resources

from pytest_agent_sandbox.client.commands import (
    OUTPUT_LIMIT,
    CommandResult,
    left_until,
    run_command,
)
from pytest_agent_sandbox.client.remote_paths import quoted
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import ServerError

#: Larger files, in bytes, are compared by id and told by size: never copied, never shown.
LARGE = 8 * 1024**2

# The most repositories inside of a folder that are looked into, the least deep ones first.
_MOST_INNER = 50

# Prints the repositories inside of the folder; then whether the folder is empty, in no repository,
# and git is there, so that it need not be asked.
_LOOK = """
find . -name .git -prune ! -path ./.git -print0 2>/dev/null | base64
command -v git >/dev/null && there=$(ls -A) && [ -z "$there" ] || exit 0
place=$(pwd -P)
while [ ! -e "$place/.git" ] && [ ! -L "$place/.git" ]; do
    [ -n "$place" ] || { echo "(empty)"; exit; }
    place=${place%/*}
done
"""
_EMPTY = "(empty)\n"
_REPORTS = 3
_SCRIPTS = ("git_files.sh", "git_compare.sh")


@dataclass(frozen=True)
class Answer:
    """The output of the script.

    Attributes:
        problems: What git said of what it cannot see.
        raw: Files whose filter fails, or is not run: they were taken as they are on the disk.
        unread: What git said of files that cannot be read: their size and time stand for them.
        fields: The rest.
    """

    problems: str
    raw: str
    unread: str
    fields: list[str]


class GitScript:
    """git in one folder of the sandbox.

    Args:
        connection: The server.
        folder: Absolute path of the folder.
        timeout: Seconds for all that is asked.
    """

    def __init__(self, connection: ServerConnection, folder: str, timeout: float) -> None:
        self._connection = connection
        self._folder = posixpath.normpath(folder)
        self._timeout = timeout
        self._end = time.monotonic() + timeout
        #: Whether the folder is empty, and in no repository, as `repositories` has seen it.
        self.is_empty = False

    def repositories(self) -> tuple[list[str], str]:
        """Return the paths of the repositories inside, and a note of those that are left out.

        An agent's clone in a subfolder is a repository of its own, which git does not look into.

        Raises:
            FileNotFoundError: There is no such folder.
        """
        printed = self._run(_LOOK).stdout
        self.is_empty = printed == _EMPTY
        paths = [
            path.removeprefix("./").removesuffix("/.git")
            for path in self.names(printed.removesuffix(_EMPTY)).split("\0")[:-1]
        ]
        paths.sort(key=lambda path: (path.count("/"), path))
        if len(paths) <= _MOST_INNER:
            return paths, ""
        more = len(paths) - _MOST_INNER
        return paths[:_MOST_INNER], f"{more} of {len(paths)} repositories are not looked into"

    def ask(self, calls: str, *, fields: int, **variables: str) -> Answer:
        """Run the script.

        Args:
            calls: Shell lines with calls of its functions.
            fields: How many are printed beside the three reports.
            variables: What the script takes by name.

        Raises:
            FileNotFoundError: There is no such folder.
            ServerError: git failed, or is not installed.
        """
        given = {"large": str(LARGE), "kept": "", "unversioned": "", **variables}
        assigned = "".join(f"{name}={shlex.quote(value)}\n" for name, value in given.items())
        result = self._run(assigned + _functions() + calls)
        parts = result.stdout.split("\0", _REPORTS + fields - 1)
        if len(parts) != _REPORTS + fields:
            raise self.odd(result.stdout)
        problems, raw, unread = (part.strip() for part in parts[:_REPORTS])
        return Answer(problems, raw, unread, parts[_REPORTS:])

    def run(self, script: str) -> str:
        """Run shell lines in the folder; return what they print.

        Raises:
            FileNotFoundError: There is no such folder.
            ServerError: They failed, or were not done in time.
        """
        return self._run(script).stdout

    def names(self, printed: str) -> str:
        """Return text with names in it, which the script prints in base64: they may not be UTF-8.

        Raises:
            ServerError: It is no base64.
        """
        try:
            return base64.b64decode(printed).decode(errors="surrogateescape")
        except ValueError:
            raise self.odd(printed) from None

    def odd(self, printed: str) -> ServerError:
        """Return the error for what an agent has put in git's place, which may print anything."""
        return ServerError(
            f"What runs as git in the sandbox, in {self._folder}, printed: {printed!r:.200}"
        )

    def _run(self, script: str) -> CommandResult:
        left = left_until(self._end)
        result = run_command(self._connection, script, cwd=self._folder, timeout=left)
        if result.timed_out:
            reason = f"it was not done within {self._timeout:g} s"
        elif result.truncated:
            reason = f"it printed more than {OUTPUT_LIMIT} bytes"
        elif result.exit_code != 0:
            reason = result.stderr.strip() or f"its script ended with exit code {result.exit_code}"
        else:
            return result
        raise ServerError(f"git failed in {self._folder} of the sandbox: {reason}")


def words(*values: str) -> str:
    """Return values as words of a shell line."""
    return " ".join(quoted(value) for value in values)


@cache
def _functions() -> str:
    folder = resources.files(__package__)
    return "".join((folder / name).read_text("utf-8") for name in _SCRIPTS)
