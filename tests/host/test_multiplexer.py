"""What the other end of a tunnel may do, which is not to be trusted."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator

import pytest

from pytest_agent_sandbox.host import multiplexer
from pytest_agent_sandbox.host.multiplexer import (
    CREDIT,
    DATA,
    END,
    HEADER,
    LARGEST,
    OPEN,
    RESET,
    Multiplexer,
    TunnelError,
)


@pytest.fixture
def run() -> Iterator[Callable[..., object]]:
    with asyncio.Runner() as runner:
        yield runner.run


def frame(number: int, kind: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(number, kind, len(payload)) + payload


PORT = (80).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (HEADER.pack(2, DATA, LARGEST + 1), "a frame of 65537 bytes"),
        (frame(2, 9), "a frame of kind 9"),
        (frame(3, OPEN, PORT), "a connection of number 3"),
        (frame(2, OPEN, PORT) * 2, "a connection of number 2"),
        (frame(2, OPEN, b"x"), "a connection to nowhere"),
        (frame(2, OPEN, PORT) + frame(2, DATA, bytes(LARGEST)) * 5, "more bytes than"),
        (frame(2, OPEN, PORT) + frame(2, CREDIT, b"\xff" * 4), "credit for what was not sent"),
        (frame(2, OPEN, PORT) + frame(2, CREDIT, b"x"), "a credit of nothing"),
        (frame(2, OPEN, PORT) + frame(2, END) * 2, "more after the end"),
        (frame(2, OPEN, PORT) + frame(2, END) + frame(2, DATA, b"x"), "more after the end"),
    ],
)
def test_what_breaks_the_protocol_breaks_the_tunnel(run, sent: bytes, complaint: str) -> None:
    async def check() -> None:
        ends = Multiplexer(_sent, _never, 1)
        sending = asyncio.create_task(ends.run())
        with pytest.raises(TunnelError, match=complaint):
            ends.feed(sent)
        sending.cancel()
        await asyncio.wait([sending])

    run(check())


def test_who_does_not_read_is_not_waited_for(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiplexer, "_MOST_WAITING", 10_000)

    async def check() -> None:
        ends = Multiplexer(_never, _never, 1)
        sending = asyncio.create_task(ends.run())
        # Those past the 256th are refused, which has to be said.
        opened = [frame(number, OPEN, PORT) for number in range(2, 4002, 2)]
        ends.feed(b"".join(opened))
        with pytest.raises(TunnelError, match="it does not read"):
            ends.feed(opened[-1])
        sending.cancel()
        await asyncio.wait([sending])

    run(check())


def test_the_other_end_cannot_use_up_what_this_one_may_open(run) -> None:
    async def check() -> None:
        ends = Multiplexer(_sent, _never, 1)
        sending = asyncio.create_task(ends.run())
        ends.feed(b"".join(frame(number, OPEN, PORT) for number in range(2, 2002, 2)))
        reader = asyncio.StreamReader()
        writer = _Writer()
        accepting = asyncio.create_task(ends.accept(80, reader, writer))
        await asyncio.sleep(0.01)
        assert not writer.is_closed
        accepting.cancel()
        sending.cancel()
        await asyncio.wait([sending, accepting])
        assert writer.is_closed

    run(check())


class _Writer:
    is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_any_bytes(run) -> None:
    """They are a broken tunnel, or nothing; never anything else."""
    source = random.Random(7)

    async def check() -> None:
        broken = 0
        for _ in range(300):
            ends = Multiplexer(_sent, _never, 1)
            sending = asyncio.create_task(ends.run())
            try:
                for _ in range(200):
                    kinds = [OPEN, DATA, END, RESET, CREDIT, CREDIT, source.randrange(256)]
                    payload = source.choice([PORT, b"", b"x", (1).to_bytes(4, "big")])
                    number = source.choice([1, 2, 4, 6])
                    ends.feed(frame(number, source.choice(kinds), payload))
                    await asyncio.sleep(0)
            except TunnelError:
                broken += 1
            sending.cancel()
            await asyncio.wait([sending])
        assert broken > 10

    run(check())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("agent")]


async def _sent(data: bytes) -> None:
    """Takes all."""


async def _never(*_: object) -> object:
    await asyncio.Event().wait()
