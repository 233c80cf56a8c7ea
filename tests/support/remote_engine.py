"""A second engine that is on another machine as far as anybody can tell: in a network of its own.

It answers by TLS and by ssh, each at an address of that network, and ends with the `with`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SandboxError
from tests.support.certificates import Authority

NEEDED = ("dockerd", "sshd", "ssh", "ssh-keygen", "ip", "nsenter", "setpriv", "docker")
TLS_PORT, SSH_PORT = 2376, 2222
IMAGE = "far/agent-server:1"
_PATIENCE = 30


@dataclass(frozen=True)
class RemoteEngine:
    """Where it is, and what a user needs to get there.

    Attributes:
        address: The address of its machine.
        folder: Its files: `certs` is a folder for DOCKER_CERT_PATH, `bin` one for the PATH.
        socket: The address by which these tests alone look at it.
    """

    address: str
    folder: Path
    socket: str

    @property
    def certificates(self) -> Path:
        return self.folder / "certs"

    @property
    def by_tls(self) -> dict[str, str]:
        """The variables that lead there by TLS."""
        return {
            "DOCKER_HOST": f"tcp://{self.address}:{TLS_PORT}",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(self.certificates),
        }

    @property
    def by_ssh(self) -> dict[str, str]:
        """The variables that lead there by ssh."""
        host = f"ssh://{user()}@{self.address}:{SSH_PORT}"
        return {"DOCKER_HOST": host, "PATH": self.path}

    @property
    def path(self) -> str:
        """A PATH with an ssh that knows the machine, whatever the user's own configuration says."""
        return f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"

    def add_context(self, config: Path, name: str, host: str, *, tls: bool = False) -> None:
        """Make a context as `docker context create` does."""
        place = hashlib.sha256(name.encode()).hexdigest()
        meta = config / "contexts" / "meta" / place / "meta.json"
        meta.parent.mkdir(parents=True)
        endpoint = {"Host": host, "SkipTLSVerify": False}
        meta.write_text(
            json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}})
        )
        if tls:
            shutil.copytree(self.certificates, config / "contexts" / "tls" / place / "docker")

    def containers(self) -> list[str]:
        with contextlib.closing(docker.DockerClient(self.socket)) as client:
            return [found.name for found in client.containers.list(all=True)]


def user() -> str:
    import getpass

    return getpass.getuser()


def why_not() -> str | None:
    """Say what is missing here to start one; None where nothing is."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "A second engine is started by root on Linux."
    lacking = [name for name in NEEDED if shutil.which(name) is None]
    return f"A second engine needs {', '.join(lacking)}." if lacking else None


@contextlib.contextmanager
def remote_engine(image: str, of: docker.DockerClient) -> Iterator[RemoteEngine]:
    """Start one, with an image of another engine's as `IMAGE`.

    Args:
        image: The image.
        of: The client of the engine that has it.
    """
    with contextlib.ExitStack() as undo:
        # A socket's path may have 107 characters.
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="far-")))
        address, namespace = undo.enter_context(_network())
        found = RemoteEngine(address, folder, f"unix://{folder}/docker.sock")
        Authority("an authority").write(found.certificates, address)
        undo.enter_context(_in_memory(folder / "data"))
        undo.enter_context(_engine(found, namespace))
        undo.enter_context(_sshd(found, namespace))
        _copy_image(image, of, found)
        yield found


@contextlib.contextmanager
def _network() -> Iterator[tuple[str, str]]:
    """A network namespace with a cable to this machine's; its address, and its name."""
    name = f"far{secrets.token_hex(3)}"
    taken = subprocess.run(
        ["ip", "-4", "address"], capture_output=True, text=True, check=True
    ).stdout
    number = next(n for n in range(200, 255) if f"10.214.{n}." not in taken)
    here, there = f"10.214.{number}.1", f"10.214.{number}.2"
    _do("ip", "netns", "add", name)
    try:
        peer = ("peer", "name", "eth0", "netns", name)
        _do("ip", "link", "add", f"{name}h", "type", "veth", *peer)
        _do("ip", "address", "add", f"{here}/30", "dev", f"{name}h")
        _do("ip", "link", "set", f"{name}h", "up")
        _do("ip", "-n", name, "address", "add", f"{there}/30", "dev", "eth0")
        for device in ("eth0", "lo"):
            _do("ip", "-n", name, "link", "set", device, "up")
        yield there, name
    finally:
        # With it goes the cable.
        _do("ip", "netns", "delete", name)
        subprocess.run(["ip", "link", "delete", f"{name}h"], capture_output=True, check=False)


