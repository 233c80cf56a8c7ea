"""Archives that mean harm, unpacked beside things that nobody is to touch."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import tarfile
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_agent_sandbox.client import archives
from pytest_agent_sandbox.client.folders import Folder, FolderByDescriptor, FolderByPath

OPENERS = [FolderByDescriptor, FolderByPath] if os.name != "nt" else [FolderByPath]
BLOCK = tarfile.BLOCKSIZE


def member(
    name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


def archive_of(*members: tarfile.TarInfo) -> io.BytesIO:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info in members:
            if info.isreg():
                info.size = 4
            tar.addfile(info, io.BytesIO(b"evil"))
    return archive


class Watched:
    """A folder to unpack to, three levels deep in one in which nothing is to change."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.target = base / "one" / "two" / "target"
        self.target.mkdir(parents=True)
        for folder in (base, base / "one", base / "one" / "two"):
            (folder / "a").write_text("not to be touched")
            (folder / "victim").mkdir()
            (folder / "victim" / "a").write_text("not to be touched")
        self.before = self.outside()

    def outside(self) -> dict[str, object]:
        """All that is not in the target: content, mode and time."""
        found: dict[str, object] = {}
        for root, folders, files in os.walk(self.base):
            if Path(root) == self.target.parent:
                folders.remove("target")
            for name in [*folders, *files]:
                path = Path(root, name)
                status = path.lstat()
                content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
                # The folder that the target is in gets no entry, so that its time stays too.
                found[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_nlink, content)
        return found

    def check(self) -> None:
        """Nothing has changed outside, and nothing inside leads there."""
        assert self.outside() == self.before
        target = self.target.resolve()
        for root, folders, files in os.walk(self.target):
            for name in [*folders, *files]:
                path = Path(root, name)
                kind = path.lstat().st_mode
                assert stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind)
                assert not kind & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX) or stat.S_ISLNK(kind)
                assert not stat.S_ISREG(kind) or path.lstat().st_nlink == 1
                try:
                    path.stat()
                except FileNotFoundError:
                    pass  # a link to nothing leads somewhere too
                except OSError as error:
                    # A ring of links leads nowhere; resolve() may say otherwise (Python 3.11).
                    if error.errno != errno.ELOOP:
                        raise
                    continue
                assert path.resolve().is_relative_to(target)


@pytest.fixture(params=OPENERS, ids=lambda opener: opener.__name__)
def watched(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watched]:
    """By each of the ways to open folders; what was left outside is looked at in the end."""
    monkeypatch.setattr(archives, "open_folder", request.param)
    watched = Watched(tmp_path)
    yield watched
    watched.check()


def unpack(archive: io.BytesIO, target: Path) -> None:
    """As far as it goes: an archive may be refused, and may contradict itself."""
    with contextlib.suppress(OSError, tarfile.TarError):
        archives.unpack(archive, target)


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
    "hostile",
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
def test_nothing_is_written_outside(watched: Watched, hostile: list[tarfile.TarInfo]) -> None:
    unpack(archive_of(*hostile), watched.target)
    unpack(archive_of(*hostile), watched.target)  # now with what was there before
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


def header(name: str, kind: bytes, size: int) -> bytes:
    info = member(name, kind)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def pax(*records: tuple[str, str]) -> bytes:
    body = b""
    for key, value in records:
        rest = f" {key}={value}\n".encode(errors="surrogateescape")
        length = len(rest) + 1
        while len(str(length)) + len(rest) != length:
            length += 1
        body += str(length).encode() + rest
    return header("pax", b"x", len(body)) + body.ljust(-(-len(body) // BLOCK) * BLOCK, b"\0")


END = bytes(2 * BLOCK)


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


# Few names, so that they meet; some that lead elsewhere, some that are one after all.
NAMES = st.sampled_from(["a", "b"]) | st.sampled_from(
    ["victim", "..", ".", "", "A", "d" * 250, "é", "\udce9"]
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
UPWARDS = st.sampled_from([".", "..", "a", "../..", "/"]) | st.builds(
    lambda ups, rest: "../" * ups + rest, st.integers(0, 6), PATHS
)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE]) | st.sampled_from(
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE]
)
MEMBERS = st.lists(
    st.builds(member, PATHS, KINDS, UPWARDS, st.integers(0, 0o7777)), min_size=1, max_size=12
)

DAMAGE = st.just([]) | st.lists(st.tuples(st.integers(0, 20_000), st.binary(max_size=3)))


@pytest.mark.parametrize("opener", OPENERS)
@settings(
    max_examples=100,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(members=MEMBERS, damage=DAMAGE)
def test_whatever_an_archive_holds(
    opener: Callable[[Path], Folder],
    members: list[tarfile.TarInfo],
    damage: list[tuple[int, bytes]],
) -> None:
    content = bytearray(archive_of(*members).getvalue())
    for place, piece in damage:
        content[place % len(content) : place % len(content) + len(piece)] = piece
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(archives, "open_folder", opener)
        watched = Watched(Path(folder))
        unpack(io.BytesIO(bytes(content)), watched.target)
        watched.check()
        # Once more, over what is there now.
        unpack(archive_of(*reversed(members)), watched.target)
        watched.check()
