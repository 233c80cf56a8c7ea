"""Archives that mean harm, unpacked beside things that nobody is to touch."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_agent_sandbox.client import archives
from tests.support.hostile import archives as hostile
from tests.support.hostile.archives import (
    BLOCK,
    END,
    OPENERS,
    Watched,
    archive_of,
    header,
    member,
    pax,
    unpack,
)


@pytest.fixture(params=OPENERS, ids=lambda opener: opener.__name__)
def watched(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watched]:
    """By each of the ways to open folders; what was left outside is looked at in the end."""
    monkeypatch.setattr(archives, "open_folder", request.param)
    watched = Watched(tmp_path)
    yield watched
    watched.check()


def long_way_up(escaped: str) -> list[tarfile.TarInfo]:
    """Links to short names, through which a name looks much deeper than what it means is."""
    members, path, steps = [], "", "abcdefghijklmnop"
    for step in steps:
        members += [
            member(f"{path}{'d' * 247}", tarfile.DIRTYPE, mode=0o755),
            member(f"{path}{step}", tarfile.SYMTYPE, "d" * 247),
        ]
        path += f"{'d' * 247}/"
    up = "/".join(steps) + "/" + "l" * 254
    return [
        *members,
        member(up, tarfile.SYMTYPE, "/".join([".."] * len(steps))),
        member(f"{up}/x", tarfile.SYMTYPE, "../../.."),
        member(f"{up}/x/{escaped}"),
    ]


@pytest.mark.parametrize(
    "members",
    [
        [member("../escaped")],
        [member("/escaped")],
        [member("a/../../escaped")],
        [member("link", tarfile.SYMTYPE, ".."), member("link/escaped")],
        [member("link", tarfile.SYMTYPE, "/"), member("link/escaped")],
        [member("/a/link", tarfile.SYMTYPE, "../.."), member("a/link/escaped")],
        [member("hard", tarfile.LNKTYPE, "../a")],
        [member("soft", tarfile.SYMTYPE, "x"), member("hard", tarfile.LNKTYPE, "soft")],
        [member("device", tarfile.CHRTYPE), member("pipe", tarfile.FIFOTYPE)],
        [member("."), member(".", tarfile.SYMTYPE, ".."), member("")],
        [member("nul\0/../x"), member("l", tarfile.SYMTYPE, "x\0y")],
        [  # each link stays inside by itself; together they lead out
            member("d/e/f", tarfile.DIRTYPE),
            member("t", tarfile.SYMTYPE, "d/e/f/s/../escaped"),
            member("d/e/f/s", tarfile.SYMTYPE, "../../.."),
            member("t"),
        ],
        [member("a/s", tarfile.SYMTYPE, "../x/../../.."), member("a/s/escaped")],
        [member("a", tarfile.SYMTYPE, "."), member("a/b", tarfile.SYMTYPE, "..")],
        [  # what was a folder when the link was judged
            member("d/e", tarfile.DIRTYPE),
            member("d/e/up", tarfile.SYMTYPE, "../.."),
            member("x", tarfile.SYMTYPE, "d/e"),
            member("x/up/a/escaped"),
        ],
        long_way_up("escaped"),
    ],
)
def test_nothing_is_written_outside(watched: Watched, members: list[tarfile.TarInfo]) -> None:
    unpack(archive_of(*members), watched.target)
    unpack(archive_of(*members), watched.target)  # now with what was there before
    found = [path for path in watched.base.rglob("*") if path.name == "escaped"]
    assert all(watched.target in path.parents for path in found)


@pytest.mark.skipif(os.name == "nt", reason="links take a privilege there")
def test_what_was_there_before_is_not_written_through(watched: Watched) -> None:
    (watched.target / "folder").symlink_to("../victim")
    (watched.target / "file").symlink_to("../a")
    unpack(archive_of(member("file"), member("folder/a")), watched.target)
    assert not (watched.target / "file").is_symlink()
    if (watched.target / "folder").is_symlink():  # one of the two ways refuses to go on then
        (watched.target / "folder").unlink()


@pytest.mark.skipif(os.name == "nt", reason="no permissions there")
def test_permissions_come_along_but_no_others(tmp_path: Path) -> None:
    members = [
        member(".", tarfile.DIRTYPE, mode=0o750),
        member("locked", tarfile.DIRTYPE, mode=0o000),
        member("locked/file", mode=0o000),
        member("read-only", tarfile.DIRTYPE, mode=0o555),
        member("read-only/link", tarfile.SYMTYPE, "file"),
        member("read-only/file", mode=0o7777),
        member("key", mode=0o600),
    ]
    archives.unpack(archive_of(*members), tmp_path / "new")
    modes = {
        str(path.relative_to(tmp_path)): oct(stat.S_IMODE(path.stat().st_mode))
        for path in [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    }
    assert modes == {
        "new": "0o750",
        "new/locked": "0o700",
        "new/locked/file": "0o400",
        "new/read-only": "0o755",
        "new/read-only/link": "0o777",
        "new/read-only/file": "0o777",
        "new/key": "0o600",
    }


@pytest.mark.parametrize(
    "content",
    [
        header("pax", b"x", 10**11) + END,
        header("name", tarfile.GNUTYPE_LONGNAME, 10**11) + END,
        header("pax", b"x", 8 * 1024**2) + b"x" * 8 * 1024**2 + END,
        pax(("path", "a")) * 2000 + header("a", tarfile.REGTYPE, 0) + END,
        pax(("size", "-512")) + header("a", tarfile.REGTYPE, 0) + END,
        pax(("size", "-1024")) + header("a", b"9", 0) + END,
        pax(("size", str(10**30))) + header("a", tarfile.REGTYPE, 0) + END,
        header("cut", tarfile.REGTYPE, 5000) + b"cut",
        header("a", tarfile.REGTYPE, 0),  # without an end
        header("a", tarfile.REGTYPE, 0) + b"garbage" * BLOCK,
        b"no archive",
        b"",
    ],
    ids=range(12),
)
def test_an_archive_that_is_none_is_said_to_be_so(tmp_path: Path, content: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(tarfile.TarError):
            archives.unpack(io.BytesIO(content), tmp_path / "new")
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024**2
    finally:
        tracemalloc.stop()


def test_no_disk_is_filled_by_a_few_bytes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sparse = pax(
        ("GNU.sparse.major", "0"),
        ("GNU.sparse.minor", "1"),
        ("GNU.sparse.map", "0,0"),
        ("GNU.sparse.size", str(10**12)),
        ("GNU.sparse.name", "big"),
    )
    content = sparse + header("big", tarfile.REGTYPE, 0) + END
    archives.unpack(io.BytesIO(content), tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())
    assert "Not downloaded: 'big'" in caplog.text


def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        members = [member(f"{'x' * 100}{n % 9}", tarfile.SYMTYPE, "y" * 100) for n in range(count)]
        archive = archive_of(*members)
        tracemalloc.start()
        try:
            archives.unpack(archive, tmp_path / str(count))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(1000) < peak(200) + 100_000


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("plain", True),
        ("a b.txt", True),
        ("..\\..\\escaped", False),
        ("C:escaped", False),
        ("file:stream", False),
        (".. ", False),
        ("x.", False),
        ("NUL", False),
        ("com1.txt", False),
        ("CON .txt", False),
        ("folder/lpt9", False),
        ("console", True),
    ],
)
def test_names_that_mean_something_else_on_windows(name: str, is_one: bool) -> None:
    assert (archives.refusal(member(name), windows=True) == "") is is_one
    assert not archives.refusal(member(name), windows=False)
    link = member("link", tarfile.SYMTYPE, name)
    assert (archives.refusal(link, windows=True) == "") is is_one


def test_whatever_an_archive_holds() -> None:
    """For longer: scripts/fuzz archives."""
    hostile.run(seed=0, count=150)


@pytest.mark.skipif(os.name == "nt", reason="links take a privilege there, and it has no pipes")
def test_what_links_lead_to_outside_is_not_packed(tmp_path: Path) -> None:
    """What is uploaded is what is in the folder: links stay links, and pipes are not waited for."""
    secret = tmp_path / "outside" / "secret"
    secret.parent.mkdir()
    secret.write_text("of this machine")
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    links = {
        "absolute": str(secret),
        "relative": "../outside/secret",
        "to-folder": "../outside",
        "inner/up": "../..",
        "to-root": "/",
        "chain": "inner/up/outside/secret",
        "nowhere": "/nowhere",
        "ring": "ring",
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe")
    archive = io.BytesIO()
    archives.pack(folder, archive)
    assert b"of this machine" not in archive.getvalue()
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        members = {found.name: found for found in tar}
    assert members.keys() == {".", "./inner", "./pipe", *(f"./{name}" for name in links)}
    for name, target in links.items():
        assert members[f"./{name}"].issym()
        assert members[f"./{name}"].linkname == target
