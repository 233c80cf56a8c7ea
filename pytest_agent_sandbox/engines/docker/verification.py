"""Commands in a fresh container, out of the reach of the agent whose work they judge."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from pytest_agent_sandbox.client.asynchronous import check_caller
from pytest_agent_sandbox.client.commands import OUTPUT_LIMIT
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.container_spec import ContainerSpec
from pytest_agent_sandbox.containers.copies import Copies
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_files import find_account, open_image
from pytest_agent_sandbox.containers.images import Image, ensure_image
from pytest_agent_sandbox.engines.docker.output import log_file
from pytest_agent_sandbox.engines.docker.sandbox import DockerSandbox
from pytest_agent_sandbox.errors import SandboxError, SettingsError
from pytest_agent_sandbox.sandbox.fresh_result import FreshCommandResult
from pytest_agent_sandbox.sandbox.network import NONE

# The command is no first process: signals would not end it.
_RUN = 'cd "$1" || exit 2; /bin/sh -c "$2"; exit $?'
_POLL = 0.2


@dataclass(frozen=True, kw_only=True)
class Verification:
    """A command that is to run in a fresh container.

    Attributes:
        command: A shell command line.
        copy: The files and folders of the sandbox that it gets, from the workspace's folder.
        image: The image of its container; None for the sandbox's.
        cwd: The folder to run it in, from the workspace's; None for that.
        timeout: Seconds for all of it.
    """

    command: str
    copy: tuple[str, ...]
    image: str | None
    cwd: str | None
    timeout: float

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise ValueError(f"timeout must be more than 0 seconds, not {self.timeout!r}")
        if not isinstance(self.command, str) or "\0" in self.command:
            raise SettingsError(f"verify_in_fresh: {self.command!r} is no command line")
        for path in self.copy:
            if not isinstance(path, str) or not path or "\0" in path:
                raise SettingsError(f"verify_in_fresh: copy: {path!r} is no path")

    def run(
        self, engine: ContainerEngine, sandbox: DockerSandbox, folder: str
    ) -> FreshCommandResult:
        """Run it.

        Args:
            engine: The engine.
            sandbox: Whose files are judged.
            folder: The workspace's folder.

        Raises:
            FileNotFoundError: A path is missing in the sandbox.
            CommandTimeout: The time was over before the command began.
            SandboxError: What is named cannot be copied, or the container does not start.
        """
        plan = sandbox.plan
        image = plan.image
        if self.image is not None:  # pulling it is not the command's time
            image = ensure_image(engine, self.image)
        began = time.monotonic()
        deadline = began + self.timeout
        user = plan.spec.user if self.image is None else None
        copies = Copies(engine, find_account(engine, image.reference, user or image.user), deadline)
        paths = [_absolute(folder, path) for path in self.copy]
        for place in _lacking(engine, image, folder, paths):
            copies.add_folder(place)
        copies.add(sandbox.container, paths)
        spec = ContainerSpec(
            image=image.reference,
            entrypoint=[
                "/bin/sh",
                "-c",
                _RUN,
                "sh",
                _absolute(folder, self.cwd or "."),
                self.command,
            ],
            command=(),
            network=NONE,
            user=user,
            files=copies.archive(),
            memory=plan.spec.memory,
            cpus=plan.spec.cpus,
            pids_limit=plan.spec.pids_limit,
            required_limits=plan.spec.required_limits,
            labels=plan.spec.labels,
            platform=plan.spec.platform if self.image is None else None,
            cap_drop=("ALL",),
            security_options=("no-new-privileges",),
            runtime=plan.spec.runtime,
            name_prefix=plan.name_prefix,
        )
        with log_file() as log, Container.start(engine, spec, log_path=log) as container:
            exit_code = _wait(container, deadline)
            if exit_code is None:
                with suppress(SandboxError), engine.calling(f"end container {container.name}"):
                    engine.client.api.kill(container.id)
            out, err = (_output(engine, container, error=error) for error in (False, True))
        return FreshCommandResult(
            command=self.command,
            exit_code=-1 if exit_code is None else exit_code,
            stdout=out.decode(errors="replace"),
            stderr=err.decode(errors="replace"),
            timed_out=exit_code is None,
            truncated=max(len(out), len(err)) >= OUTPUT_LIMIT,
            duration=time.monotonic() - began,
            timeout=self.timeout,
            image=image.reference,
            copied=self.copy,
            left_out=tuple(copies.left_out),
        )


def _absolute(folder: str, path: str) -> str:
    """Return a path as the container has it.

    Raises:
        SettingsError: It is the root of all.
    """
    found = posixpath.normpath(posixpath.join(folder, path))
    if not found.strip("/"):
        raise SettingsError(f"verify_in_fresh: {path!r} is all of the sandbox: name what is judged")
    return f"/{found.strip('/')}"


def _lacking(engine: ContainerEngine, image: Image, folder: str, paths: Sequence[str]) -> list[str]:
    """Return the folders above what is copied that an image lacks, and the workspace's."""
    wanted = {folder}
    for path in [folder, *paths]:
        while (path := posixpath.dirname(path)) != "/":
            wanted.add(path)
    with open_image(engine, image.reference) as inside:
        return [each for each in sorted(wanted) if each == folder or not inside.has(each)]


def _wait(container: Container, deadline: float) -> int | None:
    """Return how the container's command ended; None where its time is over."""
    while not container.wait_for_end(min(_POLL, max(0.0, deadline - time.monotonic()))):
        check_caller()
        if time.monotonic() > deadline:
            return None
    code = container.state().exit_code
    if code is None:
        container.check()
        raise SandboxError(f"Container {container.name}: nobody knows how its command ended.")
    return code


def _output(engine: ContainerEngine, container: Container, *, error: bool) -> bytes:
    found = bytearray()
    with engine.calling(f"read the output of container {container.name}"):
        chunks = engine.client.api.logs(container.id, stdout=not error, stderr=error, stream=True)
        for chunk in chunks:
            found += chunk
            if len(found) > OUTPUT_LIMIT:
                break
    return bytes(found[:OUTPUT_LIMIT])
