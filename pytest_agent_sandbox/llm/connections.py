"""The gateway's own connections to providers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx

#: Seconds. A model may think for minutes before its first byte.
_TIMEOUT = httpx.Timeout(60.0, connect=15.0, read=900.0, pool=None)
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)


class Connections:
    """The HTTP client for all providers, made when the first live request needs it.

    It is for the gateway's event loop only.
    """

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request as it is, without cookies; the answer's body is still to be read.

        A provider may close a connection that was kept from an earlier request at the very moment
        it is used again; the request is then sent once more, by another connection.

        Raises:
            httpx.HTTPError: No answer has come.
        """
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=_TIMEOUT,
                limits=_LIMITS,
                # A company's proxy is for the world outside, never for this machine.
                mounts={"all://localhost": None, "all://127.0.0.1": None, "all://[::1]": None},
            )
        while True:
            events: list[str] = []
            request.extensions["trace"] = _noting(events)
            try:
                return await self._client.send(request, stream=True)
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                if any(event.startswith("connection.connect") for event in events):
                    raise  # on a connection of its own

    async def aclose(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()


def _noting(events: list[str]) -> Callable[[str, object], Awaitable[None]]:
    async def note(event: str, _: object) -> None:
        events.append(event)

    return note
