"""Pictures to send: real ones of each kind, as small as they come."""

import base64
import struct
import zlib

JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAFA3PEY8MlBGQUZaVVBfeMiCeG5uePWvuZHI////////////////////////////"
    "////////////////////////2wBDAVVaWnhpeOuCguv/////////////////////////////////////////////////////"
    "////////////////////wAARCAACAAMDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAT/xAAUEAEAAAAAAAAAAAAA"
    "AAAAAAAA/8QAFAEBAAAAAAAAAAAAAAAAAAAAAP/EABQRAQAAAAAAAAAAAAAAAAAAAAD/2gAMAwEAAhEDEQA/AIgAf//Z"
)
WEBP = base64.b64decode(
    "UklGRkYAAABXRUJQVlA4WAoAAAAQAAAAAgAAAQAAQUxQSAcAAAAAAAAAAAAAAFZQOCAYAAAAMAEAnQEqAwACAAdAliWkAANw"
    "AP7vuQAA"
)
#: The same without the part that says that it has more than one layer.
WEBP_PLAIN = b"RIFF\x24\0\0\0WEBP" + WEBP[WEBP.index(b"VP8 ") :]
GIF = base64.b64decode("R0lGODlhAwACAIAAAP8AAAAAACH5BAAAAAAALAAAAAADAAIAAAIChF8AOw==")
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="3" height="2"><script>x</script></svg>'


def png(width=3, height=2, colour=(255, 0, 0), comment=b""):
    """A picture in one colour."""
    rows = (b"\0" + bytes(colour) * width) * height
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        *([(b"tEXt", b"Comment\0" + comment)] if comment else []),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def encoded(data):
    return base64.b64encode(data).decode("ascii")


def data_url(data, kind="png"):
    return f"data:image/{kind};base64,{encoded(data)}"
