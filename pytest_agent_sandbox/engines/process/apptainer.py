"""Agent servers in Apptainer, which needs no root and no engine: a process of this machine."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from pytest_agent_sandbox.client.commands import left_until
from pytest_agent_sandbox.engines.process.server import ServerProcess, free_port
from pytest_agent_sandbox.engines.process.supervisor import MARK
from pytest_agent_sandbox.errors import (
    EngineUnavailable,
    ImagePullFailed,
    SandboxDied,
    SandboxStartFailed,
    SettingsError,
)
from pytest_agent_sandbox.host.host_route import HostRoute
from pytest_agent_sandbox.host.scratch import ScratchFolder
from pytest_agent_sandbox.host.secret_variables import secrets_of
from pytest_agent_sandbox.sandbox import started
from pytest_agent_sandbox.sandbox.agent_server import SERVER_SETTINGS, forwarded, secret_environment
from pytest_agent_sandbox.sandbox.gateway import HostGateway
from pytest_agent_sandbox.sandbox.network import LOOPBACK
from pytest_agent_sandbox.sandbox.workspace import Workspace
from pytest_agent_sandbox.settings.suggest import suggests

# What Apptainer itself needs of this process's environment, beside its own variables.
_PASSED = re.compile(r"PATH|HOME|USER|LANG|LC_\w+|TMPDIR|XDG_RUNTIME_DIR|APPTAINER_(?!DOCKER_)\w+")
# The beginning of a variable by which it gives one to what it runs: no command line shows it.
_GIVE = "APPTAINERENV_"
_MOUNTED_AT = "/workspace"
_INTERVAL = 0.1


class ApptainerWorkspace(Workspace):
    """An agent server in Apptainer.

    It is started with the object, and ended when that is closed:

        with ApptainerWorkspace(server_image="ghcr.io/openhands/agent-server:1.58.0-python") as ws:
            print(ws.execute_command("pwd").stdout)

    It shares this machine's network. Its files are gone with it, but for those in folders of this
    machine. It needs `apptainer` in the PATH, and `pip install 'pytest-agent-sandbox[process]'`.

    Args:
        server_image: An image in a registry, which is pulled once and kept as a file.
        sif_file: The file of an image, in place of that.
        host_port: The port of 127.0.0.1 to listen on; by default one that is free.
        platform: Such as `linux/arm64`; by default this machine's.
        forward_env: Names of environment variables that the server gets with their values.
        mount_dir: A folder of this machine, which is `/workspace` there.
        extra_bind_mounts: More of them, as `source[:destination[:options]]`.
        enable_gpu: Give it the GPUs, of NVIDIA.
        cache_dir: Where the files of images are kept; by default `~/.apptainer_cache`.
        use_fakeroot: Have it be root in there.
        enable_docker_compat: Have it as in Docker: with an environment, temporary folders and
            processes of its own.
        disable_mount_locations: What Apptainer's configuration is not to mount.
        health_check_timeout: Seconds the server may take until it answers.
        pull_timeout: Seconds for an image to be pulled and made a file.
        read_timeout: Seconds of silence after which a request to the server is given up.
        working_dir: The workspace's folder.
        gateway: An LLM gateway to share; by default the workspace has its own.

    Raises:
        EngineUnavailable: There is no `apptainer` in the PATH.
        ImagePullFailed: The image could not be had.
        SandboxStartFailed: The server has ended, or never answered.
        SettingsError: An argument has a value that cannot be used.
    """

    _place = "a server in Apptainer"

    @suggests({"image": "server_image", "start_timeout": "health_check_timeout"})
    def __init__(
        self,
        *,
        server_image: str | None = None,
        sif_file: str | os.PathLike[str] | None = None,
        host_port: int | None = None,
        platform: str | None = None,
        forward_env: Iterable[str] = (),
        mount_dir: str | os.PathLike[str] | None = None,
        extra_bind_mounts: Sequence[str] = (),
        enable_gpu: bool = False,
        cache_dir: str | os.PathLike[str] | None = None,
        use_fakeroot: bool = True,
        enable_docker_compat: bool = True,
        disable_mount_locations: Sequence[str] = ("hostfs", "bind-paths"),
        health_check_timeout: float = 120.0,
        pull_timeout: float = 1800.0,
        read_timeout: float = 600.0,
        working_dir: str = _MOUNTED_AT,
        gateway: HostGateway | None = None,
    ) -> None:
        if (server_image is None) == (sif_file is None):
            raise SettingsError("ApptainerWorkspace: give one of server_image and sif_file.")
        if shutil.which("apptainer") is None:
            raise EngineUnavailable("There is no program `apptainer` in the PATH: install it.")
        key, secret = (SecretStr(secrets.token_urlsafe(32)) for _ in range(2))
        variables = forwarded(forward_env)
        self._secrets = (secret.get_secret_value(), *secrets_of(variables))
        given = {**SERVER_SETTINGS, **variables, **secret_environment(key, secret)}
        port = host_port or free_port()
        binds = [f"{mount_dir}:{_MOUNTED_AT}"] if mount_dir is not None else []
        options = [
            *["--fakeroot"] * use_fakeroot,
            *["--compat"] * enable_docker_compat,
            *["--nv"] * enable_gpu,
            *(word for place in disable_mount_locations for word in ("--no-mount", place)),
            *(word for bind in (*binds, *extra_bind_mounts) for word in ("--bind", bind)),
        ]
        with ExitStack() as undo:
            if gateway is None:
                gateway = undo.enter_context(HostGateway(_route))
            self.gateway = gateway
            if server_image is not None:
                sif_file = _pulled(server_image, platform, cache_dir, pull_timeout)
            self.image = str(sif_file)
            scratch = undo.enter_context(ScratchFolder()).path
            self.log_path = scratch / "server.log"
            server = ["--host", LOOPBACK, "--port", str(port)]
            began = time.monotonic()
            self._process = undo.enter_context(
                ServerProcess(
                    ["apptainer", "run", *options, self.image, *server],
                    environment={
                        **{
                            name: os.environ[name] for name in os.environ if _PASSED.fullmatch(name)
                        },
                        **{_GIVE + name: value for name, value in given.items()},
                        _GIVE + MARK: scratch.name,  # what is in there is known by it too
                    },
                    folder=scratch,
                    mark=scratch.name,
                    log_path=self.log_path,
                    scratch=[scratch],
                )
            )
            super().__init__(
                f"http://{LOOPBACK}:{port}",
                key,
                working_dir,
                read_timeout=read_timeout,
                guard=self._process.check,
            )
            undo.callback(self.connection.close)
            self._wait(health_check_timeout)
            self._start_seconds = round(time.monotonic() - began, 3)
            started.tell(self)
            self._closing = undo.pop_all()

    @property
    def name(self) -> str:
        """What reports call it: by its port."""
        return self.host.removeprefix("http://")

    @property
    def identity(self) -> Mapping[str, str]:
        """What is different in this workspace from any other, and what to call it."""
        return {self.name: "server"}

    def secrets(self) -> Iterable[str]:
        """Return what is to be masked wherever it is told of the sandbox."""
        return (*super().secrets(), *self._secrets)

    def log_tail(self, lines: int = 50) -> str:
        """Return the last lines of the server's log."""
        return self._process.log_tail(lines)

    def facts(self) -> Mapping[str, Any]:
        """Return what a report says of it once it has started."""
        return {
            "image": self.image,
            "server": self.server_info().get("version"),
            "runs as": "a process of this machine, in Apptainer",
            "network": "this machine's",
            "start_seconds": self._start_seconds,
        }

    def close(self, *, wait: bool = True) -> None:  # noqa: ARG002 - as of other workspaces
        """End the server and all that it has started. May be called more than once."""
        if self.is_closed:
            return
        with self._closing:
            self._begin_close()
            super().close()

    def _wait(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        try:
            self.wait_until_ready(timeout)
            # It needs the key: another server may have the port.
            self.execute_command("true", cwd="/", timeout=left_until(end))
        except SandboxDied as error:
            raise SandboxStartFailed(
                f"`apptainer run` ended with exit code {error.exit_code} before the server "
                "answered. Where it says that fakeroot cannot be had, use use_fakeroot=False.",
                log=error.log,
            ) from None


def _route() -> HostRoute:
    return HostRoute(LOOPBACK, container_host_name=LOOPBACK)


def _pulled(
    image: str, platform: str | None, cache: str | os.PathLike[str] | None, timeout: float
) -> Path:
    """Return the file of an image, which is made where it is not there yet.

    Raises:
        ImagePullFailed: It cannot be had, or not in time.
    """
    folder = Path(cache) if cache is not None else Path.home() / ".apptainer_cache"
    architecture = platform.rpartition("/")[2] if platform else ""
    file = folder / (
        re.sub(r"[^\w.-]", "_", "_".join(filter(None, (image, architecture)))) + ".sif"
    )
    if file.exists():
        return file
    folder.mkdir(parents=True, exist_ok=True)
    with ScratchFolder() as scratch, ExitStack() as undo:
        made = folder / f"{file.name}.{secrets.token_hex(4)}"  # another process may be at it too
        undo.callback(made.unlink, missing_ok=True)
        options = ["--arch", architecture] if architecture else []
        process = undo.enter_context(
            ServerProcess(
                ["apptainer", "pull", *options, str(made), f"docker://{image}"],
                environment=dict(os.environ),
                folder=scratch.path,
                mark=scratch.path.name,
                log_path=scratch.path / "pull.log",
            )
        )
        end = time.monotonic() + timeout
        try:
            while time.monotonic() < end:
                process.check()
                time.sleep(_INTERVAL)
        except SandboxDied as ended:
            if ended.exit_code == 0 and made.exists():
                return made.replace(file)
            raise ImagePullFailed(
                f"`apptainer pull docker://{image}` ended with exit code {ended.exit_code}.",
                log=ended.log,
            ) from None
        raise ImagePullFailed(
            f"`apptainer pull docker://{image}` was not done within {timeout:g} s. Give it longer "
            "by pull_timeout.",
            log=process.log_tail(),
        )
