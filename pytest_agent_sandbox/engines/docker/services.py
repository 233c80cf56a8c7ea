"""What a sandbox offers to people beside its server: VS Code and a desktop, each on a port."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from urllib.parse import quote, urlencode

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.image_names import FULL_TARGET, MINIMAL_TARGET, TARGET_LABEL
from pytest_agent_sandbox.containers.images import Image
from pytest_agent_sandbox.errors import SandboxError, ServerError, ServiceUnavailable
from pytest_agent_sandbox.sandbox.agent_server import SERVER_PORT
from pytest_agent_sandbox.sandbox.service_status import ServiceName, ServiceState, ServiceStatus

#: The ports inside the container. Agent server 1.58 takes its own as an argument; those of VS Code
#: and the desktop are fixed.
VSCODE_PORT, VNC_PORT = 8001, 8002

# Seconds for one question to a service.
_PROBE_TIMEOUT = 2.0
_PAUSE = 0.1
_TITLES = {"server": "agent server", "vscode": "VS Code", "desktop": "desktop"}
_BUILD_ONE = (
    "`agent-sandbox build --target source` builds one that has VS Code, desktop and browser"
)


def has_services(image: Image) -> bool:
    """Tell whether an image is known to have VS Code, the desktop and a browser."""
    return image.labels.get(TARGET_LABEL) == FULL_TARGET


def lacks_services(image: Image) -> bool:
    """Tell whether an image is known to have none of them."""
    return image.labels.get(TARGET_LABEL) == MINIMAL_TARGET


def desktop_address(port: int, key: str, *, view_only: bool = False, scale: bool = False) -> str:
    """Return the address of noVNC's page; it lets in whoever knows it.

    Args:
        port: The desktop's port on 127.0.0.1.
        key: The sandbox's session key.
        view_only: To look without touching.
        scale: Scale the picture, rather than resize the desktop to the window.
    """
    query = {
        "autoconnect": "1",
        "resize": "scale" if scale else "remote",
        "path": f"websockify?token={quote(key, safe='')}",
    }
    if view_only:
        query["view_only"] = "1"
    return f"http://127.0.0.1:{port}/vnc.html?{urlencode(query)}"


def vscode_address(port: int, key: str, folder: str) -> str:
    """Return the address of VS Code with a folder; it lets in whoever knows it."""
    query = urlencode({"tkn": key, "folder": folder}, quote_via=quote, safe="/")
    return f"http://127.0.0.1:{port}/?{query}"


def answers(port: int) -> bool:
    """Tell whether an HTTP server answers on a port of 127.0.0.1, if only by a refusal.

    It is asked without the token: httpx logs the addresses that it asks.
    """
    try:
        httpx.get(f"http://127.0.0.1:{port}/", timeout=_PROBE_TIMEOUT, trust_env=False)
    except httpx.HTTPError:
        return False
    return True


def _silent() -> logging.Logger:
    """Return a logger that says nothing: websockets logs the address, which holds the token."""
    logger = logging.getLogger("pytest_agent_sandbox.desktop_probe")
    logger.disabled = True
    return logger


class SandboxServices:
    """The services of one sandbox.

    Args:
        container: The sandbox's container.
        connection: The way to its agent server.
        image: What it was started from.
    """

    def __init__(self, container: Container, connection: ServerConnection, image: Image) -> None:
        self._container = container
        self._connection = connection
        self._image = image

    def states(self) -> dict[ServiceName, ServiceStatus]:
        """Return how each service is right now; one that does not answer takes some seconds."""
        questions: dict[ServiceName, tuple[int, Callable[[], ServiceState]]] = {
            "server": (SERVER_PORT, self._server_state),
            "vscode": (VSCODE_PORT, self._vscode_state),
            "desktop": (VNC_PORT, self._desktop_state),
        }
        ports = self._container.ports
        return {
            name: ServiceStatus(name, ask() if port in ports else "off", ports.get(port))
            for name, (port, ask) in questions.items()
        }

    def vscode_url(self, folder: str, timeout: float) -> str:
        """Return the address of VS Code with its token and a folder, once it answers.

        Raises:
            ServiceUnavailable: There is none, or it does not answer in time.
        """
        self._wait_for("vscode", VSCODE_PORT, self._vscode_state, timeout)
        address = self._vscode_address(folder)
        if address is None:  # it has just ended
            raise self._unavailable("vscode", "down")
        return address

    def desktop_url(self, timeout: float, *, view_only: bool, scale: bool) -> str:
        """Return the address of the desktop with its token, once it answers.

        Raises:
            ServiceUnavailable: There is none, or it does not answer in time.
        """
        self._wait_for("desktop", VNC_PORT, self._desktop_state, timeout)
        port = self._container.ports[VNC_PORT]
        return desktop_address(port, self._key(), view_only=view_only, scale=scale)

    def _wait_for(
        self, name: ServiceName, port: int, ask: Callable[[], ServiceState], timeout: float
    ) -> None:
        if port not in self._container.ports:
            raise self._unavailable(name, "off")
        deadline = time.monotonic() + timeout
        while (state := ask()) != "running":
            self._container.check()
            if state == "missing" or time.monotonic() > deadline:
                raise self._unavailable(name, state, timeout)
            self._container.wait_for_end(_PAUSE)

    def _unavailable(
        self, name: ServiceName, state: ServiceState, timeout: float = 0.0
    ) -> ServiceUnavailable:
        where = f"container {self._container.name} of {self._image.reference}"
        title = _TITLES[name]
        match state:
            case "off":
                return ServiceUnavailable(
                    f"The {title} of {where} is not published: start the sandbox with "
                    "extra_ports=True (--sandbox-extra-ports)."
                )
            case "missing":
                return ServiceUnavailable(f"There is no {title} in {where}; {_BUILD_ONE}.")
        hint = "" if has_services(self._image) else f" The image may have none; {_BUILD_ONE}."
        return ServiceUnavailable(
            f"The {title} of {where} did not answer within {timeout:g} s.{hint}"
        )

    def _server_state(self) -> ServiceState:
        try:
            return "down" if self._connection.probe("/alive", timeout=_PROBE_TIMEOUT) else "running"
        except SandboxError:  # the container's end
            return "down"

    def _vscode_state(self) -> ServiceState:
        try:
            address = self._vscode_address("/")
        except SandboxError:
            return "down"
        if address is None:
            # Agent server 1.58 starts it before it answers itself: what does not run by now is
            # either not there or has ended.
            return "down" if has_services(self._image) else "missing"
        return "running" if answers(self._container.ports[VSCODE_PORT]) else "down"

    def _vscode_address(self, folder: str) -> str | None:
        """Return the server's address of VS Code, with this machine's port; None without one."""
        base_url = f"http://127.0.0.1:{self._container.ports[VSCODE_PORT]}"
        try:
            answer = self._connection.request(
                "GET",
                "/api/vscode/url",
                params={"base_url": base_url, "workspace_dir": folder},
                timeout=_PROBE_TIMEOUT,
            ).json()
        except ServerError as error:
            if error.status == httpx.codes.SERVICE_UNAVAILABLE:  # switched off
                return None
            raise
        return str(answer["url"]) if answer.get("url") else None

    def _desktop_state(self) -> ServiceState:
        if lacks_services(self._image):
            return "missing"
        address = f"ws://127.0.0.1:{self._container.ports[VNC_PORT]}/websockify?token="
        try:
            with connect(
                address + quote(self._key(), safe=""),
                open_timeout=_PROBE_TIMEOUT,
                close_timeout=_PROBE_TIMEOUT,
                proxy=None,
                logger=_silent(),
            ) as socket:
                greeting = socket.recv(timeout=_PROBE_TIMEOUT)
        except (OSError, TimeoutError, WebSocketException):
            return "down"
        # How every VNC server begins to talk (RFC 6143, 7.1.1): the display is up too.
        return "running" if greeting[:3] in (b"RFB", "RFB") else "down"

    def _key(self) -> str:
        key = self._connection.api_key
        return key.get_secret_value() if key else ""
