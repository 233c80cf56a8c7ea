"""Cold start: `DockerWorkspace` against the floor, which is `docker run` of the same image.

Up is measured from the call until the server answers, down until the container is gone. The two
take turns, so that whatever else the machine does hits both alike. The floor's server gets the
command and the environment of ours, its port is chosen beforehand, and nothing follows its log.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass

from measuring import Report, read_arguments

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import choose_image, ensure_image
from pytest_agent_sandbox.engines.docker.services import SERVER_PORT
from pytest_agent_sandbox.engines.docker.workspace import DockerWorkspace

_POLL = 0.005
_LONGEST_START = 120.0


@dataclass
class Floor:
    """The least that has to be done, by hand: by the docker CLI, or by the SDK where it lacks."""

    engine: ContainerEngine
    image: str
    command: list[str]
    environment: list[str]
    container: str | None = None

    @property
    def tool(self) -> str:
        return "docker run" if shutil.which("docker") else "containers.run()"

    def up(self) -> None:
        port = _free_port()
        if shutil.which("docker"):
            variables = [f"--env={variable}" for variable in self.environment]
            published = f"--publish=127.0.0.1:{port}:{SERVER_PORT}"
            self.container = self._docker(
                "run", "--detach", published, *variables, self.image, *self.command
            )
        else:
            self.container = self.engine.client.containers.run(
                self.image,
                self.command,
                detach=True,
                environment=self.environment,
                ports={f"{SERVER_PORT}/tcp": ("127.0.0.1", port)},
            ).id
        deadline = time.monotonic() + _LONGEST_START
        while not _is_healthy(port):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server did not answer in {_LONGEST_START:g} s")
            time.sleep(_POLL)

    def down(self) -> None:
        container, self.container = self.container, None
        if container is None:
            return
        if shutil.which("docker"):
            self._docker("rm", "--force", "--volumes", container)
        else:
            self.engine.client.api.remove_container(container, v=True, force=True)

    def _docker(self, *arguments: str) -> str:
        command = ["docker", f"--host={self.engine.endpoint}", *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@dataclass
class Ours:
    """The same by this package."""

    engine: ContainerEngine
    image: str
    workspace: DockerWorkspace | None = None

    def up(self) -> None:
        self.workspace = DockerWorkspace(server_image=self.image, engine=self.engine)

    def down(self) -> None:
        if self.workspace is not None:
            self.workspace.close()


def measure(rounds: int, engine: ContainerEngine, image: str) -> Report:
    ours = Ours(engine, image)
    floor = warm_up(ours)
    report = Report("Cold start", image=image, engine=engine.description, rounds=str(rounds))
    for number in range(rounds):
        contenders: list[tuple[str, Floor | Ours]] = [(floor.tool, floor), ("ours", ours)]
        # Who comes second finds the machine a little different: that goes to each in turn.
        for name, contender in contenders if number % 2 else contenders[::-1]:
            try:
                with report.timing(f"up, {name}"):
                    contender.up()
            finally:
                with report.timing(f"down, {name}"):
                    contender.down()
    report.ratio("up, ours / floor", "up, ours", f"up, {floor.tool}")
    report.ratio("down, ours / floor", "down, ours", f"down, {floor.tool}")
    return report


def warm_up(ours: Ours) -> Floor:
    """Reads the image into the page cache; the floor that does as our container does."""
    try:
        ours.up()
        assert ours.workspace is not None
        container = ours.engine.client.api.inspect_container(ours.workspace.container.id)
        configuration = container["Config"]
        return Floor(ours.engine, ours.image, configuration["Cmd"], configuration["Env"])
    finally:
        ours.down()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_healthy(port: int) -> bool:
    # By hand, for it is done every few milliseconds while the server needs the CPU.
    with socket.socket() as connection:
        connection.settimeout(2)
        try:
            connection.connect(("127.0.0.1", port))
            connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(64)
        except OSError:
            return False


def main() -> None:
    arguments = read_arguments(__doc__, rounds=8)
    with ContainerEngine.connect() as engine:
        image = ensure_image(
            engine, choose_image(engine, os.environ.get("PYTEST_SANDBOX_IMAGE"))
        ).reference
        measure(arguments.rounds, engine, image).finish(arguments.json)


if __name__ == "__main__":
    main()
