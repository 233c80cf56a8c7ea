"""The API server of a cluster in which nothing runs: it shows what a test puts there."""

from __future__ import annotations

import json
import re
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.host.closing import Closing

#: The namespace that it has.
NAMESPACE = "agents"
_OURS = {"app.kubernetes.io/managed-by": "pytest-agent-sandbox"}


class KubeApi(Closing):
    """An API server; it refuses to make anything.

    Attributes:
        things: Pods and jobs, by the path that lists them.
        refused: Answers by the beginning of a request's line: status, and message.
        denied: Verbs that nobody may use, as "watch pods".
        skew: Seconds by which its clock is ahead.
        requests: What was asked, as "GET /version".
    """

    def __init__(self) -> None:
        self.things: dict[str, list[dict[str, Any]]] = {"pods": [], "jobs": []}
        self.refused: dict[str, tuple[int, str]] = {}
        self.denied: set[str] = set()
        self.skew = 0.0
        self.requests: list[str] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api._answer(self)

            do_POST = do_DELETE = do_GET  # noqa: N815 - their names in http.server

            def date_time_string(self, timestamp: float | None = None) -> str:
                del timestamp
                return super().date_time_string(datetime.now(UTC).timestamp() + api.skew)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True)
        self._thread.start()

    def write_kubeconfig(self, path: Path) -> None:
        """Writes a kubeconfig that leads here."""
        address = f"http://127.0.0.1:{self._server.server_port}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": address}}],
            "users": [{"name": "me", "user": {"token": "token-nobody-sees"}}],
            "contexts": [
                {
                    "name": "here",
                    "context": {"cluster": "fake", "user": "me", "namespace": NAMESPACE},
                }
            ],
            "current-context": "here",
        }
        path.write_text(json.dumps(config), "utf-8")

    def add(
        self,
        kind: str,
        name: str,
        labels: dict[str, str],
        *,
        test: str = "",
        minutes: float = 60,
        **status: Any,
    ) -> None:
        """Puts something there that is that old."""
        created = datetime.now(UTC) - timedelta(minutes=minutes)
        short = {f"pytest-agent-sandbox/{label}": value for label, value in labels.items()}
        metadata = {
            "name": name,
            "labels": {**_OURS, **short},
            "annotations": {"pytest-agent-sandbox/test": test},
            "creationTimestamp": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        self.things[kind].append({"metadata": metadata, "status": status})

    @property
    def changes(self) -> list[str]:
        """What was asked that would change something."""
        return [one for one in self.requests if re.match(r"DELETE|POST (?!.*reviews$)", one)]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        path = request.path.partition("?")[0]
        line = f"{request.command} {path}"
        self.requests.append(line)
        status, answer = self._told(line, path, json.loads(body or b"{}"))
        content = json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _told(self, line: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        for start, (status, message) in self.refused.items():
            if line.startswith(start):
                return status, {"message": message}
        return self._granted(line, path, body)

    def _granted(self, line: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path == "/version":
            return 200, {"gitVersion": "v1.99.0"}
        if path.endswith("/selfsubjectaccessreviews"):
            asked = body["spec"]["resourceAttributes"]
            assert asked["namespace"] == NAMESPACE
            resource = "/".join(filter(None, [asked["resource"], asked["subresource"]]))
            is_allowed = f"{asked['verb']} {resource}" not in self.denied
            return 201, {"status": {"allowed": is_allowed}}
        if line.startswith("DELETE") or line == f"GET /api/v1/namespaces/{NAMESPACE}":
            return 200, {}
        resource = path.rpartition("/")[2]
        if line.startswith("GET") and resource in self.things:
            return 200, {"items": self.things[resource]}
        return 404, {"message": f"{line} not found"}
