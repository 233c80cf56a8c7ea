"""A server of one conversation's events, and who follows them."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from pytest_agent_sandbox.client.event_log import EventLog
from pytest_agent_sandbox.client.events import Event
from pytest_agent_sandbox.client.stream import EventStream
from pytest_agent_sandbox.client.transport import ServerConnection
from tests.support.timing import eventually


class FakeServer:
    """The events of one conversation, served as a test wants them."""

    def __init__(self, certificate: Path | None = None) -> None:
        self._scheme = "http" if certificate is None else "https"
        self.log: list[dict[str, Any]] = []
        self.frames: list[Any] = []  # the frames of the next connections, each a list
        self.first_frames: list[str] = []
        self.connections = 0
        self.withheld = 0  # events that are counted, but never given
        self._server = uvicorn.Server(
            uvicorn.Config(
                Starlette(
                    routes=[
                        Route("/api/conversations/{id}/events/search", self._search),
                        Route("/api/conversations/{id}/events/count", self._count),
                        WebSocketRoute("/sockets/events/{id}", self._socket),
                    ]
                ),
                port=0,
                ws="websockets-sansio",
                log_level="critical",
                lifespan="off",
                timeout_graceful_shutdown=0,
                ssl_certfile=certificate,
            )
        )
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> FakeServer:
        self._thread.start()
        eventually(lambda: self._server.started)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.host = f"{self._scheme}://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()

    async def _search(self, request: Request) -> JSONResponse:
        ids = [event["id"] for event in self.log]
        page_id = request.query_params.get("page_id")
        at = ids.index(page_id) if page_id in ids else 0
        limit = int(request.query_params["limit"])
        following = self.log[at + limit :][:1]
        return JSONResponse(
            {
                "items": self.log[at : at + limit],
                "next_page_id": following[0]["id"] if following else None,
            }
        )

    async def _count(self, request: Request) -> JSONResponse:
        return JSONResponse(len(self.log) + self.withheld)

    async def _socket(self, socket: WebSocket) -> None:
        await socket.accept()
        self.connections += 1
        frames = self.frames.pop(0) if self.frames else []
        for frame in frames:
            if frame == "auth":
                self.first_frames.append(await socket.receive_text())
            elif isinstance(frame, int):
                await socket.close(frame)
                return
            else:
                await socket.send_text(frame if isinstance(frame, str) else json.dumps(frame))
        with contextlib.suppress(WebSocketDisconnect):
            self.first_frames.append(await socket.receive_text())


def fact(number: int) -> dict[str, Any]:
    return {"id": f"e{number}", "kind": "MessageEvent", "llm_message": {"role": "user"}}


STATE = {"id": "s", "kind": "ConversationStateUpdateEvent", "key": "full_state", "value": {}}


class Following:
    """A stream and what came out of it."""

    def __init__(
        self, server: FakeServer, *, api_key: str | None = None, guard: Any = None
    ) -> None:
        self.log = EventLog()
        self.received: list[tuple[str, bool]] = []
        self.connection = ServerConnection(server.host, api_key, guard=guard)
        self.stream = EventStream(self.connection, "c", self.log, self._receive)

    def _receive(self, event: Event, opening: bool) -> None:
        self.received.append((event.id, opening))

    @property
    def ids(self) -> list[str]:
        return [identity for identity, _ in self.received]

    def __enter__(self) -> Following:
        self.stream.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.connection.close()
        assert not any(t.name.startswith("event-stream") for t in threading.enumerate())
