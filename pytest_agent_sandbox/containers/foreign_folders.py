"""Folders of other users within a folder, for who can make none of theirs."""

from __future__ import annotations

import posixpath
import stat
import tarfile
from collections.abc import Mapping
from io import BytesIO


def with_foreign_apart(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of folders, with those folders as their own that another user owns.

    Who has no capability cannot make `/run/postgresql` in root's `/run`, whoever it is: such a
    folder is mounted by itself, as its owner's.

    Args:
        files: Archives by folder, as `image_files.first_files` returns them.
    """
    found: dict[str, bytes] = {}
    for folder, archive in files.items():
        if archive:
            _take_apart(folder, archive, found)
        else:
            found[folder] = archive
    return found


def _take_apart(folder: str, archive: bytes, found: dict[str, bytes]) -> None:
    with tarfile.open(fileobj=BytesIO(archive)) as members:
        all_of_them = members.getmembers()
        top = all_of_them[0]
        foreign = _foreign(top, all_of_them)
        parts: dict[str, list[tarfile.TarInfo]] = {name: [] for name in ("", *foreign)}
        for member in all_of_them:
            place = next((name for name in foreign if _is_in(member.name, name)), "")
            parts[place].append(member)
        found[folder] = _packed(members, parts.pop(""), top.name)
        for name, its in parts.items():
            path = posixpath.join(folder, posixpath.relpath(name, top.name))
            # There may be another user's folders in it, again.
            _take_apart(path, _packed(members, its, name), found)


def _foreign(top: tarfile.TarInfo, members: list[tarfile.TarInfo]) -> list[str]:
    """Return the outermost folders that the owner of the whole does not own."""
    if top.mode & stat.S_IWOTH:  # where everybody makes their own
        return []
    found: list[str] = []
    for member in sorted(members, key=lambda member: member.name):
        is_within = any(_is_in(member.name, name) for name in found)
        if member.isdir() and member.uid != top.uid and not is_within:
            found.append(member.name)
    return found


def _is_in(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}/")


def _packed(source: tarfile.TarFile, members: list[tarfile.TarInfo], top: str) -> bytes:
    """Pack members so that their archive begins with the name of its folder."""
    packed, begin = BytesIO(), posixpath.dirname(top)
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for member in members:
            content = source.extractfile(member) if member.isreg() else None
            member.name = posixpath.relpath(member.name, begin or ".")
            if member.islnk():
                member.linkname = posixpath.relpath(member.linkname, begin or ".")
            archive.addfile(member, content)
    return packed.getvalue()
