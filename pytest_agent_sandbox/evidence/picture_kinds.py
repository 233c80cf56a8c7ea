"""Kinds and sizes of pictures, told by the first bytes of a file, whatever its name is."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

_PNG = b"\x89PNG\r\n\x1a\n"
_GIFS = (b"GIF87a", b"GIF89a")
#: The segments of a JPEG that hold its size; the numbers between them mean something else.
_JPEG_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
#: Those that have no length.
_JPEG_BARE = {0x01, *range(0xD0, 0xD8)}
#: A real JPEG has some twenty segments before its size; what is longer is made to keep us busy.
_MOST_SEGMENTS = 1000

_Size = tuple[int, int]


@dataclass(frozen=True)
class Picture:
    """Picture that browsers draw."""

    data: bytes
    #: As its media type is called: `png`, `jpeg`, `gif` or `webp`.
    kind: str
    width: int
    height: int

    @property
    def suffix(self) -> str:
        """Return how the name of its file ends."""
        return ".jpg" if self.kind == "jpeg" else f".{self.kind}"

    @property
    def media_type(self) -> str:
        """Return its media type."""
        return f"image/{self.kind}"


def picture_of(data: bytes) -> Picture | None:
    """Return the picture that the bytes are, or None where they are none of the four kinds."""
    for kind, read_size in _READERS.items():
        try:
            size = read_size(data)
        except (IndexError, struct.error):  # it breaks off in its head
            continue
        if size is not None and min(size) > 0:
            return Picture(data, kind, *size)
    return None


def _png_size(data: bytes) -> _Size | None:
    if not data.startswith(_PNG) or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _gif_size(data: bytes) -> _Size | None:
    if not data.startswith(_GIFS):
        return None
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _jpeg_size(data: bytes) -> _Size | None:
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if data[at] != 0xFF:  # noqa: PLR2004 - each segment begins so
            return None
        kind = data[at + 1]
        if kind == 0xFF:  # noqa: PLR2004 - between segments there may be more of them
            at += 1
            continue
        if kind in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        (length,) = struct.unpack_from(">H", data, at + 2)
        at += 2 if kind in _JPEG_BARE else 2 + length
    return None


def _webp_size(data: bytes) -> _Size | None:
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    match data[12:16]:
        case b"VP8 " if data[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L" if data[20] == 0x2F:  # noqa: PLR2004 - its signature
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X" if len(data) >= 30:  # noqa: PLR2004 - where its size ends
            return (
                int.from_bytes(data[24:27], "little") + 1,
                int.from_bytes(data[27:30], "little") + 1,
            )
    return None


_READERS: dict[str, Callable[[bytes], _Size | None]] = {
    "png": _png_size,
    "jpeg": _jpeg_size,
    "gif": _gif_size,
    "webp": _webp_size,
}
