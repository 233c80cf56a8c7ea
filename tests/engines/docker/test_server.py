"""Which images' servers can be forked, and which are started anew."""

from __future__ import annotations

import pytest

from pytest_agent_sandbox.containers.image_names import TARGET_LABEL
from pytest_agent_sandbox.containers.images import Image
from pytest_agent_sandbox.engines.docker.server import forked_server
from pytest_agent_sandbox.sandbox.server_process import SERVER_COMMAND

PYTHON = "/agent-server/.venv/bin/python"
MODULE = "openhands.agent_server"


def image(*entrypoint: str, **labels: str) -> Image:
    return Image("x:1", "sha256:1", None, "linux/amd64", labels=labels, entrypoint=entrypoint)


@pytest.mark.parametrize(
    ("entrypoint", "python"),
    [
        (("tini", "--", PYTHON, "-m", MODULE), (PYTHON,)),
        (("/usr/bin/tini", "--", PYTHON, "-u", "-m", MODULE), (PYTHON, "-u")),
        (("dumb-init", "python", "-m", MODULE), ("python",)),
        (("python3", "-m", MODULE), ("python3",)),
    ],
)
def test_a_python_program_is_forked(entrypoint: tuple[str, ...], python: tuple[str, ...]) -> None:
    server = forked_server(image(*entrypoint))
    assert tuple(server.python) == python
    assert server.module == MODULE
    assert server.entrypoint[: len(python)] == list(python)
    assert tuple(server.words) == (*python, "-m", MODULE, *SERVER_COMMAND)
    assert {"OH_SESSION_API_KEYS_0", "OH_SECRET_KEY"} == {*server.keeps}


def test_our_full_image_is_too() -> None:
    server = forked_server(image("tini", "--", "/bin/sh", "/x", **{TARGET_LABEL: "source"}))
    assert tuple(server.python) == (PYTHON,)


@pytest.mark.parametrize(
    "entrypoint",
    [
        (),
        ("/usr/local/bin/openhands-agent-server",),
        ("tini", "--", "/usr/local/bin/openhands-agent-server"),
        ("/bin/sh", "/start.sh"),
        ("python", "-m", "another"),
        ("python", "-m"),
        ("-m", MODULE),
        ("tini", "--"),
        ("python", "server.py"),
    ],
)
def test_others_are_started_anew_by_whatever_python_there_is(entrypoint: tuple[str, ...]) -> None:
    server = forked_server(image(*entrypoint))
    assert not server.python
    assert not server.module
    assert server.entrypoint[:2] == ["/bin/sh", "-c"]
    assert tuple(server.words)[-len(SERVER_COMMAND) :] == SERVER_COMMAND
