"""Engines on other machines, as a user names them: by TLS, by ssh, by a docker context.

All on one second engine of this machine, in a network of its own: its published ports, and its
containers' way back, are as far away as another machine's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import missing
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import EngineUnavailable
from tests.support.certificates import Authority
from tests.support.project import Project
from tests.support.remote_engine import (
    IMAGE,
    SSH_PORT,
    TLS_PORT,
    RemoteEngine,
    remote_engine,
    user,
    why_not,
)

SUITE = """
from pytest_agent_sandbox import say, tool

def test_talks(agent_workspace, agent_llm, agent_conversation):
    agent_llm.script([tool("terminal", command="cat a.txt > b.txt"), say("Done.")])
    agent_workspace.write_text("a.txt", "hello")
    conversation = agent_conversation()
    conversation.send_message("Copy it.")
    conversation.run(timeout=60)
    assert agent_workspace.read_text("b.txt") == "hello"

def test_fails(agent_workspace):
    agent_workspace.write_bytes("large", bytes(range(256)) * 16384)
    assert agent_workspace.read_bytes("large") == bytes(range(256)) * 16384
    assert agent_workspace.execute_command("echo from afar").stdout == "near"
"""
SAID = "agent-sandbox: the engine's ports are out of reach here: all goes over its connection\n"


@pytest.fixture(scope="module")
def far(engine: ContainerEngine, agent_server_image: str) -> Iterator[RemoteEngine]:
    """The second engine, with a server's image."""
    reason = why_not()
    if reason is not None:
        missing(reason)
    with remote_engine(agent_server_image, engine.client) as found:
        yield found


@pytest.fixture
def remote(project: Project, far: RemoteEngine) -> Iterator[Project]:
    """A project that leaves nothing on the second engine, and nothing secret in its results."""
    project.environment = {
        name: value for name, value in project.environment.items() if not name.startswith("DOCKER_")
    }
    project.environment |= {"PYTEST_SANDBOX_IMAGE": IMAGE, "PYTEST_SANDBOX_ISOLATION": "recycled"}
    yield project
    assert far.containers() == []
    secrets = [far.folder / "user", far.certificates / "key.pem"]
    lines = {line for file in secrets for line in file.read_text().splitlines() if line[:1] != "-"}
    for file in (path for path in project.folder.glob("agent-results/**/*") if path.is_file()):
        assert not any(line.encode() in file.read_bytes() for line in lines), file


def check(project: Project, *arguments: str) -> None:
    project.write("test_it.py", SUITE)
    code, output = project.run(*arguments)
    assert code == 1, output
    assert SAID in output
    assert "1 failed, 1 passed" in output
    assert "from afar" in output
    pages = [folder / "transcript.html" for folder in project.results]
    assert "from afar" in pages[0].read_text("utf-8")


def test_isolated_behind_a_context_with_tls(remote: Project, far: RemoteEngine) -> None:
    """DOCKER_CONFIG is a relative folder, and has no config.json."""
    far.add_context(remote.folder / "docker", "far", far.by_tls["DOCKER_HOST"], tls=True)
    remote.environment |= {"DOCKER_CONFIG": "docker", "DOCKER_CONTEXT": "far"}
    check(remote, "--sandbox-network=isolated")


def test_open_behind_a_context_that_is_the_current_one(remote: Project, far: RemoteEngine) -> None:
    """The context names an alias of ssh's configuration, whose port is not ssh's usual one."""
    config = remote.folder.parent / "docker"
    far.add_context(config, "far", "ssh://far-alias")
    (config / "config.json").write_text('{"currentContext": "far"}')
    remote.environment |= {"DOCKER_CONFIG": str(config), "PATH": far.path}
    check(remote)


