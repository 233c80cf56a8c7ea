"""The web application that all servers of a container share: what each of them has of its own."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pytest_agent_sandbox.containers.application_inside import Application

CONFIG = """
import os

class Config:
    def __init__(self):
        self.values = {
            "session_api_keys": [os.environ["KEY"]] if "KEY" in os.environ else [],
            "secret_key": os.environ.get("SECRET"),
            "workers": os.environ.get("WORKERS"),
        }

    def model_dump(self, exclude):
        return {name: value for name, value in self.values.items() if name not in exclude}

_default_config = None

def get_default_config():
    global _default_config
    if _default_config is None:
        _default_config = Config()
    return _default_config
"""
SERVICE = """
from served.config import get_default_config

_{name}_service = None

def get_default_{name}_service():
    global _{name}_service
    if _{name}_service is None:
        _{name}_service = {{"of": get_default_config()}}
    return _{name}_service
"""
OTHERS = {
    "conversation_service": SERVICE.format(name="conversation"),
    "bash_service": SERVICE.format(name="bash_event"),
    "persistence": "stores = []\n\ndef reset_stores():\n    stores.clear()\n",
    "sockets": (
        "from served import bash_service, conversation_service as services, persistence\n"
        "conversation_service = services.get_default_conversation_service()\n"
        "bash_event_service = bash_service.get_default_bash_event_service()\n"
        "persistence.stores.append(conversation_service)\n"
    ),
}
API = """
import logging
import types
import served.sockets
from served.config import get_default_config

logging.getLogger("served").warning("there are no keys")

def create_conversation_registry(config):
    return {"config": config}

class App:
    def __init__(self):
        config = get_default_config()
        state = dict(config=config, conversation_registry=create_conversation_registry(config),
                     canvas_extension_backend_manager=1, app_backend_session_store=2)
        self.state = types.SimpleNamespace(_state=state, **state)
        self.asked = []

    async def __call__(self, scope, receive, send):
        self.asked.append((scope["type"], (await receive())["type"]))
        await send({"type": "websocket.close"})

api = App()
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Writes a package as the server has it, with changes."""
    for name in ("KEY", "SECRET", "WORKERS"):
        monkeypatch.delenv(name, raising=False)

    def write(*, api: str = API, config: str = CONFIG) -> None:
        folder = tmp_path / "served"
        folder.mkdir()
        for name, text in {"__init__": "", "api": api, "config": config, **OTHERS}.items():
            (folder / f"{name}.py").write_text(text)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("importlib.metadata.version", {"served": "1.58.9"}.__getitem__)
    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] == "served"]:
        del sys.modules[name]


def api() -> ModuleType:
    return importlib.import_module("served.api")


def test_it_is_asked_once_so_that_it_has_made_its_routes(package: Callable[..., None]) -> None:
    package()
    Application("served")
    assert api().api.asked == [("websocket", "websocket.connect")]


def test_each_server_has_keys_of_its_own(
    package: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    package()
    application = Application("served")
    made = api().api
    assert made.state.config.values["session_api_keys"] == []
    for number in range(2):
        monkeypatch.setenv("KEY", f"key {number}")
        monkeypatch.setenv("SECRET", f"secret {number}")
        application.configure()
        assert api().api is made
        assert made.state.config.values["session_api_keys"] == [f"key {number}"]
        assert made.state.config.values["secret_key"] == f"secret {number}"
        assert made.state.conversation_registry == {"config": made.state.config}
        assert api().get_default_config() is made.state.config
        sockets, persistence = (sys.modules[f"served.{one}"] for one in ("sockets", "persistence"))
        assert sockets.conversation_service["of"] is made.state.config
        assert sockets.bash_event_service["of"] is made.state.config
        assert persistence.stores == []


def test_what_else_is_configured_has_it_made_anew(
    package: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    package()
    application = Application("served")
    made = api().api
    monkeypatch.setenv("KEY", "a key")
    monkeypatch.setenv("WORKERS", "3")
    application.configure()
    assert api().api is not made
    assert sys.modules["served.sockets"].conversation_service["of"] is api().api.state.config
    assert api().api.state.config.values == {
        "session_api_keys": ["a key"],
        "secret_key": None,
        "workers": "3",
    }


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({"api": API.replace("backend_manager=1", "backend_manager=1, more=3")}, ValueError),
        ({"api": API.replace("app_backend_session_store=2", "")}, ValueError),
        ({"api": API.replace("api = App()", "")}, AttributeError),
        ({"api": API.replace("self.state =", "self.other =")}, AttributeError),
        ({"api": API.replace("websocket.close", "websocket.accept")}, ValueError),
        ({"config": CONFIG.replace("_default_config", "_another")}, AttributeError),
        ({"config": CONFIG + "\nget_default_config()\n"}, ValueError),
    ],
)
def test_one_that_is_not_known_is_each_servers_own(
    package: Callable[..., None], files: dict[str, str], error: type[Exception]
) -> None:
    package(**files)
    with pytest.raises(error):
        Application("served")
    assert "served.api" not in sys.modules, "the server loads it itself"
    assert "served.sockets" not in sys.modules


def test_nothing_of_another_version_is_loaded(
    package: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    package()
    monkeypatch.setattr("importlib.metadata.version", {"served": "1.59.0"}.__getitem__)
    with pytest.raises(ValueError, match=r"1\.59\.0 is not known"):
        Application("served")
    assert not [name for name in sys.modules if name.startswith("served.")]


def test_it_says_nothing_of_keys_that_come_later(
    package: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    package()
    Application("served")
    assert caplog.records == []
    logging.getLogger("served").warning("later")
    assert [record.message for record in caplog.records] == ["later"]
