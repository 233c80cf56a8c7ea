"""Archives that mean harm, unpacked beside things that nobody is to touch."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import tarfile
import tempfile
import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from pytest_agent_sandbox.client import archives
from pytest_agent_sandbox.client.folders import FolderByDescriptor, FolderByPath
from tests.support.hostile.search import search

OPENERS = [FolderByDescriptor, FolderByPath] if os.name != "nt" else [FolderByPath]
BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)

#: Seconds and bytes that no small archive takes.
_LONG, _MUCH = 20.0, 16 * 1024**2


def member(
    name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


def archive_of(*members: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> io.BytesIO:
    archive = io.BytesIO()
    with tarfile.open(
        fileobj=archive, mode="w", format=form, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        for info in members:
            if info.isreg():
                info.size = 4
            tar.addfile(info, io.BytesIO(b"evil"))
    return archive


def header(name: str, kind: bytes, size: int) -> bytes:
    info = member(name, kind)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def pax(*records: tuple[str, str], kind: bytes = b"x") -> bytes:
    body = b""
    for key, value in records:
        rest = f" {key}={value}\n".encode(errors="surrogateescape")
        length = len(rest) + 1
        while len(str(length)) + len(rest) != length:
            length += 1
        body += str(length).encode() + rest
    return header("pax", kind, len(body)) + _in_blocks(body)


def _in_blocks(body: bytes) -> bytes:
    return body.ljust(-(-len(body) // BLOCK) * BLOCK, b"\0")


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
                except (FileNotFoundError, NotADirectoryError):
                    pass  # a link to nothing leads somewhere too
                except OSError as error:
                    # A ring of links leads nowhere; resolve() may say otherwise (Python 3.11).
                    if error.errno != errno.ELOOP:
                        raise
                    continue
                assert path.resolve().is_relative_to(target)


def unpack(archive: io.BytesIO, target: Path) -> None:
    """As far as it goes: an archive may be refused, and may contradict itself."""
    with contextlib.suppress(OSError, tarfile.TarError):
        archives.unpack(archive, target)


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

_NUMBERS = st.integers(-(10**4), 10**4).map(str) | st.sampled_from(
    ["", "1e400", "inf", "nan", "-512", str(2**63), str(2**64), "9" * 5000, "x", "0x10", "1_0"]
)
_RECORDS = st.tuples(
    st.sampled_from(["path", "linkpath", "uname", "hdrcharset", "GNU.sparse.name"]),
    PATHS | UPWARDS | st.sampled_from(["BINARY", "\0", "x\0/../a", "/" * 5000]),
) | st.tuples(
    st.sampled_from(
        [
            "size",
            "mtime",
            "uid",
            "GNU.sparse.map",
            "GNU.sparse.size",
            "GNU.sparse.major",
            "GNU.sparse.minor",
            "GNU.sparse.numblocks",
            "GNU.sparse.offset",
            "SCHILY.realsize",
        ]
    ),
    _NUMBERS,
)
#: Blocks as no program writes them: descriptions without what they describe, and in a wrong order.
_BLOCKS = st.one_of(
    st.builds(
        lambda records, kind: pax(*records, kind=kind),
        st.lists(_RECORDS, max_size=4),
        st.sampled_from([b"x", b"g", b"X"]),
    ),
    st.builds(
        lambda kind, name: (
            header("name", kind, len(name.encode("utf-8", "surrogateescape")) + 1)
            + _in_blocks(name.encode("utf-8", "surrogateescape") + b"\0")
        ),
        st.sampled_from([tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK]),
        PATHS | UPWARDS,
    ),
    st.builds(
        lambda info, form: archive_of(info, form=form).getvalue()[: 2 * BLOCK],
        st.builds(member, PATHS, KINDS, UPWARDS, st.integers(0, 0o7777)),
        st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    ),
    st.builds(header, PATHS, KINDS, st.sampled_from([0, 1, 512, 513, 10**11])),
    st.binary(max_size=BLOCK).map(_in_blocks),
    st.just(bytes(BLOCK)),
)


@st.composite
def _archives(draw: st.DrawFn) -> bytes:
    """An archive of members, of odd blocks, or of both, damaged or not."""
    content = bytearray()
    if draw(st.booleans()):
        content += archive_of(*draw(MEMBERS)).getvalue().rstrip(b"\0")
        content += bytes(-len(content) % BLOCK)
    content += b"".join(draw(st.lists(_BLOCKS, max_size=8)))
    content += draw(st.sampled_from([END, END, b"", bytes(BLOCK)]))
    return damaged(content, draw(DAMAGE))


def damaged(content: bytes | bytearray, damage: Iterable[tuple[int, bytes]]) -> bytes:
    changed = bytearray(content)
    for place, piece in damage:
        start = place % max(1, len(changed))
        changed[start : start + len(piece)] = piece
    return bytes(changed)


#: Archives to unpack one after the other to the same folder, and the way to open folders.
CASES = st.tuples(st.lists(_archives(), min_size=1, max_size=3), st.sampled_from(OPENERS))


def check(case: tuple[list[bytes], Any]) -> None:
    """Nothing outside of the folder is touched, and it takes neither long nor much memory."""
    contents, opener = case
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(archives, "open_folder", opener)
        watched = Watched(Path(folder))
        began = time.process_time()
        tracemalloc.start()
        try:
            for content in contents:
                unpack(io.BytesIO(content), watched.target)
            assert tracemalloc.get_traced_memory()[1] < _MUCH
        finally:
            tracemalloc.stop()
        assert time.process_time() - began < _LONG
        watched.check()


def run(seed: int, count: int) -> None:
    """Unpack so many."""
    search(CASES, check, seed=seed, count=count)
