"""Folders of this machine that are filled without ever writing through a link in them.

Whatever links there are below a folder, made by an archive or there before: what is written lands
in the folder, where its path says.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from pytest_agent_sandbox.host.closing import Closing

#: Seconds since 1970 that every file system can hold.
_LATEST = 2**31
_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600


class Folder(Closing):
    """A folder that is filled. Paths below it are lists of names, of which none is `..`."""

    @abstractmethod
    def make_folder(self, parts: Sequence[str]) -> None:
        """Make a folder and those above it, private for now, where they are missing."""

    @abstractmethod
    def write(self, parts: Sequence[str], pieces: Iterable[bytes], mode: int, mtime: float) -> None:
        """Write a file, in place of a file or link; nobody else can read it before it is whole."""

    @abstractmethod
    def make_link(self, parts: Sequence[str], target: str) -> None:
        """Make a symbolic link, in place of a file or link."""

    @abstractmethod
    def finish_folder(self, parts: Sequence[str], mode: int, mtime: float) -> None:
        """Give a folder its permissions and its time."""


def open_folder(path: Path) -> Folder:
    """Open a folder that is there, to fill it."""
    needed = (os.open, os.mkdir, os.unlink, os.symlink)
    if hasattr(os, "O_NOFOLLOW") and all(call in os.supports_dir_fd for call in needed):
        return FolderByDescriptor(path)
    return FolderByPath(path)


class FolderByDescriptor(Folder):
    """A folder whose inner folders are opened one inside the other, and no links.

    A link in a folder's place is replaced by the folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        # The last folder that was opened: most files lie beside the one before them.
        self._last: tuple[tuple[str, ...], int] | None = None

    def close(self) -> None:
        """Let go of it."""
        self._forget()
        os.close(self._root)

    def make_folder(self, parts: Sequence[str]) -> None:  # noqa: D102 - as in Folder
        self._open(parts)

    def write(  # noqa: D102
        self, parts: Sequence[str], pieces: Iterable[bytes], mode: int, mtime: float
    ) -> None:
        folder, name = self._emptied(parts)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(name, flags, _PRIVATE_FILE, dir_fd=folder), "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fchmod(file.fileno(), mode)
            _set_time(file.fileno(), mtime)

    def make_link(self, parts: Sequence[str], target: str) -> None:  # noqa: D102
        folder, name = self._emptied(parts)
        os.symlink(target, name, dir_fd=folder)

    def finish_folder(self, parts: Sequence[str], mode: int, mtime: float) -> None:  # noqa: D102
        folder = self._open(parts)
        os.fchmod(folder, mode)
        _set_time(folder, mtime)

    def _emptied(self, parts: Sequence[str]) -> tuple[int, str]:
        """Open the folder in which a file or link is to be made, where there is none."""
        folder, name = self._open(parts[:-1]), parts[-1]
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            error.filename = str(self._path.joinpath(*parts))
            raise
        return folder, name

    def _open(self, parts: Sequence[str]) -> int:
        wanted = tuple(parts)
        if self._last is not None and self._last[0] == wanted:
            return self._last[1]
        folder = os.dup(self._root)
        try:
            for part in wanted:
                below = self._open_one(folder, part)
                os.close(folder)
                folder = below
        except OSError as error:
            os.close(folder)
            error.filename = str(self._path.joinpath(*wanted))
            raise
        self._forget()
        self._last = wanted, folder
        return folder

    def _open_one(self, folder: int, name: str) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        try:
            return os.open(name, flags, dir_fd=folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            if not stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
                raise
            os.unlink(name, dir_fd=folder)
        os.mkdir(name, _PRIVATE_FOLDER, dir_fd=folder)
        return os.open(name, flags, dir_fd=folder)

    def _forget(self) -> None:
        if self._last is not None:
            os.close(self._last[1])
            self._last = None


class FolderByPath(Folder):
    """A folder whose inner folders are looked at before use, where a system cannot open them.

    A link in a folder's place is an error.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def close(self) -> None:
        """Do nothing: it holds no descriptor."""

    def make_folder(self, parts: Sequence[str]) -> None:  # noqa: D102 - as in Folder
        self._find(parts)

    def write(  # noqa: D102
        self, parts: Sequence[str], pieces: Iterable[bytes], mode: int, mtime: float
    ) -> None:
        file = self._find(parts[:-1]) / parts[-1]
        file.unlink(missing_ok=True)
        with file.open("xb") as written:
            written.writelines(pieces)
        _set_both(file, mode, mtime)

    def make_link(self, parts: Sequence[str], target: str) -> None:  # noqa: D102
        link = self._find(parts[:-1]) / parts[-1]
        link.unlink(missing_ok=True)
        link.symlink_to(target)

    def finish_folder(self, parts: Sequence[str], mode: int, mtime: float) -> None:  # noqa: D102
        _set_both(self._find(parts), mode, mtime)

    def _find(self, parts: Sequence[str]) -> Path:
        path = self._path
        for part in parts:
            path = path / part
            try:
                status = path.lstat()
            except FileNotFoundError:
                path.mkdir(_PRIVATE_FOLDER)
                continue
            # On Windows, a junction is a folder that leads elsewhere.
            leads_elsewhere = getattr(status, "st_reparse_tag", 0)
            if leads_elsewhere or not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, "Not a folder, or a link to one", str(path))
        return path


def _set_both(path: Path, mode: int, mtime: float) -> None:
    if sys.platform != "win32":  # which would only mark them read-only
        path.chmod(mode)
    _set_time(path, mtime)


def _set_time(file: int | Path, mtime: float) -> None:
    # An archive may claim any time. An odd one is no reason to do without the file.
    with suppress(OSError, OverflowError, ValueError):
        moment = min(max(0.0, mtime), _LATEST)
        os.utime(file, (moment, moment))
