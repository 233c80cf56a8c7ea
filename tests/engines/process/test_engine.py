"""Servers without containers: what one does whose port somebody else has taken.

The servers here are stand-ins, for the moment cannot be met on demand; tests/interop has real ones.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pytest_agent_sandbox.engines.engine import EngineContext, SandboxRequest
from pytest_agent_sandbox.engines.process import engine as process_engine
from pytest_agent_sandbox.engines.process.engine import ProcessEngine
from pytest_agent_sandbox.errors import ServerError
from pytest_agent_sandbox.settings.table import SandboxSettings


class Handler(BaseHTTPRequestHandler):
    """Ready, and wants another key."""

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/ready" else 401)

    def do_POST(self) -> None:
        self._answer(401)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def port_of_another() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_port_that_another_server_has_is_not_the_only_try(
    port_of_another: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ports: list[int] = []

    def free_port() -> int:
        ports.append(port_of_another)
        return port_of_another

    monkeypatch.setattr(process_engine, "free_port", free_port)
    monkeypatch.setattr(ProcessEngine, "version", "1.58.0")
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(ProcessEngine, "_command", lambda *_: sleeping)
    settings = replace(SandboxSettings(), engine="process", start_timeout=10)
    request = SandboxRequest(settings=settings, test="t.py::test_it", log_path=tmp_path / "log")
    context = EngineContext(settings=settings, run="1")
    with ProcessEngine(context) as engine, pytest.raises(ServerError, match="401"):
        engine.start(request)
    assert len(ports) == 3
