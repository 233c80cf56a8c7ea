"""Upstream's `DockerWorkspace`, of the package openhands-workspace, in a container of its own.

The package wants Python 3.12, this project does not: it runs in a container that has the engine's
socket and this machine's network, one process for all rounds, so that imports do not count.
"""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from pytest_agent_sandbox.containers.build_run import run_build
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_names import VERSION_LABEL
from pytest_agent_sandbox.containers.images import Image
from pytest_agent_sandbox.containers.progress import show_progress
from pytest_agent_sandbox.host.host_network import HostNetwork

_FOLDER = Path(__file__).parent / "upstream_container"
_SOCKET = "/var/run/docker.sock"


def build_client(engine: ContainerEngine, server: Image) -> str:
    """Builds the image of the client, from the server's; the second time it costs nothing.

    Returns:
        Its name.
    """
    version = server.labels[VERSION_LABEL]
    reference = f"pytest-agent-sandbox/upstream-client:{version}"
    network = HostNetwork.from_environment()
    files = {file.name: file.read_text(encoding="utf-8") for file in _FOLDER.iterdir()}
    with show_progress(sys.stderr) as progress:
        run_build(
            engine,
            reference,
            {**files, "pip.conf": network.pip_configuration()},
            activity="building an image with upstream's client",
            base=server,
            arguments={
                "SERVER_IMAGE": server.reference,
                "SERVER_VERSION": version,
                **network.proxies,
                **{name.lower(): value for name, value in network.proxies.items()},
            },
            labels={},
            progress=progress,
        )
    return reference


class UpstreamClient:
    """Takes upstream's workspace up and down; the seconds are those measured in its container.

    Args:
        engine: The engine, by a socket on this machine.
        image: Name of the client's image.
        server: What its workspace is to start.

    Attributes:
        facts: What there is to know of how it runs, for the report.
    """

    def __init__(self, engine: ContainerEngine, image: str, server: Image) -> None:
        self._errors: list[bytes] = []
        self._container = engine.client.containers.create(
            image,
            [server.reference, server.platform],
            stdin_open=True,
            auto_remove=True,
            network_mode="host",  # its workspace is at a port of 127.0.0.1
            volumes={urlsplit(engine.endpoint).path: {"bind": _SOCKET, "mode": "rw"}},
            # Forwarded to its servers, which since 1.58 want a key to listen beyond loopback.
            environment={"OH_SESSION_API_KEYS_0": secrets.token_urlsafe(32)},
        )
        self._input = self._container.attach_socket(params={"stdin": True, "stream": True})
        self._output = self._container.attach(stream=True, demux=True, logs=True)
        self._container.start()
        self.facts = {
            "upstream": f"openhands-workspace {server.labels[VERSION_LABEL]}",
            "upstream's --ulimit": self._next_answer()["ulimit"],
        }

    def up(self) -> float:
        """How many seconds it takes until the workspace is there."""
        return self._ask("up")

    def down(self) -> float:
        """How many seconds it takes to close it."""
        return self._ask("down")

    def close(self) -> None:
        """Ends it; the end of its input has it close what is open."""
        self._input._sock.close()
        self._input.close()
        for _ in self._output:  # which ends with the container
            pass

    def _ask(self, command: str) -> float:
        self._input._sock.sendall(f"{command}\n".encode())
        return float(self._next_answer()["seconds"])

    def _next_answer(self) -> dict[str, Any]:
        for answer, error in self._output:
            if answer:
                return dict(json.loads(answer))
            self._errors.append(error)
        said = b"".join(self._errors[-30:]).decode(errors="replace")
        raise RuntimeError(f"upstream's client has ended:\n{said}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
