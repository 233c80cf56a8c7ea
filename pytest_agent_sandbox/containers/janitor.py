"""Bringing a container back to its first state, between two uses of it."""

from __future__ import annotations

import base64
import json
import secrets
import struct
import tarfile
import time
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from docker.errors import NotFound

from pytest_agent_sandbox.containers import janitor_inside
from pytest_agent_sandbox.containers.cleanup import NAME_PREFIX, prefixed
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.engine import Engine
from pytest_agent_sandbox.errors import SandboxError

#: Where programs expect to be able to write, whatever the image is.
USUAL_PLACES = ("/tmp", "/var/tmp", "/run", "/root")  # noqa: S108 - in the container

# Seconds for an order to be carried out: most take some milliseconds, a place full of files more.
_PATIENCE = 20.0
# Bytes of an image's folder that can be put back into memory.
_LARGEST = 16 * 1024 * 1024
_FRAME_HEADER = struct.Struct(">BxxxL")
# Seconds in which the engine notices that something has ended.
_END_GRACE = 1.0
_POLL = 0.02
_STANDARD_ERROR = 2
# Characters of what the janitor complained of that an error quotes.
_SHOWN = 500
# The program comes as the first line, so that it is not what `ps` shows in the container.
_START = """
for python in python3 /agent-server/.venv/bin/python python; do
    if command -v "$python" >/dev/null; then
        exec "$python" -I -c 'import json, sys; exec(json.loads(sys.stdin.readline()))' janitor
    fi
done
exit 127
"""
_NO_PYTHON = 127


def home_of(passwd: str, user: str) -> str:
    """The home folder of a user.

    Args:
        passwd: The text of `/etc/passwd`.
        user: Name or number, maybe with a group behind a colon; empty for root.

    Returns:
        The folder; empty where the user has none.
    """
    name = user.partition(":")[0] or "0"
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) >= 6 and name in (fields[0], fields[2]):  # noqa: PLR2004 - passwd(5)
            return fields[5] if fields[5] not in ("", "/") else ""
    return ""


def first_files(
    engine: Engine,
    image: str,
    folders: Iterable[str],
    user: str | None,
    mounted: Iterable[str] = (),
) -> dict[str, bytes]:
    """What an image has where a container of it is going to have folders in memory.

    Args:
        engine: The engine that has the image.
        image: Its reference.
        folders: The folders.
        user: Whose home is added; None for the image's own user. The image's volumes are, too.
        mounted: Folders that are left out, for something else is mounted there.

    Returns:
        An archive (tar) for each folder; an empty one where the image has none.

    Raises:
        SandboxError: The engine cannot tell, or a folder is too large to be in memory.
    """
    api = engine.client.api
    with engine.calling(f"look into the image {image}"):
        found: Any = engine.client.images.get(image)
        own_user = (found.attrs["Config"] or {}).get("User") or ""
        labels = prefixed(engine.owner.labels)
        name = f"{NAME_PREFIX}-files-{secrets.token_hex(6)}"
        container = api.create_container(image, command=["true"], name=name, labels=labels)["Id"]
        try:
            passwd = _text(_archive(engine, container, "/etc/passwd"))
            home = home_of(passwd, own_user if user is None else user)
            volumes = found.attrs["Config"].get("Volumes") or {}
            wanted = sorted({*folders, *volumes, home} - {"", *mounted})
            return {folder: _archive(engine, container, folder) for folder in wanted}
        finally:
            api.remove_container(container, v=True, force=True)


def memory_options(archive: bytes) -> str:
    """How to mount a folder in memory, so that it belongs to whom it belongs to in the image.

    Args:
        archive: Of the folder, as `first_files` returns it.
    """
    if not archive:
        return "exec,mode=1777"
    with tarfile.open(fileobj=BytesIO(archive)) as members:
        top = members.getmembers()[0]
    return f"exec,uid={top.uid},gid={top.gid},mode={top.mode & 0o7777:o}"


def _archive(engine: Engine, container: str, path: str) -> bytes:
    found = b""
    try:
        chunks, _ = engine.client.api.get_archive(container, path)
        for chunk in chunks:
            found += chunk
            if len(found) > _LARGEST:
                raise SandboxError(
                    f"The image has over {_LARGEST:,} bytes in {path}, too much for a folder in "
                    "memory, as recycled sandboxes have them."
                )
    except NotFound:
        return b""
    return found


def _text(archive: bytes) -> str:
    if not archive:
        return ""
    with tarfile.open(fileobj=BytesIO(archive)) as members:
        file = members.extractfile(members.getmembers()[0])
        return "" if file is None else file.read().decode(errors="replace")