def test_a_folder_that_only_this_machine_has_is_not_mounted_empty(
    remote: Project, far: RemoteEngine, tmp_path: Path
) -> None:
    # The second engine sees this machine's files: one that is nowhere stands for one that is here.
    remote.environment |= far.by_tls
    remote.write("test_it.py", "def test_x(agent_workspace): pass\n")
    code, output = remote.run(f"--sandbox-volumes={tmp_path}/data:/data")
    assert code == 1
    told = f"volumes: there is no {tmp_path}/data on the machine of the engine at tcp://"
    assert told in " ".join(output.split())
    assert not (tmp_path / "data").exists()
    (tmp_path / "data").mkdir()
    remote.write(
        "test_it.py",
        "def test_x(agent_workspace):\n"
        "    done = agent_workspace.execute_command('cat /data/x; touch /data/y')\n"
        "    assert done.stdout == 'of the engine' and 'Read-only' in done.stderr\n",
    )
    (tmp_path / "data" / "x").write_text("of the engine")
    code, output = remote.run(f"--sandbox-volumes={tmp_path}/data:/data:ro")
    assert code == 0, output


HANGING = """
import pathlib, time

def test_hangs(agent_workspace):
    pathlib.Path("ready").touch()
    time.sleep(100)
"""


def test_an_isolated_run_behind_ssh_that_is_killed_leaves_nothing(
    remote: Project, far: RemoteEngine
) -> None:
    """The process that cleans up goes to the engine of the run."""
    remote.environment |= far.by_ssh
    remote.write("test_it.py", HANGING)
    remote.environment["PYTEST_SANDBOX_NETWORK"] = "isolated"
    with remote.start() as process:
        end = time.monotonic() + 60
        while not (remote.folder / "ready").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < end, "it never got ready"
            time.sleep(0.1)
        assert far.containers()
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    end = time.monotonic() + 60
    while far.containers():
        assert time.monotonic() < end, far.containers()
        time.sleep(0.2)


def why(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> str:
    """The reason that a user is told, which must come soon."""
    for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    with pytest.raises(EngineUnavailable) as caught:
        ContainerEngine.connect().close()
    assert time.monotonic() - began < 20
    return str(caught.value)


def test_who_does_not_trust_whom_is_told(
    far: RemoteEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Authority("another authority").write(tmp_path / "other", far.address)
    told = why(monkeypatch, far.by_tls | {"DOCKER_CERT_PATH": str(other)})
    assert "(from DOCKER_HOST): its certificate is not accepted" in told
    (other / "ca.pem").write_bytes((far.certificates / "ca.pem").read_bytes())
    told = why(monkeypatch, far.by_tls | {"DOCKER_CERT_PATH": str(other)})
    assert "it does not accept this machine's certificate" in told
    told = why(monkeypatch, {"DOCKER_HOST": far.by_tls["DOCKER_HOST"]})
    assert "it wants TLS: set DOCKER_TLS_VERIFY=1" in told
    told = why(monkeypatch, far.by_tls | {"DOCKER_CERT_PATH": str(tmp_path / "none")})
    assert f"DOCKER_CERT_PATH={tmp_path / 'none'}: {tmp_path / 'none' / 'ca.pem'}" in told


def test_what_ssh_complains_of_is_told(
    far: RemoteEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = far.by_ssh["DOCKER_HOST"]
    known, key = far.folder / "known_hosts", far.folder / "authorized_keys"
    before = known.read_text(), key.read_text()
    try:
        known.write_text("")
        told = why(monkeypatch, far.by_ssh)
        assert f"{address} (from DOCKER_HOST): ssh does not trust the other machine's host" in told
        known.write_text(before[0])
        key.write_text("")
        told = why(monkeypatch, far.by_ssh)
        assert "ssh was refused: " in told
        assert "ssh-add" in told
    finally:
        known.write_text(before[0])
        key.write_text(before[1])
    nobody = f"ssh://{user()}@{far.address}:{TLS_PORT + 1}"
    assert "Connection refused" in why(monkeypatch, far.by_ssh | {"DOCKER_HOST": nobody})
    gone = f"ssh://{user()}@{far.address}:{SSH_PORT}/nowhere/docker.sock"
    told = why(monkeypatch, far.by_ssh | {"DOCKER_HOST": gone})
    assert "ssh works, but no engine answers at the other end" in told


def test_the_doctor_says_which_way_leads_there(far: RemoteEngine) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest_agent_sandbox.cli", "doctor", "--image", IMAGE],
        env={**os.environ, **far.by_ssh},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"at {far.by_ssh['DOCKER_HOST']} (from DOCKER_HOST, by ssh)" in done.stdout
    assert "a folder in `volumes` is one of the engine's machine" in done.stdout
