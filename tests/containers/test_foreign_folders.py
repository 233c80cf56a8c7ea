"""Folders of other users are apart from what they stand in."""

from __future__ import annotations

import tarfile
from io import BytesIO

from pytest_agent_sandbox.containers.foreign_folders import with_foreign_apart

ROOT, OTHER, THIRD = 0, 101, 102


def archive(*members: tuple[str, int, int, bytes | None]) -> bytes:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as made:
        for name, owner, mode, content in members:
            member = tarfile.TarInfo(name)
            member.uid, member.mode = owner, mode
            member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            member.size = len(content or b"")
            made.addfile(member, BytesIO(content or b""))
    return packed.getvalue()


def listed(packed: bytes) -> dict[str, tuple[int, bytes | None]]:
    with tarfile.open(fileobj=BytesIO(packed)) as members:
        return {
            member.name: (
                member.uid,
                found.read() if (found := members.extractfile(member)) else None,
            )
            for member in members.getmembers()
        }


def test_a_folder_of_another_user_is_one_of_its_own() -> None:
    run = archive(
        ("run", ROOT, 0o755, None),
        ("run/adduser", ROOT, 0o644, b"x"),
        ("run/postgresql", OTHER, 0o2775, None),
        ("run/postgresql/pid", OTHER, 0o600, b"7"),
        ("run/postgresql/of-root", ROOT, 0o755, None),
        ("run/postgresql/of-root/file", ROOT, 0o644, b"r"),
        ("run/postgresql-too", THIRD, 0o755, None),
    )
    parts = with_foreign_apart({"/run": run, "/empty": b""})
    assert {folder: listed(part) if part else {} for folder, part in parts.items()} == {
        "/empty": {},
        "/run": {"run": (ROOT, None), "run/adduser": (ROOT, b"x")},
        "/run/postgresql": {"postgresql": (OTHER, None), "postgresql/pid": (OTHER, b"7")},
        "/run/postgresql/of-root": {"of-root": (ROOT, None), "of-root/file": (ROOT, b"r")},
        "/run/postgresql-too": {"postgresql-too": (THIRD, None)},
    }


def test_where_everybody_makes_their_own_nothing_is_apart() -> None:
    tmp = archive(("tmp", ROOT, 0o1777, None), ("tmp/mine", OTHER, 0o700, None))
    assert {name: listed(part) for name, part in with_foreign_apart({"/tmp": tmp}).items()} == {
        "/tmp": {"tmp": (ROOT, None), "tmp/mine": (OTHER, None)}
    }
