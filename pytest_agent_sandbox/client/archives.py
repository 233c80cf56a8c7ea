"""Archives of folders: packed for the sandbox, and unpacked from it without trusting them.

What comes out of a sandbox may be made to harm whoever unpacks it. So nothing is ever written
through a link: each folder on the way is opened below the one that it is in, and has to be a real
one. Links are made when all files are there. Python's own filters are not used: they came with
3.11.4, and judge names by their letters, which links make mean something else.
"""

from __future__ import annotations

import io
import os
import stat
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from pytest_agent_sandbox.client.folders import Folder, open_folder
from pytest_agent_sandbox.host import seldom

TarError = tarfile.TarError

logger = seldom.logger(__name__, first=10)

# The longest path that Linux takes, and folders deeper than anybody's.
_LONGEST_PATH = 4096
_LONGEST_NAME = 255
_DEEPEST = 256
# Bytes for the description of one member: its name, and whatever else its format has.
_LARGEST_HEADER = 128 * 1024
_PIECE = 256 * 1024

_PERMISSIONS = 0o777
_OWNER_READS, _OWNER_ENTERS = 0o400, 0o700
# For machines whose files have no permissions of their own.
_PLAIN_FOLDER, _PLAIN_FILE = 0o755, 0o644

_WINDOWS_NOT_IN_NAMES = set('<>:"\\|?*') | {chr(code) for code in range(32)}
_WINDOWS_DEVICES = {"AUX", "CON", "CONIN$", "CONOUT$", "NUL", "PRN"} | {
    f"{kind}{number}" for kind in ("COM", "LPT") for number in "0123456789¹²³"
}


def pack(folder: Path, archive: IO[bytes]) -> None:
    """Write an archive of what a folder holds, for the sandbox's user to own."""
    # A link at the top is followed; links inside of the folder stay links.
    with tarfile.open(
        fileobj=archive,
        mode="w",
        format=tarfile.GNU_FORMAT,
        encoding="utf-8",
        errors="surrogateescape",
    ) as tar:
        tar.add(folder.resolve(strict=True), arcname=".", filter=_for_the_sandbox)


def permissions(status: os.stat_result) -> int:
    """Return the permissions for the sandbox's copy of a file or folder of this machine."""
    if sys.platform == "win32":
        return _PLAIN_FOLDER if stat.S_ISDIR(status.st_mode) else _PLAIN_FILE
    return stat.S_IMODE(status.st_mode)