class Janitor:
    """Cleans one container: ends processes, wipes what can be written to, and checks the result.

    The container has a read-only root file system, and writes to memory only. The janitor is a
    process in it, of root; whoever is root there too can fool it. It ends with the container.

    Args:
        engine: The container's engine.
        container: The container.

    Raises:
        SandboxError: The engine refused, or there is no Python in the container.
    """

    def __init__(self, engine: Engine, container: Container) -> None:
        self._container = container
        api = engine.client.api
        with engine.calling(f"start the janitor in container {container.name}"):
            started = api.exec_create(
                container.id,
                ["/bin/sh", "-c", _START],
                stdin=True,
                user="0",
                workdir="/",
            )
            stream = api.exec_start(started["Id"], socket=True)
        self._engine = engine
        self._id = started["Id"]
        self._stream = stream
        # The SDK hands out a file around a socket, or on Windows what behaves like a socket.
        self._socket: Any = getattr(stream, "_sock", stream)
        self._rest = b""
        self._complaint = ""
        self._send(json.dumps(Path(janitor_inside.__file__).read_text("utf-8")))

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Put files into the container's folders.

        Args:
            files: By folder, as `first_files` returns them.

        Raises:
            SandboxError: The janitor could not do so, or is gone.
        """
        archives = {
            folder: base64.b64encode(archive).decode()
            for folder, archive in files.items()
            if archive
        }
        self._order("restore", archives=archives)

    def remember(self, volumes: Sequence[str] = ()) -> None:
        """Take the container's state for its first one.

        Args:
            volumes: The folders in it that are the host's, or volumes: they are left as they are.

        Raises:
            SandboxError: It is not one that can be brought back, or the janitor is gone.
        """
        self._order("remember", volumes=list(volumes))

    def kill(self) -> None:
        """End all processes that were not there at first.

        Raises:
            SandboxError: The janitor is gone.
        """
        self._order("kill")

    def reset(self) -> list[str]:
        """Bring the first state back; return what could not be, in words.

        Raises:
            SandboxError: The janitor is gone.
        """
        return list(self._answer("reset")["problems"])

    def close(self) -> None:
        """End it."""
        self._stream.close()
        self._socket.close()

    def _order(self, order: str, **details: object) -> None:
        problems = self._answer(order, **details).get("problems")
        if problems:
            raise SandboxError(f"Container {self._container.name}: {problems[0]}.")

    def _answer(self, order: str, **details: object) -> dict[str, Any]:
        self._send(json.dumps({"do": order, **details}))
        try:
            answer: dict[str, Any] = json.loads(self._line(time.monotonic() + _PATIENCE))
        except (OSError, ValueError) as error:
            raise self._gone(error) from error
        return answer

    def _send(self, line: str) -> None:
        try:
            self._socket.settimeout(_PATIENCE)
            self._socket.sendall(f"{line}\n".encode())
        except OSError as error:
            raise self._gone(error) from error

    def _gone(self, error: Exception) -> SandboxError:
        self._container.wait_for_end(_END_GRACE)  # that is what it ends with, as a rule
        self._container.check()
        name = self._container.name
        reason = "there is no Python in it" if self._exit_code() == _NO_PYTHON else error
        return SandboxError(f"The janitor of container {name} is gone: {self._complaint or reason}")

    def _exit_code(self) -> int | None:
        """How it ended, which the engine knows a little later than that it did."""
        deadline = time.monotonic() + _END_GRACE
        with self._engine.calling(f"look after the janitor of container {self._container.name}"):
            while True:
                found = self._engine.client.api.exec_inspect(self._id)
                if not found["Running"] or time.monotonic() > deadline:
                    return None if found["ExitCode"] is None else int(found["ExitCode"])
                self._container.wait_for_end(_POLL)

    def _line(self, deadline: float) -> bytes:
        """The next line that the janitor prints, out of the engine's frames."""
        printed = b""
        while b"\n" not in printed:
            stream, size = _FRAME_HEADER.unpack(self._read(_FRAME_HEADER.size, deadline))
            payload = self._read(size, deadline)
            if stream == _STANDARD_ERROR:
                self._complaint = payload.decode(errors="replace").strip()[-_SHOWN:]
            else:
                printed += payload
        return printed

    def _read(self, size: int, deadline: float) -> bytes:
        while len(self._rest) < size:
            if time.monotonic() > deadline:
                raise TimeoutError("it does not answer")
            chunk = self._socket.recv(65536)
            if not chunk:
                raise ConnectionError("it has ended")
            self._rest += chunk
        found, self._rest = self._rest[:size], self._rest[size:]
        return found
