"""A hostile program at the gateway's door, with a token and without a client's manners."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import SecretStr

from pytest_agent_sandbox.llm.budgets import Budget, Ledger, Limits
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.live import LiveSource
from pytest_agent_sandbox.llm.pipeline import Policy

from .upstream import Upstream

KEY = "sk-the-real-key-0123456789"

Reached = list[tuple[str, str, dict[str, str], bytes]]


class Door:
    """A lane to a provider that notes what reaches it, with a budget that notes what is paid."""

    def __init__(self, gateway: Gateway, upstream: Upstream) -> None:
        self.ledger = Ledger()
        self._gateway = gateway
        self._upstream = upstream
        self.lane = self.open()

    def open(self, calls: int = 1_000_000, **policy: Any) -> Lane:
        budget = Budget("test", Limits(calls=calls), self.ledger)
        source = LiveSource(self._upstream.url, SecretStr(KEY))
        return self._gateway.open_lane(source, policy=Policy(budget, **policy))

    @property
    def paid(self) -> int:
        return self.ledger._spent.calls

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"{}",
        lane: Lane | None = None,
        **headers: str,
    ) -> tuple[int, bytes, Reached]:
        """Ask as a hostile program can, without a client's own manners.

        Returns:
            The status, the answer's body and what reached the provider.
        """
        before = len(self._upstream.requests)
        shown = {
            "Host": "x",
            "Connection": "close",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "X-Api-Key": (lane or self.lane).token,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in shown.items()), "", ""]
        received = b""
        with socket.create_connection(("127.0.0.1", self._gateway.port), timeout=10) as end:
            end.sendall("\r\n".join(lines).encode("latin-1") + body)
            while data := end.recv(65536):
                received += data
        head, _, content = received.partition(b"\r\n\r\n")
        return int(head.split()[1]), content, self._upstream.requests[before:]


@contextmanager
def opened() -> Iterator[Door]:
    with Upstream() as upstream, Gateway() as gateway:
        thread = threading.Thread(target=upstream.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Door(gateway, upstream)
        finally:
            upstream.shutdown()
            thread.join()