def _for_the_sandbox(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Let files belong to the sandbox's user, not to a local user's number."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    if sys.platform == "win32":
        member.mode = _PLAIN_FOLDER if member.isdir() else _PLAIN_FILE
    return member


def unpack(archive: IO[bytes], target: Path) -> None:
    """Put what an archive holds into a folder, which is made; nothing is written outside of it.

    Left out, with a warning in the log, is what could reach out of it: links that lead out, hard
    links, devices, names that lead elsewhere or that are too long. A link that stands where a
    folder of the archive belongs is replaced by it. Permissions are kept, of which the owner's to
    read, and to enter folders, are always there. The folder itself keeps its own, if it was there.

    Args:
        archive: The archive, not packed, which can be read more than once.
        target: The folder.

    Raises:
        OSError: A file cannot be written, or a folder stands where one belongs.
        tarfile.TarError: It is no archive, or describes a member at too great a length.
    """
    is_new = not target.exists()
    target.mkdir(parents=True, exist_ok=True)
    with open_folder(target) as root:
        _Unpacking(archive, root, is_new=is_new).run()


class _Unpacking:
    # The archive is read three times, so that nothing of it has to be remembered.
    def __init__(self, archive: IO[bytes], root: Folder, *, is_new: bool) -> None:
        self._archive = archive
        self._root = root
        self._is_new = is_new

    def run(self) -> None:
        self._each(self._write)
        self._each(self._link)
        # Only now: no file could be put into a folder that may not be written to.
        self._each(self._finish_folder)

    def _each(self, work: Callable[[tarfile.TarFile, tarfile.TarInfo], None]) -> None:
        self._archive.seek(0)
        try:
            for tar, member in _members(self._archive):
                work(tar, member)
        except (RecursionError, OverflowError, UnicodeError, ValueError) as error:
            raise tarfile.ReadError(f"a member cannot be read: {error!r:.200}") from error

    def _write(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        reason = refusal(member)
        if reason:
            logger.warning("Not downloaded: %r, because %s.", member.name[:_LONGEST_PATH], reason)
            return
        parts = _parts(member.name)
        if member.isdir():
            self._root.make_folder(parts)
        elif member.isreg():
            mode = member.mode & _PERMISSIONS | _OWNER_READS
            self._root.write(parts, _content(tar, member), mode, member.mtime)

    def _link(self, _tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if not member.issym() or refusal(member):
            return
        try:
            self._root.make_link(_parts(member.name), member.linkname)
        except OSError as error:
            if os.name != "nt":
                raise
            # On Windows, making a link takes a privilege.
            logger.warning("Not downloaded: the link %r (%s).", member.name, error)

    def _finish_folder(self, _tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if member.isdir() and not refusal(member):
            parts = _parts(member.name)
            if parts or self._is_new:
                mode = member.mode & _PERMISSIONS | _OWNER_ENTERS
                self._root.finish_folder(parts, mode, member.mtime)


def refusal(member: tarfile.TarInfo, *, windows: bool = sys.platform == "win32") -> str:
    """Return why a member of an archive is left out; empty if it is not."""
    reason = _name_refusal(member.name, member.isdir(), windows)
    if reason:
        return reason
    if member.issym():
        if not _stays_inside(member.name, member.linkname, windows):
            return f"it is a link to {member.linkname[:_LONGEST_PATH]!r}"
    elif not (member.isreg() or member.isdir()) or member.issparse():
        return "it is neither a file, a folder nor a symbolic link"
    return ""


def _name_refusal(name: str, is_folder: bool, windows: bool) -> str:
    if name.startswith("/") or ".." in PurePosixPath(name).parts:
        return "its path leads out of the folder"
    parts = _parts(name)
    if not parts and not is_folder:
        return "it has no name"
    if (
        len(name) > _LONGEST_PATH
        or len(parts) > _DEEPEST
        or any(len(part.encode(errors="surrogatepass")) > _LONGEST_NAME for part in parts)
    ):
        return "its path is too long"
    if "\0" in name or (windows and not all(map(_is_windows_name, parts))):
        return "its name cannot be one on this machine"
    return ""


def _is_windows_name(part: str) -> bool:
    stem = part.partition(".")[0].rstrip(" ").upper()
    return not (_WINDOWS_NOT_IN_NAMES & set(part) or part[-1] in " ." or stem in _WINDOWS_DEVICES)


def _stays_inside(name: str, target: str, windows: bool) -> bool:
    """Tell whether a link leads to a place in the folder, whatever other links it passes.

    It goes up no further than the folder, and only before it goes down. It lies in a real folder,
    and so do the others: going up from one is what it looks like.
    """
    parts = PurePosixPath(target).parts
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    down = "/".join(parts[ups:])
    return (
        bool(target)
        and not target.startswith("/")
        and ups < len(_parts(name))
        and not _name_refusal(down, True, windows)
    )


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def _members(archive: IO[bytes]) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield the members of an archive, of which none is kept."""
    source = _Measured(archive)
    with tarfile.open(fileobj=source, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
        end = 0
        while True:
            source.expect(_LARGEST_HEADER)
            member = tar.next()
            source.expect(None)
            if member is None:
                break
            if tar.offset <= end or member.size < 0:
                raise tarfile.ReadError("a member begins before the one in front of it ends")
            end = tar.offset
            yield tar, member
            tar.members = []  # type: ignore[attr-defined]  # else it keeps all of them
            tar.pax_headers = {}
    # Python takes whatever it cannot read for the end of the archive.
    archive.seek(end)
    if archive.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it ends in the middle")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    content = tar.extractfile(member)
    if content is not None:
        with content:
            while piece := content.read(_PIECE):
                yield piece


class _Measured(io.RawIOBase):
    """A file of which no more is read at once than was expected."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left: int | None = _LARGEST_HEADER

    def expect(self, size: int | None) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        if self._left is not None:
            self._left -= size
            if size < 0 or self._left < 0:
                raise tarfile.ReadError(f"it describes a member in over {_LARGEST_HEADER:,} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
