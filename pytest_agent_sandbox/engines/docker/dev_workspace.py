"""A workspace whose image is built on this machine first."""

from __future__ import annotations

from typing import Any

from pytest_agent_sandbox.containers.building import build_agent_server
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_names import DEFAULT_AGENT_SERVER_VERSION, MINIMAL_TARGET
from pytest_agent_sandbox.containers.images import Image, Pull
from pytest_agent_sandbox.containers.progress import Progress
from pytest_agent_sandbox.engines.docker.workspace import DockerWorkspace
from pytest_agent_sandbox.errors import SettingsError


class DockerDevWorkspace(DockerWorkspace):
    """A `DockerWorkspace` whose image is built on this machine, from a base image of your choice.

    The build is cached by content: with the same arguments the second one costs nothing:

        with DockerDevWorkspace(base_image="python:3.13-slim-trixie") as workspace:
            print(workspace.server_info()["version"])

    Args:
        base_image: Any image with Python >= 3.12, or with apt and such a Python in its packages;
            None for `python:3.13-slim-trixie`, or a Debian instead where that cannot be pulled.
        target: `source-minimal`: the agent server and its tools. `source`: VS Code, a desktop and
            Chromium too, for which the base image has to be a Debian, or made from one.
        server_version: The agent server's version.
        options: Everything else that `DockerWorkspace` takes, except `server_image`.

    Raises:
        ImageBuildFailed: The build failed; the message names the step, the note shows its output.
        SandboxError: Whatever starting a `DockerWorkspace` raises.
    """

    def __init__(
        self,
        *,
        base_image: str | None = None,
        target: str = MINIMAL_TARGET,
        server_version: str = DEFAULT_AGENT_SERVER_VERSION,
        **options: Any,
    ) -> None:
        if "server_image" in options:
            raise SettingsError(
                "DockerDevWorkspace builds its image: give base_image, or use DockerWorkspace "
                "with server_image."
            )
        self._base_image = base_image
        self._target = target
        self._server_version = server_version
        super().__init__(**options)

    def _prepare_image(
        self,
        engine: ContainerEngine,
        reference: str | None,  # noqa: ARG002 - never given: the image is built
        platform: str | None,
        pull: Pull,
        progress: Progress,
    ) -> Image:
        return build_agent_server(
            engine,
            base_image=self._base_image,
            version=self._server_version,
            target=self._target,
            platform=platform,
            pull=pull,
            progress=progress,
        )
