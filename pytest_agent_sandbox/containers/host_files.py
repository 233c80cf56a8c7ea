"""Files of this machine that a container gets before it starts."""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

from pytest_agent_sandbox.errors import SettingsError

# The last colon before an absolute path: Windows has one behind the drive's letter, too.
_COPY = re.compile(r"(?P<source>.+):(?P<target>/[^:]*)")
# The most bytes: they are held in memory, and sent for each container.
_LARGEST = 64 * 1024 * 1024


def packed(copies: Sequence[str], mounted: Iterable[str]) -> bytes:
    """Pack files and folders of this machine into an archive (tar), as root's; empty for none.

    Args:
        copies: Each as `SOURCE:TARGET`: a file or folder here, and its absolute path in the
            container; one that ends in `/` is the folder to copy into.
        mounted: Folders of the container that something is mounted on.

    Raises:
        SettingsError: A copy is written otherwise, its source cannot be read, its target is in a
            mounted folder, or all of them are too large.
    """
    if not copies:
        return b""
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as members:
        for copy in copies:
            source, target = _parsed(copy)
            if any(posixpath.commonpath([target, folder]) == folder for folder in mounted):
                raise SettingsError(
                    f"files: {copy!r}: {target} is in a volume, or in a folder in memory (tmpfs); "
                    "upload it in the test."
                )
            try:
                members.add(source, target.strip("/"), filter=_of_root)
            except OSError as error:
                why = error.strerror or type(error).__name__
                raise SettingsError(f"files: {copy!r}: {source} cannot be read: {why}.") from error
            if archive.tell() > _LARGEST:
                raise SettingsError(
                    f"files: {copy!r}: these are over {_LARGEST // 1024**2} MiB; mount a folder of "
                    "that size by volumes."
                )
    return archive.getvalue()


def folders_above(archive: bytes) -> list[str]:
    """Return the folders above what is in an archive, the uppermost first, without those in it."""
    with tarfile.open(fileobj=BytesIO(archive)) as members:
        names = {f"/{member.name}" for member in members}
    above = set()
    for name in names:
        while (name := posixpath.dirname(name)) != "/":
            above.add(name)
    return sorted(above - names)


def joined(*archives: bytes) -> bytes:
    """Return one archive (tar) of what is in several, in this order."""
    target = BytesIO()
    with tarfile.open(fileobj=target, mode="w") as whole:
        for archive in filter(None, archives):
            with tarfile.open(fileobj=BytesIO(archive)) as members:
                for member in members:
                    content = members.extractfile(member) if member.isreg() else None
                    whole.addfile(member, content)
    return target.getvalue()


def _parsed(copy: str) -> tuple[Path, str]:
    parts = _COPY.fullmatch(copy)
    if parts is None:
        raise SettingsError(
            f"files: {copy!r} is not written as SOURCE:TARGET, such as ./a.csv:/workspace/a.csv"
        )
    source, target = Path(parts["source"]).expanduser(), parts["target"]
    if target.endswith("/"):
        target += source.resolve().name
    return source, posixpath.normpath(target)


def _of_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
