"""Processes that are started in a container by its engine, and files that are copied out of it."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SandboxError

_POLL = 0.05


class Process:
    """A process in a container, in the background; it ends with the container at the latest.

    Args:
        engine: The container's engine.
        container: Where to start it.
        words: Its command line. No secrets: engines log and show it.

    Raises:
        SandboxError: The engine refused, or does not answer.
    """

    def __init__(self, engine: ContainerEngine, container: Container, words: Sequence[str]) -> None:
        self._engine = engine
        self._container = container
        self._name = words[0]
        with engine.calling(f"start {self._name} in container {container.name}"):
            self._id = engine.client.api.exec_create(container.id, list(words))["Id"]
            engine.client.api.exec_start(self._id, detach=True)

    def is_running(self) -> bool:
        """Tell whether it has not ended yet.

        Raises:
            SandboxError: The engine does not answer.
        """
        with self._engine.calling(f"look after {self._name} in {self._container.name}"):
            return bool(self._engine.client.api.exec_inspect(self._id)["Running"])

    def wait(self, timeout: float) -> bool:
        """Wait until it has ended, or its container has; tell whether that is so.

        Args:
            timeout: Seconds.

        Raises:
            SandboxError: The engine does not answer.
        """
        deadline = time.monotonic() + timeout
        while self.is_running():
            if self._container.wait_for_end(_POLL):
                return True
            if time.monotonic() > deadline:
                return False
        return True


def copy_file(
    engine: ContainerEngine, container: Container, path: str, target: Path, *, limit: int
) -> None:
    """Copy a file out of a container, which may have ended.

    Args:
        engine: The container's engine.
        container: The container.
        path: The file's path in it. Folders in memory (tmpfs) are out of the engine's reach.
        target: Where to write it.
        limit: Bytes it may have.

    Raises:
        SandboxError: There is no such file, it is too large, or the engine does not answer.
        OSError: The file cannot be written.
    """
    what = f"{path} in container {container.name}"
    with tempfile.TemporaryFile() as archived:
        with engine.calling(f"copy {path} from container {container.name}"):
            chunks, facts = engine.client.api.get_archive(container.id, path)
            if int(facts.get("size") or 0) > limit:
                raise SandboxError(f"{what} is larger than {limit:,} bytes.")
        for chunk in reading(engine, what, chunks):
            archived.write(chunk)
        archived.seek(0)
        try:
            with tarfile.open(fileobj=archived) as archive:
                source = archive.extractfile(archive.getmembers()[0])
                if source is None:
                    raise SandboxError(f"{what} is no file.")
                with target.open("wb") as file:
                    shutil.copyfileobj(source, file)
        except (tarfile.TarError, IndexError) as error:
            raise SandboxError(f"{what} came in pieces: {error}") from error


def reading(engine: ContainerEngine, what: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the chunks; an error in reading them is the engine's, one in their use is not."""
    while True:
        with engine.calling(f"send {what}"):
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk
