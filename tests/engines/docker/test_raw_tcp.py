"""What an isolated sandbox reaches by name over TCP, whatever is spoken there."""

from __future__ import annotations

import base64
import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_agent_sandbox import DockerWorkspace
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.sandbox.forwards import dial

NAME = "db.example.com"


class Reverse(socketserver.StreamRequestHandler):
    """Speaks first, as many databases do, and then sends each line back reversed."""

    def handle(self) -> None:
        self.wfile.write(b"ready\n")
        for line in self.rfile:
            self.wfile.write(line.strip()[::-1] + b"\n")


@pytest.fixture
def database() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Reverse) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


TALK = """
import socket, sys
end = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
with end, end.makefile("rwb", 0) as file:
    print(file.readline().decode().strip() or "closed")
    for word in sys.argv[3:]:
        file.write(word.encode() + b"\\n")
        print(file.readline().decode().strip())
"""


def talk(workspace: DockerWorkspace, name: str, port: int, *words: str) -> str:
    workspace.write_text("talk.py", TALK)
    command = ["python3", "talk.py", name, str(port), *words]
    result = workspace.execute_command(" ".join(command))
    return result.stdout + result.stderr


@pytest.mark.parametrize(
    "kind", [{}, {"isolation": "recycled"}, {"security": "strict"}, {"security": "sudo"}]
)
def test_a_place_that_is_allowed_is_reached_by_any_protocol(
    engine: ContainerEngine, agent_server_image: str, database: int, kind: dict[str, Any]
) -> None:
    here = f"host.docker.internal:{database}"
    with DockerWorkspace(
        server_image=agent_server_image,
        engine=engine,
        network="isolated",
        allow=[here, f"{NAME}:5432", f"{NAME}:81", f"{NAME}:8000", f"10.1.2.3:{database}"],
        **kind,
    ) as workspace:
        assert talk(workspace, "host.docker.internal", database, "abc", "de") == "ready\ncba\ned\n"
        assert workspace.sandbox.egress.allowed == {here: 1}
        assert not workspace.sandbox.container.unheard
        # The same seam is there for what is no host of the internet's, on ports of root's too.
        for port in (5432, 81):
            workspace.sandbox.forwards.lead(NAME, port, dial("127.0.0.1", database))
            assert talk(workspace, NAME, port, "abc") == "ready\ncba\n"
        # What has no name, or not this port.
        assert "unreachable" in talk(workspace, "10.1.2.3", database)
        assert "refused" in talk(workspace, NAME, 5433)
        assert "gaierror" in talk(workspace, "example.com", 80)
        facts = workspace.facts()
        assert NAME in facts["may connect to"]


def test_why_a_place_cannot_be_reached_is_told(
    engine: ContainerEngine, agent_server_image: str
) -> None:
    with DockerWorkspace(
        server_image=agent_server_image,
        engine=engine,
        network="isolated",
        allow=["nobody.invalid:5432"],
    ) as workspace:
        assert talk(workspace, "nobody.invalid", 5432) == "closed\n"
        told = workspace.end_facts()["could not reach"]
    assert told.startswith("nobody.invalid:5432 (")


class Canary(socketserver.BaseRequestHandler):
    """A server that is not allowed: it counts who comes."""

    came = 0

    def handle(self) -> None:
        type(self).came += 1


def client_hello(name: str) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(
            incoming, outgoing, server_hostname=name
        ).do_handshake()
    return outgoing.read()


def test_what_is_said_on_a_connection_leads_nowhere_else(
    engine: ContainerEngine, agent_server_image: str, database: int
) -> None:
    Canary.came = 0
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Canary) as canary:
        threading.Thread(target=canary.serve_forever, daemon=True).start()
        port = canary.server_address[1]
        place = f"127.0.0.1:{port}"
        tricks = [
            f"GET http://{place}/ HTTP/1.1\r\nHost: {place}\r\n\r\n".encode(),
            f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode(),
            client_hello("localhost"),
            b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big"),
            b"\x04\x01" + port.to_bytes(2, "big") + b"\x7f\x00\x00\x01\x00",
            f"PROXY TCP4 127.0.0.1 127.0.0.1 1 {port}\r\n".encode(),
        ]
        words = [base64.b64encode(each).decode() for each in tricks]
        program = TALK.replace("word.encode()", "base64.b64decode(word)").replace(
            "import socket", "import base64, socket"
        )
        with DockerWorkspace(
            server_image=agent_server_image,
            engine=engine,
            network="isolated",
            allow=[f"host.docker.internal:{database}"],
        ) as workspace:
            workspace.write_text("tricks.py", program)
            here = f"python3 tricks.py host.docker.internal {database}"
            result = workspace.execute_command(f"{here} {' '.join(words)}")
            assert result.stdout.startswith("ready\n"), result
            # Nor is another port of the same name open, nor the other server by any address of it.
            for name in ("host.docker.internal", "127.0.0.1", "localhost"):
                assert "Error" in talk(workspace, name, port)
        assert Canary.came == 0
        with socket.create_connection(("127.0.0.1", port)) as end:
            end.recv(1)
        canary.shutdown()
    assert Canary.came == 1, "it would have noticed"
