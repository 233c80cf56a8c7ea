"""Files of one container, copied for another one without trusting who made them."""

from __future__ import annotations

import errno
import posixpath
import tarfile
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from io import BytesIO
from typing import IO

from docker.errors import NotFound

from pytest_agent_sandbox.containers import copier_inside
from pytest_agent_sandbox.containers.accounts import Account
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.inside import reading
from pytest_agent_sandbox.errors import CommandTimeout, SandboxError

# The most bytes: they are held in memory.
_LARGEST = 256 * 1024 * 1024
_PERMISSIONS = 0o777
_OWNER_READS, _OWNER_ENTERS = 0o400, 0o700
_MISSING = 2


class Copies:
    """An archive in the making, of files for a container's user.

    Args:
        engine: The engine of both containers.
        account: The user.
        deadline: When to give up, by the monotonic clock.

    Attributes:
        left_out: What was not copied, with the reason.
    """

    def __init__(self, engine: ContainerEngine, account: Account, deadline: float) -> None:
        self._engine = engine
        self._account = account
        self._deadline = deadline
        self._target = BytesIO()
        self._tar = tarfile.open(fileobj=self._target, mode="w")  # noqa: SIM115 - closed by `archive`
        self._links: set[str] = set()
        self.left_out: list[str] = []

    def archive(self) -> bytes:
        """Return the archive, which is complete then."""
        self._tar.close()
        return self._target.getvalue()

    def add_folder(self, path: str) -> None:
        """Add an empty folder."""
        entry = tarfile.TarInfo(path.strip("/"))
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        self._add(entry, None)

    def add(self, container: Container, paths: Sequence[str]) -> None:
        """Add files and folders of a container, as they are at one moment where it can be frozen.

        What they are is told by the engine, from outside of the container. What is in memory there
        is out of its reach: a program of root tells it, in a container that cannot be written to
        elsewhere.

        Args:
            container: The container, which may have ended.
            paths: Their absolute paths; they stay the same.

        Raises:
            FileNotFoundError: There is no such file or folder.
            SandboxError: One cannot be copied, or all are too large.
            CommandTimeout: It takes too long.
        """
        in_memory = [path for path in paths if _is_below(path, container.spec.tmpfs)]
        with _frozen(container):
            for path in paths:
                if path not in in_memory:
                    self._add_all(path, self._of_the_engine(container, path))
        for path in in_memory:
            self._add_all(path, self._of_the_program(container, path))

    def _of_the_engine(self, container: Container, path: str) -> Generator[bytes]:
        chunks = None
        copying = f"copy {path} from container {container.name}"
        with self._engine.calling(copying), suppress(NotFound):
            chunks, _ = self._engine.client.api.get_archive(container.id, path)
        if chunks is None:
            if container.state().status == "removed":
                container.check()
            raise _missing(path)
        try:
            yield from reading(self._engine, f"{path} in container {container.name}", chunks)
        finally:
            chunks.close()

    def _of_the_program(self, container: Container, path: str) -> Generator[bytes]:
        if not container.spec.read_only:
            raise SandboxError(
                f"copy: {path} is in memory (tmpfs), where the engine cannot read it and the agent "
                "could have changed what can: use a folder on the disk."
            )
        left = max(0.1, self._deadline - time.monotonic())
        program = container.start_program("copier", [copier_inside], [path], patience=left)
        try:
            while True:
                try:
                    yield program.read(self._deadline)
                except TimeoutError:
                    raise self._too_late() from None
                except OSError as error:
                    code = program.exit_code()
                    if code == _MISSING:
                        raise _missing(path) from None
                    if code != 0:
                        raise SandboxError(
                            f"copy: {path} cannot be copied: {program.why_gone(error)}"
                        ) from None
                    return
        finally:
            program.close()

    def _add_all(self, path: str, chunks: Generator[bytes]) -> None:
        with closing(chunks), tempfile.TemporaryFile() as archived:
            for chunk in chunks:
                archived.write(chunk)
                if archived.tell() + self._target.tell() > _LARGEST:
                    raise SandboxError(
                        f"copy: {path} and what is before it are over {_LARGEST // 1024**2} MiB."
                    )
                if time.monotonic() > self._deadline:
                    raise self._too_late()
            archived.seek(0)
            try:
                with tarfile.open(fileobj=archived) as members:
                    self._add_members(path, members)
            except tarfile.TarError as error:
                raise SandboxError(f"copy: {path} came in pieces: {error}") from error

    def _add_members(self, path: str, members: tarfile.TarFile) -> None:
        for member in members:
            below = member.name.strip("/").partition("/")[2]
            name = posixpath.join(path, below) if below else path
            if any(_is_below(posixpath.dirname(name), [link]) for link in self._links):
                raise SandboxError(f"copy: {name} is behind a link that is copied too")
            entry = tarfile.TarInfo(name.strip("/"))
            entry.mode, entry.mtime = member.mode & _PERMISSIONS | _OWNER_READS, member.mtime
            if member.isdir():
                entry.type, entry.mode = tarfile.DIRTYPE, entry.mode | _OWNER_ENTERS
                self._add(entry, None)
            elif member.issym() and _stays_inside(path, name, member.linkname):
                entry.type, entry.linkname = tarfile.SYMTYPE, member.linkname
                self._links.add(name)
                self._add(entry, None)
            elif member.issym():
                self.left_out.append(f"{name} (a link to {member.linkname}, which is not copied)")
            elif member.isreg() or member.islnk():
                # What has several names there is a file of its own for each of them here.
                content = members.extractfile(member)
                if content is None:
                    raise SandboxError(f"copy: {name} came in pieces")
                with content:
                    entry.size = content.seek(0, 2)
                    content.seek(0)
                    self._add(entry, content)
            else:
                self.left_out.append(f"{name} (no file, folder or link)")

    def _add(self, entry: tarfile.TarInfo, content: IO[bytes] | None) -> None:
        if self._target.tell() + entry.size > _LARGEST:
            raise SandboxError(f"copy: all of it is over {_LARGEST // 1024**2} MiB.")
        entry.uid, entry.gid = self._account.number, self._account.group
        self._tar.addfile(entry, content)

    def _too_late(self) -> CommandTimeout:
        return CommandTimeout("The files were not copied within the timeout of the command.")


@contextmanager
def _frozen(container: Container) -> Iterator[None]:
    """Freeze a container meanwhile, unless it has ended, is frozen, or cannot be."""
    try:
        if container.is_paused or container.state().status != "running":
            yield
            return
        container.pause()
    except SandboxError:  # an engine without control groups cannot
        yield
        return
    try:
        yield
    finally:
        container.unpause()


def _is_below(path: str, folders: Iterable[str]) -> bool:
    places = map(posixpath.normpath, folders)
    return any(posixpath.commonpath([path, place]) == place for place in places)


def _stays_inside(top: str, name: str, target: str) -> bool:
    """Tell whether a link leads to a place in what is copied."""
    if target.startswith("/") or name == top:
        return False
    led = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    return _is_below(led, [top])


def _missing(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "copy: there is no such file in the sandbox", path)
