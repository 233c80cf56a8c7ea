"""Answers that are compressed, as they say or not."""

from __future__ import annotations

import gzip
import importlib.util
import json
import threading
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest

from pytest_agent_sandbox.llm.lane import Lane

from .wire import KEY, url


def test_a_compressed_error_is_masked_too(lane: Lane, upstream: Any) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = gzip.compress(f"no such key {KEY}".encode())
        handler.send_response(401)
        handler.send_header("content-encoding", "gzip")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    upstream.answer = answer
    got = httpx.get(url(lane, "/models"), headers={"x-api-key": lane.token})
    assert (got.status_code, got.text) == (401, "no such key ***")


def test_what_the_provider_compresses_anyway_stays_readable(lane: Lane, upstream: Any) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = gzip.compress(b"hello")
        handler.send_response(200)
        handler.send_header("content-encoding", "gzip")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    upstream.answer = answer
    assert httpx.get(url(lane, "/models"), headers={"x-api-key": lane.token}).text == "hello"


PLAIN = json.dumps({"a": "hello " * 50}).encode()
RAW_DEFLATE = zlib.compressobj(wbits=-15)
ENCODED = {
    # content-encoding, and the body
    "gzip": ("gzip", gzip.compress(PLAIN)),
    "capitals": ("GZip", gzip.compress(PLAIN)),
    "members": ("gzip", gzip.compress(PLAIN[:9]) + gzip.compress(b"") + gzip.compress(PLAIN[9:])),
    "padded": ("gzip", gzip.compress(PLAIN[:9]) + b"\0\0" + gzip.compress(PLAIN[9:]) + b"\0"),
    "members inside": (
        "gzip, deflate",
        zlib.compress(gzip.compress(PLAIN[:9]) + gzip.compress(PLAIN[9:])),
    ),
    "an old name": ("x-gzip", gzip.compress(PLAIN)),
    "deflate": ("deflate", zlib.compress(PLAIN)),
    "raw deflate": ("deflate", RAW_DEFLATE.compress(PLAIN) + RAW_DEFLATE.flush()),
    "none": ("identity", PLAIN),
    "several": ("deflate, identity,GZIP", gzip.compress(zlib.compress(PLAIN))),
}


#: The same by libraries that need not be there.
BR = bytes.fromhex("1b3401f81d07b969e50ac4e1b19ec8a21409db6b9d32b43e09c2f656920c18071cbc40d618")
ZSTD = bytes.fromhex("28b52ffd603500b50000787b2261223a202268656c6c6f20227d01002351cb17")
BY_A_LIBRARY = {
    "br": ("br", BR, "brotli"),
    "zstd": ("zstd", ZSTD, "zstandard"),
    "br in gzip": ("BR, gzip", gzip.compress(BR), "brotli"),
}


def encoded(
    encoding: str, body: bytes, status: int = 200
) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-encoding", encoding)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(("encoding", "body"), ENCODED.values(), ids=ENCODED)
def test_whatever_can_be_decoded_is(
    lane: Lane, upstream: Any, encoding: str, body: bytes, status: int
) -> None:
    upstream.answer = encoded(encoding, body, status)
    got = httpx.get(url(lane, "/models"), headers={"x-api-key": lane.token})
    assert (got.status_code, got.content) == (status, PLAIN)
    assert "content-encoding" not in got.headers


@pytest.mark.parametrize(("encoding", "body", "library"), BY_A_LIBRARY.values(), ids=BY_A_LIBRARY)
def test_what_takes_a_library_is_decoded_where_that_is(
    lane: Lane, upstream: Any, encoding: str, body: bytes, library: str
) -> None:
    upstream.answer = encoded(encoding, body)
    with httpx.stream("GET", url(lane, "/models"), headers={"x-api-key": lane.token}) as got:
        if importlib.util.find_spec(library) is None:
            assert got.headers["content-encoding"] == encoding
            assert b"".join(got.iter_raw()) == body
        else:
            assert "content-encoding" not in got.headers
            assert b"".join(got.iter_raw()) == PLAIN


@pytest.mark.parametrize("encoding", ["compress", "gzip, compress", "dcb"])
def test_what_cannot_be_decoded_is_passed_on_with_its_header(
    lane: Lane, upstream: Any, encoding: str
) -> None:
    upstream.answer = encoded(encoding, b"\x1f\x9d\x90")
    with httpx.stream("GET", url(lane, "/models"), headers={"x-api-key": lane.token}) as got:
        assert got.headers["content-encoding"] == encoding
        assert b"".join(got.iter_raw()) == b"\x1f\x9d\x90"


def test_an_error_that_cannot_be_read_is_told_by_its_status(lane: Lane, upstream: Any) -> None:
    """The key may be in it, where nobody can mask it."""
    for encoding, body in (("compress", b"sk-real"), ("gzip", b"no gzip: sk-real")):
        upstream.answer = encoded(encoding, body, 429)
        got = httpx.post(url(lane, "/messages"), headers={"x-api-key": lane.token}, json={})
        assert got.status_code == 429
        assert f"content-encoding is {encoding}" in got.json()["error"]["message"]
        assert "sk-real" not in got.text
        assert "cannot be read" in lane.calls[-1].problem


@pytest.mark.parametrize("body", [PLAIN, gzip.compress(PLAIN) + b"more"], ids=["none", "in part"])
def test_an_answer_that_is_not_encoded_as_it_says_breaks_off(
    lane: Lane, upstream: Any, body: bytes
) -> None:
    upstream.answer = encoded("gzip", body)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(url(lane, "/messages"), headers={"x-api-key": lane.token}, json={})
    assert "is no gzip, as its content-encoding says" in lane.calls[-1].problem


def test_members_are_found_wherever_a_chunk_ends(lane: Lane, upstream: Any) -> None:
    body = b"".join(gzip.compress(PLAIN[i : i + 50]) for i in range(0, len(PLAIN), 50))

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-encoding", "gzip")
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        for byte in body:
            handler.wfile.write(b"1\r\n%c\r\n" % byte)
        handler.wfile.write(b"0\r\n\r\n")

    upstream.answer = answer
    assert httpx.get(url(lane, "/models"), headers={"x-api-key": lane.token}).content == PLAIN


def test_a_compressed_stream_is_read_as_it_comes(lane: Lane, upstream: Any) -> None:
    compressor = zlib.compressobj(wbits=31)
    go_on = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("content-encoding", "gzip")
        handler.send_header("connection", "close")
        handler.end_headers()
        for text in ("one", "two"):
            event = f"data: {text}\n\n".encode()
            handler.wfile.write(compressor.compress(event) + compressor.flush(zlib.Z_SYNC_FLUSH))
            go_on.wait(10)
        handler.wfile.write(compressor.flush())

    upstream.answer = answer
    with httpx.stream("GET", url(lane, "/models"), headers={"x-api-key": lane.token}) as got:
        chunks = got.iter_raw()
        assert next(chunks) == b"data: one\n\n"
        go_on.set()
        assert b"".join(chunks) == b"data: two\n\n"
