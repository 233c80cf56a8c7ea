"""A server's web application, made once for all servers of a container, each with its own keys.

It is run in the container, before the text of `template_inside`.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# The versions whose use of the configuration has been read: what is made by it when modules are
# loaded, `configure` makes anew. With any other, each server makes its own application.
_VERSIONS = ("1.58.",)
# What the application knows. What depends on the keys is made anew for each server; the rest are
# folders' names, and what is empty until the server runs.
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
        Exception: It is not one that can be made once.
    """

    def __init__(self, package: str) -> None:
        distribution = package.replace(".", "-").replace("_", "-")
        version = importlib.metadata.version(distribution)
        if not version.startswith(_VERSIONS):
            raise ValueError(f"version {version} is not known here")
        self._package = package
        self._name = f"{package}.api"
        self._configs: Any = importlib.import_module(f"{package}.config")
        if self._configs._default_config is not None:
            raise ValueError("something has read the configuration already")
        try:
            with _quiet():  # it warns that there are no keys
                self._api = importlib.import_module(self._name)
                self._app = self._api.api
                if set(self._app.state._state) != _STATE:
                    raise ValueError("the application holds more than is known here")
                # It is asked for what it does not have, so it looks at all its routes.
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
        self._forget_services()
        conversations, commands = self._module("conversation_service"), self._module("bash_service")
        sockets = self._module("sockets")  # which takes them when it is loaded
        sockets.conversation_service = conversations.get_default_conversation_service()
        sockets.bash_event_service = commands.get_default_bash_event_service()
        self._app.state.config = config
        self._app.state.conversation_registry = self._api.create_conversation_registry(config)

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"{self._package}.{name}")

    def _forget(self) -> None:
        for name in ("api", "sockets"):  # what reads the configuration when it is loaded
            sys.modules.pop(f"{self._package}.{name}", None)
        self._configs._default_config = None
        self._forget_services()

    def _forget_services(self) -> None:
        """Forget what was made by the configuration, as the server's own `init_router` does."""
        self._module("persistence").reset_stores()
        self._module("conversation_service")._conversation_service = None
        self._module("bash_service")._bash_event_service = None


@contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


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
