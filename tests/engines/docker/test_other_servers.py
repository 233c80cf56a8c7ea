"""Recycled sandboxes of images whose server we do not know; and how a server's death is told."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial

import httpx
import pytest

from pytest_agent_sandbox import DockerWorkspace
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.engines.docker.gateway import gateway_for
from pytest_agent_sandbox.engines.docker.start import SandboxStarter
from pytest_agent_sandbox.errors import SandboxDied, SandboxStartFailed
from pytest_agent_sandbox.sandbox.supply import SandboxSupply

# What keeps a server from being known for one: it is started by a script.
SCRIPT = """
USER root
RUN printf 'exec /agent-server/.venv/bin/python -m openhands.agent_server "$@"' > /start.sh
USER openhands
ENTRYPOINT ["/bin/sh", "/start.sh"]
"""
NO_PYTHON = """
USER root
RUN rm -rf /usr/bin/python* /usr/local/bin/python* /agent-server/.venv/bin
USER openhands
ENTRYPOINT ["/bin/sh", "-c", "exec sleep 600"]
"""
# The last process that is called so: the template, whose child it is, is called so too.
SERVER = "pgrep -f -n 'openhands[.]agent_server'"

Start = Callable[..., DockerWorkspace]


@pytest.fixture(scope="module")
def start(engine: ContainerEngine, build) -> Iterator[Start]:
    """Starts recycled sandboxes, which are gone before the images that are built."""
    with (
        gateway_for(engine) as gateway,
        SandboxSupply(SandboxStarter(engine), size=0, most_reuses=50, clean_log=str) as supply,
    ):
        yield partial(
            DockerWorkspace,
            engine=engine,
            isolation="recycled",
            supply=supply,
            gateway=gateway,
        )
        assert not [each for each in supply.statistics.thrown_away if "ended" not in each]


@pytest.fixture(scope="module")
def build(engine: ContainerEngine, agent_server_image: str) -> Iterator[Callable[[str], str]]:
    built = []

    def build(recipe: str) -> str:
        text = f"FROM {agent_server_image}{recipe}"
        image, _ = engine.client.images.build(fileobj=io.BytesIO(text.encode()), rm=True)
        built.append(str(image.id))
        return built[-1]

    yield build
    for image in built:
        engine.client.images.remove(image)


def _two_uses(start: Start, image: str) -> None:
    """Use a sandbox twice; its server is to be another one the second time."""
    with start(server_image=image) as first:
        container, old = first.container.id, first.session_key.get_secret_value()
        server = first.execute_command(SERVER).check().stdout
        first.write_text("/tmp/left", "x")
        first.write_text("left", "x")
        first.execute_command("export LEFT=here; sleep 600 &")
    with start(server_image=image) as second:
        assert second.container.id == container
        assert second.execute_command(SERVER).check().stdout != server
        assert second.execute_command("ls; ls /tmp | grep left; pgrep sleep").stdout == ""
        assert second.server_info()["uptime"] < 20
        with httpx.Client(base_url=second.host, trust_env=False) as client:
            answer = client.get("/api/settings", headers={"X-Session-API-Key": old})
        assert answer.status_code == httpx.codes.UNAUTHORIZED


def test_a_server_that_cannot_be_forked_is_started_anew(start: Start, build) -> None:
    _two_uses(start, build(SCRIPT))


def test_the_full_image(start: Start, full_image: str) -> None:
    _two_uses(start, full_image)


def test_an_image_without_python_cannot_be_recycled(start: Start, build) -> None:
    with pytest.raises(SandboxStartFailed, match="no Python in the image"):
        start(server_image=build(NO_PYTHON))


@pytest.mark.parametrize(("signal", "code"), [("KILL", 137), ("SEGV", 139), ("TERM", 143)])
def test_the_death_of_a_forked_server_is_told_as_its_own(
    start: Start, agent_server_image: str, signal: str, code: int
) -> None:
    with start(server_image=agent_server_image) as workspace:
        with pytest.raises(SandboxDied) as caught:
            workspace.execute_command(f"kill -{signal} $({SERVER}); sleep 30", timeout=40)
        assert caught.value.exit_code == code
        assert not caught.value.out_of_memory


def test_a_server_that_the_kernel_ended_for_want_of_memory(
    start: Start, engine: ContainerEngine, agent_server_image: str
) -> None:
    with start(server_image=agent_server_image, memory="700m") as workspace:
        api = engine.client.api
        server = workspace.execute_command(SERVER).check().stdout.strip()
        # Of all, the kernel is to end this one.
        words = ["sh", "-c", f"echo 1000 > /proc/{server}/oom_score_adj"]
        api.exec_start(api.exec_create(workspace.container.id, words, user="0")["Id"])
        hog = "python3 -c 'import time; a = [\"x\" * 1000000 for _ in range(2000)]; time.sleep(30)'"
        with pytest.raises(SandboxDied) as caught:
            workspace.execute_command(f"{hog}; sleep 20", timeout=60)
        assert caught.value.exit_code == 137
        assert caught.value.out_of_memory


def test_a_forked_server_encrypts_what_it_keeps(start: Start, agent_server_image: str) -> None:
    with start(server_image=agent_server_image) as workspace:
        workspace.server.secrets.set("A_TOKEN", "hush-hush")
        assert workspace.server.secrets.value("A_TOKEN").get_secret_value() == "hush-hush"
        places = "/workspace /tmp /root /home"
        found = workspace.execute_command(f"grep -rl A_TOKEN {places} 2>/dev/null")
        assert found.stdout, "the server keeps it in a file"
        assert workspace.execute_command(f"grep -rl hush-hus[h] {places} 2>/dev/null").stdout == ""
        assert "OH_SECRET_KEY" not in workspace.log_tail(1000)
