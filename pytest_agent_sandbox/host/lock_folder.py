"""The folder of this user's locks on this machine, which nobody else can touch."""

from __future__ import annotations

import getpass
import os
import stat
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from pytest_agent_sandbox.errors import SandboxError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def lock_folder() -> Path:
    """Return the folder of this user's locks on this machine; it is made where it is missing.

    Raises:
        SandboxError: It cannot be made, or others can get at what is in it.
    """
    folder = lock_folder_path()
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        problem = _problem(folder.lstat())
    except OSError as error:
        raise SandboxError(f"Cannot make the lock folder {folder}: {error.strerror}.") from error
    if problem:
        raise SandboxError(
            f"The lock folder {folder} {problem}, so it is not used: whoever can write there could "
            "have your files overwritten and your sandboxes removed. Have it removed, or set "
            "TMPDIR to a folder of your own."
        )
    return folder


def lock_folder_path() -> Path:
    """Return where the folder of locks is, or would be.

    It is below the folder for temporary files. Where that is shared with other users, who could
    make ours before we do, it is below the user's runtime folder (XDG_RUNTIME_DIR), if there is
    one.
    """
    temporary = Path(tempfile.gettempdir())
    if sys.platform == "win32":  # where each user has a folder for temporary files
        return temporary / f"pytest-agent-sandbox-{_user()}"
    candidates = [temporary, *_runtime_folders()]
    base = next(filter(_is_own, candidates), temporary)
    # By number: LOGNAME and the like may still be another user's, as after `sudo -E`.
    return base / f"pytest-agent-sandbox-{os.geteuid()}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # no variable tells it
        return "unknown"


@cache  # a test may change the environment, and the folder must not move then
def _runtime_folders() -> list[Path]:
    folder = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    return [folder] if folder.is_absolute() else []


def _is_own(folder: Path) -> bool:
    """Tell whether a folder belongs to this user, and is not for everybody to write to."""
    try:
        found = folder.stat()
    except OSError:
        return False
    return found.st_uid == os.geteuid() and not found.st_mode & stat.S_IWOTH


def _problem(found: os.stat_result) -> str:
    """Return why what was found is no folder of locks, without following a link to it."""
    if stat.S_ISLNK(found.st_mode):
        return "is a link"
    if not stat.S_ISDIR(found.st_mode):
        return "is not a folder"
    if sys.platform == "win32":  # neither owner nor mode is told
        return ""
    if found.st_uid != os.geteuid():
        return f"belongs to another user (number {found.st_uid})"
    if found.st_mode & _OTHERS:
        return f"is open to other users (mode {stat.S_IMODE(found.st_mode):o})"
    return ""
