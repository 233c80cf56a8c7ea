"""Users of an image's containers, by the names and numbers that people give."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO

from pytest_agent_sandbox.errors import SettingsError

# The most names that an error lists.
_SHOWN = 25


@dataclass(frozen=True)
class Account:
    """A user in a container.

    Attributes:
        number: The user's.
        group: The group's number.
        home: The home folder; empty where the image has none for the user.
    """

    number: int
    group: int
    home: str


def account_of(user: str, passwd: str, group: str, image: str) -> Account:
    """Read who a user is: see `image_files.find_account`.

    Args:
        user: The user.
        passwd: The text of the image's `/etc/passwd`.
        group: The text of its `/etc/group`.
        image: Its reference, for the error.
    """
    name, _, wanted_group = user.partition(":")
    name = name or "0"
    known = _entry(passwd, name, 6)
    if known is None and not name.isdecimal():
        raise SettingsError(_unknown("user", user, name, image, passwd))
    number = int(name if known is None else known[2])
    own_group = 0 if known is None else int(known[3])
    home = "" if known is None or known[5] in ("", "/") else known[5]
    if not wanted_group:
        return Account(number, own_group, home)
    found = _entry(group, wanted_group, 3)
    if found is None and not wanted_group.isdecimal():
        raise SettingsError(_unknown("group", user, wanted_group, image, group))
    return Account(number, int(wanted_group if found is None else found[2]), home)


def _entry(file: str, name: str, length: int) -> list[str] | None:
    for fields in _entries(file):
        if len(fields) >= length and name in (fields[0], fields[2]):
            return fields
    return None


def _entries(file: str) -> Iterator[list[str]]:
    return (line.split(":") for line in file.splitlines())


def _unknown(kind: str, user: str, name: str, image: str, file: str) -> str:
    names = sorted(fields[0] for fields in _entries(file) if fields[0])
    more = ", …" if len(names) > _SHOWN else ""
    there = f"it has {', '.join(names[:_SHOWN])}{more}" if names else "it has none"
    return (
        f"user: {user!r}: the image {image} has no {kind} {name!r} ({there}); a number "
        "needs none, such as 1000:1000"
    )


def folders_of(account: Account, folders: Iterable[str]) -> bytes:
    """Pack empty folders that belong to a user into an archive (tar); the engine adds those above.

    Args:
        account: The user.
        folders: Their absolute paths.
    """
    target = BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for folder in folders:
            entry = tarfile.TarInfo(folder.strip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            entry.uid, entry.gid = account.number, account.group
            archive.addfile(entry)
    return target.getvalue()


def handed_over(archive: bytes, old: Account, new: Account) -> bytes:
    """Return an archive (tar) in which what was one user's is another one's."""
    if not archive:
        return archive
    target = BytesIO()
    with (
        tarfile.open(fileobj=BytesIO(archive)) as members,
        tarfile.open(fileobj=target, mode="w") as changed,
    ):
        for member in members.getmembers():
            content = members.extractfile(member) if member.isreg() else None
            if member.uid == old.number:
                member.uid, member.gid = new.number, new.group
                member.uname = member.gname = ""
            changed.addfile(member, content)
    return target.getvalue()
