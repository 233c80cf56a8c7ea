"""What a hostile sandbox does to the gateway's other conversations: their waits, and memory."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from measuring import Report

from pytest_agent_sandbox import say
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
from pytest_agent_sandbox.llm.cassettes.player import CassettePlayer
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.script import Script
from pytest_agent_sandbox.llm.sse import EventSplitter

_MEGABYTE = 1 << 20
#: What large bodies repeat, and how many times the given size they have: a long text, what the
#: patterns of cassettes are slowest for, and what takes most memory for its size.
_REPEATED = {
    "words": ("lorem ipsum dolor ", 30),
    "digits": ("1 ", 1),
    "values": ("[],", 30),
}
#: Connections whose bodies do not end, and megabytes of each.
_UNFINISHED = (30, 31)
_PIECE = 4096


def measure_hostile(
    report: Report, gateway: Gateway, client: Executor, *, rounds: int, is_quick: bool
) -> None:
    """Adds how long other calls take beside large bodies, what those hold, and one large event."""
    for _ in range(rounds):
        for kind in _REPEATED:
            longest, whole = _beside(gateway, client, kind, is_quick=is_quick)
            report.add(f"longest call beside a body of {kind}", longest)
            report.add(f"a body of {kind}", whole)
        _split_large_event(report, 1 if is_quick else 10)
    count, megabytes = (2, 1) if is_quick else _UNFINISHED
    with gateway.open_lane(Script([])) as lane:
        sending = client.submit(send_unfinished, _door(lane), count, megabytes)
        process = psutil.Process()
        before = most = process.memory_info().rss
        while not sending.done():
            most = max(most, process.memory_info().rss)
            time.sleep(0.02)
        sending.result()
    report.value(f"{count} bodies without an end (MB held)", (most - before) / _MEGABYTE)


def _beside(
    gateway: Gateway, client: Executor, kind: str, *, is_quick: bool
) -> tuple[float, float]:
    player = CassettePlayer(
        Path("none.json"), test="x", mode="none", match="strict", normalise=Normaliser()
    )
    text, megabytes = _REPEATED[kind]
    with (
        gateway.open_lane(player.source("1", None)) as hostile,
        gateway.open_lane(Script([say("Hello.")] * 100_000)) as other,
    ):
        size = _MEGABYTE // 4 if is_quick else megabytes * _MEGABYTE
        doors = {"hostile": _door(hostile), "other": _door(other)}
        return client.submit(ask_beside, doors, text, size).result()


def _door(lane: Lane) -> tuple[str, str]:
    return lane.base_url("127.0.0.1"), lane.token


def ask_beside(doors: Mapping[str, tuple[str, str]], text: str, size: int) -> tuple[float, float]:
    """Asks small questions for as long as a large one takes; the longest one's seconds, and its."""
    told = text * (size // len(text))
    messages = f"[{told}1]" if told.startswith("[") else json.dumps([{"content": told}])
    body = f'{{"model": "m", "messages": {messages}}}'.encode()
    took: list[float] = []
    asking = threading.Thread(target=lambda: took.append(_ask(doors["hostile"], body)))
    asking.start()
    longest = 0.0
    while asking.is_alive():
        small = b'{"model": "m", "messages": [{"role": "user", "content": "Hello?"}]}'
        longest = max(longest, _ask(doors["other"], small))
        time.sleep(0.002)
    asking.join()
    return longest, took[0]


def _ask(door: tuple[str, str], body: bytes) -> float:
    base_url, token = door
    began = time.perf_counter()
    connection = HTTPConnection(urlsplit(base_url).netloc, timeout=120)
    try:
        connection.request("POST", "/v1/chat/completions", body, {"x-api-key": token})
        connection.getresponse().read()
    finally:
        connection.close()
    return time.perf_counter() - began


def send_unfinished(door: tuple[str, str], count: int, megabytes: int) -> None:
    """Sends so many bodies but for their last byte, and keeps their connections for a moment."""
    base_url, token = door
    at = urlsplit(base_url)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Api-Key: {token}\r\n"
        f"Content-Length: {megabytes * _MEGABYTE + 1}\r\n\r\n"
    )
    with ExitStack() as connections:
        for _ in range(count):
            connection = socket.create_connection((at.hostname or "", at.port or 0), timeout=60)
            connections.enter_context(connection)
            connection.sendall(head.encode())
            for _ in range(megabytes):
                connection.sendall(b" " * _MEGABYTE)
        time.sleep(0.2)


def _split_large_event(report: Report, megabytes: int) -> None:
    stream = b"data: " + b"x" * (megabytes * _MEGABYTE) + b"\n\n"
    splitter = EventSplitter()
    with report.timing("a large event in pieces of 4 KB"):
        for start in range(0, len(stream), _PIECE):
            splitter.feed(stream[start : start + _PIECE])
