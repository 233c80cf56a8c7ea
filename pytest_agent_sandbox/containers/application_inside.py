"""A server's web application, made once for all servers of a container, each with its own keys.

It is run in the container, before the text of `template_inside`.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import Any

# What the application of agent server 1.58 knows. What depends on the keys is made anew for each
# server; the rest are folders' names, and what is empty until the server runs.
_STATE = {
    "config",
    "conversation_registry",
    "canvas_extension_backend_manager",
    "app_backend_session_store",
}
_KEYS = {"session_api_keys", "secret_key"}


class Application:
    """The application of the agent server, with all that it would make at its first requests.

    Args:
        package: The server's package.

    Raises:
        Exception: It is not one that can be made once: servers before 1.29 have others.
    """

    def __init__(self, package: str) -> None:
        self._name = f"{package}.api"
        self._configs: Any = importlib.import_module(f"{package}.config")
        if self._configs._default_config is not None:
            raise ValueError("something has read the configuration already")
        try:
            self._api = importlib.import_module(self._name)
            self._app = self._api.api
            if set(self._app.state._state) != _STATE:
                raise ValueError("the application holds more than is known here")
            # It is asked for what it does not have, so it looks at all its routes. It answers to
            # a socket that is refused without a line in the log.
            asyncio.run(self._app(_no_socket(), _receive, _send))
        except BaseException:
            self._forget()
            raise

    def configure(self) -> None:
        """Have the application be that of this process's environment."""
        self._configs._default_config = None
        config = self._configs.get_default_config()
        if _but_keys(config) != _but_keys(self._app.state.config):
            self._forget()  # it is made anew, as by a server that starts by itself
            return
        self._app.state.config = config
        self._app.state.conversation_registry = self._api.create_conversation_registry(config)

    def _forget(self) -> None:
        sys.modules.pop(self._name, None)
        self._configs._default_config = None


def _but_keys(config: Any) -> dict[str, Any]:
    return config.model_dump(exclude=_KEYS)  # type: ignore[no-any-return]


def _no_socket() -> dict[str, Any]:
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/no-such-socket",
        "raw_path": b"/no-such-socket",
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "subprotocols": [],
        "client": None,
        "server": None,
        "state": {},
    }


async def _receive() -> dict[str, Any]:
    return {"type": "websocket.connect"}


async def _send(message: dict[str, Any]) -> None:
    if message["type"] != "websocket.close":
        raise ValueError(f"there is such a socket: {message}")