@contextlib.contextmanager
def _in_memory(folder: Path) -> Iterator[None]:
    """A folder that is written to, and gone again, in a moment."""
    folder.mkdir()
    _do("mount", "-t", "tmpfs", "tmpfs", str(folder))
    try:
        yield
    finally:
        _do("umount", "--recursive", str(folder))


@contextlib.contextmanager
def _engine(found: RemoteEngine, namespace: str) -> Iterator[None]:
    folder, certificates = found.folder, found.certificates
    command = [
        "dockerd", "--host", found.socket, "--host", f"tcp://{found.address}:{TLS_PORT}",
        "--tlsverify", f"--tlscacert={certificates}/ca.pem",
        f"--tlscert={folder}/server-cert.pem", f"--tlskey={folder}/server-key.pem",
        "--pidfile", f"{folder}/dockerd.pid", "--data-root", f"{folder}/data",
        "--exec-root", f"{folder}/exec", "--containerd-namespace", namespace,
        "--containerd-plugins-namespace", f"{namespace}-plugins",
    ]  # fmt: skip
    for name in ("cert", "key"):
        # The engine's own is signed by the same authority, and names its address.
        shutil.copy(certificates / f"{name}.pem", folder / f"server-{name}.pem")
    with _running(command, namespace, folder / "dockerd.log"):
        _wait_for(lambda: _answers(found.socket), folder / "dockerd.log")
        yield


def _answers(address: str) -> bool:
    with contextlib.suppress(SandboxError), ContainerEngine.connect(address):
        return True
    return False


@contextlib.contextmanager
def _sshd(found: RemoteEngine, namespace: str) -> Iterator[None]:
    folder = found.folder
    for name in ("host", "user"):
        _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    (folder / "authorized_keys").write_text((folder / "user.pub").read_text())
    (folder / "sshd_config").write_text(
        f"ListenAddress {found.address}:{SSH_PORT}\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        # The machine has the files of the other one: its docker would ask that one's engine.
        f"SetEnv DOCKER_HOST={found.socket}\n"
    )
    words = (folder / "host.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[{found.address}]:{SSH_PORT} {' '.join(words)}\n")
    (folder / "ssh_config").write_text(
        f"Host far-alias\n  HostName {found.address}\n  Port {SSH_PORT}\n  User {user()}\n"
        f"Host *\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n"
    )
    (folder / "bin").mkdir()
    program = folder / "bin" / "ssh"
    program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    program.chmod(0o755)
    Path("/run/sshd").mkdir(exist_ok=True)  # which the package's service makes
    sshd = shutil.which("sshd") or ""
    command = [sshd, "-D", "-e", "-f", f"{folder}/sshd_config"]
    with _running(command, namespace, folder / "sshd.log"):
        _wait_for(lambda: "listening" in (folder / "sshd.log").read_text(), folder / "sshd.log")
        yield


@contextlib.contextmanager
def _running(command: list[str], namespace: str, log: Path) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            # Its end is that of the tests, should they be killed.
            [
                "setpriv",
                "--pdeathsig",
                "TERM",
                "nsenter",
                f"--net=/run/netns/{namespace}",
                *command,
            ],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(is_so: object, log: Path) -> None:
    assert callable(is_so)
    end = time.monotonic() + _PATIENCE
    while not is_so():
        assert time.monotonic() < end, log.read_text()[-2000:]
        time.sleep(0.05)


def _copy_image(image: str, of: docker.DockerClient, to: RemoteEngine) -> None:
    """Copy what an image holds, as one layer: that takes a half of `save` and `load`."""
    config = of.api.inspect_image(image)["Config"]
    changes = [f"ENV {json.dumps(name)[1:-1]}={json.dumps(value)}" for name, value in (
        entry.split("=", 1) for entry in config["Env"]
    )]  # fmt: skip
    changes += [f"LABEL {name}={json.dumps(text)}" for name, text in config["Labels"].items()]
    changes += [f"{word.upper()} {json.dumps(config[word])}" for word in ("Entrypoint", "Cmd")]
    changes += [f"USER {config['User']}", f"WORKDIR {config['WorkingDir'] or '/'}"]
    container = of.api.create_container(image)["Id"]
    try:
        name, tag = IMAGE.split(":")
        arguments = [option for change in changes for option in ("--change", change)]
        source = subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE)
        with source:
            _do("docker", "--host", to.socket, "import", *arguments, "-", f"{name}:{tag}",
                stdin=source.stdout)  # fmt: skip
    finally:
        of.api.remove_container(container)


def _do(*command: str, stdin: Any = subprocess.DEVNULL) -> None:
    done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)[:200]}: {done.stderr}"
