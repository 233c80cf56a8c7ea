"""A service that runs agent servers behind the Runtime API, and behind that of OpenHands Cloud.

It speaks what is written down in OpenHands/software-agent-sdk (`openhands-workspace`) and in
OpenHands/OpenHands (`app_server/sandbox`).
"""

from __future__ import annotations

import itertools
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pytest_agent_sandbox import DockerWorkspace

from .relay import Relay

KEY = "key-of-the-api-0123456789"


class Server:
    """What a sandbox's server is where nobody needs a real one: it says that it is ready."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        #: Its own requests that it answers 503 before it is ready.
        self.unready = 0

    def pause(self) -> None: ...

    def resume(self) -> None:
        self.key = f"{self.key}-after-a-pause"  # the API makes a new one each time

    def stop(self) -> None: ...


class RealServer(Server):
    """A real agent server, in a container; a pause breaks the connections to it."""

    def __init__(self, workspace: DockerWorkspace) -> None:
        self._relay = Relay(workspace.host)
        super().__init__(self._relay.host, workspace.session_key.get_secret_value())
        self._workspace = workspace
        self._relay.__enter__()

    def pause(self) -> None:
        self._workspace.pause()
        self._relay.cut()

    def resume(self) -> None:
        self._workspace.resume()

    def stop(self) -> None:
        self._relay.__exit__()
        self._workspace.close()


@dataclass
class Sandbox:
    """A sandbox that the service runs."""

    id: str
    server: Server
    request: dict[str, Any]
    status: str = "running"
    pod_status: str = "ready"
    more: dict[str, Any] = field(default_factory=dict)
    #: What its status is next, each for one question.
    coming: deque[tuple[str, str]] = field(default_factory=deque)


class Hosting:
    """The service.

    Attributes:
        url: Its address.
        asked: Each request: method and path.
        headers: Of the last request.
        refusals: What it answers next to a method and a path's end, in place of obeying.
        sandboxes: By their names, which are a client's sessions.
        prepare: Called with each sandbox before its start is answered.
    """

    def __init__(self, start: Callable[[str, str], Server] | None = None) -> None:
        self.asked: list[tuple[str, str]] = []
        self.headers: dict[str, str] = {}
        self.refusals: deque[tuple[str, str, int, Any]] = deque()
        self.sandboxes: dict[str, Sandbox] = {}
        self.prepare: Callable[[Sandbox], object] = lambda _: None
        self._start = start
        self._numbers = itertools.count(1)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = False
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        for sandbox in self.sandboxes.values():
            sandbox.server.stop()

    def count(self, method: str, end: str) -> int:
        return sum(asked == method and path.endswith(end) for asked, path in self.asked)

    def answer(
        self, method: str, path: str, query: dict[str, list[str]], body: Any
    ) -> tuple[int, Any]:
        """Obey a request."""
        for refusal in list(self.refusals):
            wanted, end, status, content = refusal
            if wanted == method and path.endswith(end):
                self.refusals.remove(refusal)
                return status, content
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[0] == "servers":
            return self._of_server(parts[1], "/" + "/".join(parts[2:]))
        if parts[:3] == ["api", "v1", "sandboxes"]:
            if self.headers.get("authorization") != f"Bearer {KEY}":
                return 401, {"detail": f"no such key: {self.headers.get('authorization')}"}
            return self._of_cloud(method, parts[3:], query)
        if self.headers.get("x-api-key") != KEY:
            return 401, {"detail": f"no such key: {self.headers.get('x-api-key')}"}
        return self._of_runtimes(method, parts, body)

    def _of_runtimes(self, method: str, parts: list[str], body: Any) -> tuple[int, Any]:
        match method, parts:
            case "POST", ["start"]:
                return 200, _as_runtime(self._new(body["session_id"], body))
            case "GET", ["sessions", session] if session in self.sandboxes:
                sandbox = self.sandboxes[session]
                if sandbox.coming:
                    sandbox.status, sandbox.pod_status = sandbox.coming.popleft()
                return 200, _as_runtime(sandbox)
            case "POST", ["pause" | "resume" | "stop" as verb]:
                for name, sandbox in self.sandboxes.items():
                    if sandbox.id == body["runtime_id"]:
                        self._do(verb, name)
                        return 200, _as_runtime(sandbox)
        return 404, {"detail": "no such thing"}

    def _of_cloud(
        self, method: str, parts: list[str], query: dict[str, list[str]]
    ) -> tuple[int, Any]:
        match method, parts:
            case "POST", []:
                name = f"sandbox-{next(self._numbers)}"
                return 200, {"id": self._new(name, dict(query), name).id}
            case "GET", []:
                return 200, [self._as_cloud(name) for name in query["id"]]
            case "POST", [name, "pause" | "resume" as verb] if name in self.sandboxes:
                self._do(verb, name)
                return 200, {"success": True}
            case "DELETE", [name] if query.get("sandbox_id") == [name] and name in self.sandboxes:
                self._do("stop", name)
                return 200, {"success": True}
        return 404, {"detail": "no such thing"}

    def _of_server(self, sandbox_id: str, path: str) -> tuple[int, Any]:
        server = next(each.server for each in self.sandboxes.values() if each.id == sandbox_id)
        if path == "/ready" and server.unready:
            server.unready -= 1
            return 503, {"detail": "not ready yet"}
        if path in ("/ready", "/alive", "/server_info"):
            return 200, {"version": "1.58.0", "status": "ok"}
        right = self.headers.get("x-session-api-key") == server.key
        return (200, {"conversations": 7}) if right else (401, {"detail": "no such session key"})

    def _new(self, name: str, request: dict[str, Any], sandbox_id: str = "") -> Sandbox:
        sandbox_id = sandbox_id or f"runtime-{next(self._numbers)}"
        key = f"session-key-of-{sandbox_id}"
        url = f"{self.url}/servers/{sandbox_id}"
        server = Server(url, key) if self._start is None else self._start(url, key)
        sandbox = Sandbox(sandbox_id, server, request)
        self.prepare(sandbox)
        self.sandboxes[name] = sandbox
        return sandbox

    def _do(self, verb: str, name: str) -> None:
        sandbox = self.sandboxes[name]
        getattr(sandbox.server, verb)()
        if verb == "stop":
            del self.sandboxes[name]
        sandbox.status = {"pause": "paused", "resume": "running", "stop": "stopped"}[verb]

    def _as_cloud(self, name: str) -> dict[str, Any] | None:
        sandbox = self.sandboxes.get(name)
        if sandbox is None:
            return None
        if sandbox.coming:
            sandbox.status, _ = sandbox.coming.popleft()
        running = sandbox.status == "running"
        urls = [
            {"name": "VSCODE", "url": "http://127.0.0.1:9/vscode", "port": 60001},
            {"name": "AGENT_SERVER", "url": sandbox.server.url, "port": 60000},
        ]
        return {
            "id": sandbox.id,
            "status": sandbox.status.upper(),
            "session_api_key": sandbox.server.key if running else None,
            "exposed_urls": urls if running else None,
            **sandbox.more,
        }


def _as_runtime(sandbox: Sandbox) -> dict[str, Any]:
    return {
        "runtime_id": sandbox.id,
        "url": sandbox.server.url,
        "session_api_key": sandbox.server.key,
        "status": sandbox.status,
        "pod_status": sandbox.pod_status,
        **sandbox.more,
    }


def _handler(hosting: Hosting) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            hosting.asked.append((self.command, parts.path))
            hosting.headers = {name.lower(): value for name, value in self.headers.items()}
            status, content = hosting.answer(self.command, parts.path, parse_qs(parts.query), body)
            if status == 0:  # the answer gets lost
                self.close_connection = True
                return
            encoded = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    return Handler


@contextmanager
def hosting(start: Callable[[str, str], Server] | None = None) -> Iterator[Hosting]:
    """The service, for the time of a `with` statement."""
    service = Hosting(start)
    try:
        yield service
    finally:
        service.close()
