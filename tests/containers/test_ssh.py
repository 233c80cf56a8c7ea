"""Engines behind ssh://, with a program in ssh's place: what it is asked, what it says."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.ssh import run_by_pipes, ssh_command, why_ssh_failed
from pytest_agent_sandbox.errors import EngineUnavailable

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the program in ssh's place is a script")

SERVER = """#!{python}
import json, sys
body = json.dumps(
    {{"Version": "99.1.0", "ApiVersion": "1.41", "Os": "linux", "Arch": "arm64"}}
).encode()
with open({log!r}, "a") as log:
    print(json.dumps(sys.argv[1:]), file=log)
print("Warning: a banner", file=sys.stderr)
while True:
    line = sys.stdin.buffer.readline()
    if not line:
        break
    if line == b"\\r\\n":
        head = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\n"
        head += b"Content-Length: %d\\r\\n\\r\\n"
        sys.stdout.buffer.write(head % len(body) + body)
        sys.stdout.buffer.flush()
"""


@pytest.fixture
def in_sshs_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program; it begins as one that answers as an engine does."""
    program = tmp_path / "ssh"
    program.write_text(SERVER.format(python=sys.executable, log=str(tmp_path / "log")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return program


def test_requests_share_an_ssh_that_asks_nobody(in_sshs_place: Path) -> None:
    with ContainerEngine.connect("ssh://me@Far-Alias:2222") as engine:
        assert engine.description == "Docker 99.1.0"
        assert engine.client.api.version()["Arch"] == "arm64"
        assert engine.is_apart
    (called,) = (in_sshs_place.parent / "log").read_text().splitlines()
    # No question, no agent and no forwarded port, as SECURITY.md promises.
    for option in ("-oBatchMode=yes", "-a", "-x", "-oClearAllForwardings=yes"):
        assert f'"{option}"' in called
    assert "StrictHostKeyChecking" not in called
    assert called.endswith(
        '"-l", "me", "-p", "2222", "--", "Far-Alias", "docker", "system", "dial-stdio"]'
    )


def test_the_port_of_an_alias_is_left_to_sshs_configuration(in_sshs_place: Path) -> None:
    assert "-p" not in ssh_command("ssh://far")


def test_a_socket_of_its_own_is_asked_for(in_sshs_place: Path) -> None:
    words = ssh_command("ssh://far/run/user/1/docker.sock")
    assert words[-5:] == ["docker", "--host", "unix:///run/user/1/docker.sock", "system",
                          "dial-stdio"]  # fmt: skip


@pytest.mark.parametrize(
    "address",
    ["ssh://", "ssh://me:secret@far", "ssh://far:port", "ssh://far?x=1", "ssh://-oProxyCommand=x",
     "ssh://far/x;touch y"],
)  # fmt: skip
def test_what_is_no_address_is_refused_and_no_password_repeated(
    address: str, in_sshs_place: Path
) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        ssh_command(address)
    assert "secret" not in str(caught.value)
    assert "ssh://USER@HOST:PORT" in str(caught.value)


def test_no_ssh_here_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnavailable, match="none on the PATH: install OpenSSH's client"):
        ContainerEngine.connect("ssh://far")


def test_what_ssh_says_is_the_reason(in_sshs_place: Path) -> None:
    in_sshs_place.write_text("#!/bin/sh\necho 'ssh: connect: No route to host' >&2\nexit 255\n")
    with pytest.raises(EngineUnavailable, match=r"ssh did not get there: .*No route to host"):
        ContainerEngine.connect("ssh://far")


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        ("Host key verification failed.\n", 255, "does not trust the other machine's host key"),
        ("me@far: Permission denied (publickey).\n", 255, "ssh was refused: me@far: Permission"),
        ("bash: line 1: docker: command not found\n", 127, "no docker command at the other end"),
        ("Cannot connect to the Docker daemon at unix:///x\n", 1, "no engine answers at the other"),
        ("permission denied while trying to connect to the Docker daemon\n", 1, "may not use the"),
        ("", 255, "ssh did not get there: it ended with exit code 255"),
    ],
)
def test_complaints(said: str, code: int, told: str) -> None:
    assert told in why_ssh_failed(said, code)


def test_a_program_that_can_be_given_no_socket() -> None:
    """As on Windows: what is sent comes back, and the end of one is the other's."""
    here, there = socket.socketpair()
    script = "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"
    with here, tempfile.TemporaryFile() as complaints:
        with there:
            process = run_by_pipes([sys.executable, "-c", script], there, complaints)
        here.settimeout(10)
        here.sendall(b"x" * 300_000)
        here.shutdown(socket.SHUT_WR)
        assert len(b"".join(iter(lambda: here.recv(65536), b""))) == 300_000
        assert process.wait(10) == 0
