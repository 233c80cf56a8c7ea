"""Files and folders, into the sandbox and out of it."""

from __future__ import annotations

import errno
import shlex
import tarfile
import tempfile
import uuid
from pathlib import Path
from typing import IO

from pytest_agent_sandbox.client import archives, versions
from pytest_agent_sandbox.client.commands import run_command
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import ServerError

#: Seconds that packing or unpacking a folder in the sandbox may take.
_ARCHIVE_TIMEOUT = 600.0

_OWNER_EXECUTES = 0o100
_TAR_FILE_CHANGED = 1

# What servers answer, and the error that a local file would have raised.
_FILE_ERRORS = (
    ("not a file", IsADirectoryError, errno.EISDIR),
    ("is a directory", IsADirectoryError, errno.EISDIR),
    ("not a directory", NotADirectoryError, errno.ENOTDIR),
    ("file exists", NotADirectoryError, errno.ENOTDIR),
    ("permission denied", PermissionError, errno.EACCES),
    ("file not found", FileNotFoundError, errno.ENOENT),
)


def read_bytes(connection: ServerConnection, path: str) -> bytes:
    """Return the content of the file at the absolute `path`; raises what `open` would."""
    address, params = versions.file_request(connection.version, "download", path)
    try:
        content = connection.request("GET", address, params=params).content
    except ServerError as error:
        raise _read_error(connection, error, path) from error
    if not content:
        _check_readable(connection, path)
    return content


def write_bytes(connection: ServerConnection, path: str, content: bytes | IO[bytes]) -> None:
    """Write the file at the absolute `path`, making its folders; raises what `open` would."""
    address, params = versions.file_request(connection.version, "upload", path)
    try:
        connection.request("POST", address, params=params, files={"file": content})
    except ServerError as error:
        raise _file_error(error, path) from error


def upload(connection: ServerConnection, local: Path, path: str) -> None:
    """Copy a local file or folder to the absolute `path`, with its permissions.

    What is in a folder there already stays, unless it is replaced. Symbolic links stay links.
    """
    if local.is_dir():
        _upload_folder(connection, local, path)
        return
    with local.open("rb") as content:
        write_bytes(connection, path, content)
    if local.stat().st_mode & _OWNER_EXECUTES:
        _run(connection, f"chmod +x {shlex.quote(path)}")


def download(connection: ServerConnection, path: str, local: Path) -> None:
    """Copy the file or folder at the absolute `path` to `local`, making its parent folders.

    A folder comes with everything in it, hidden and ignored files included, except what could
    reach outside of `local`: links that lead out of the folder, hard links, devices. Those are
    left out with a warning in the log. The content of a sandbox is not to be trusted.
    """
    try:
        _download_file(connection, path, local)
    except IsADirectoryError:
        _download_folder(connection, path, local)


def _download_file(connection: ServerConnection, path: str, local: Path) -> None:
    address, params = versions.file_request(connection.version, "download", path)
    try:
        with connection.stream("GET", address, params=params) as response:
            local.parent.mkdir(parents=True, exist_ok=True)
            with local.open("wb") as file:
                for piece in response.iter_bytes():
                    file.write(piece)
    except ServerError as error:
        raise _read_error(connection, error, path) from error
    if not local.stat().st_size:
        _check_readable(connection, path)


def _upload_folder(connection: ServerConnection, local: Path, path: str) -> None:
    remote_archive = _temporary_name()
    with tempfile.TemporaryFile() as archive:
        archives.pack(local, archive)
        archive.seek(0)
        write_bytes(connection, remote_archive, archive)
    target = shlex.quote(path)
    _run(
        connection,
        f"mkdir -p {target} && tar -x -p -o -f {remote_archive} -C {target};"
        f" code=$?; rm -f {remote_archive}; exit $code",
    )


def _download_folder(connection: ServerConnection, path: str, local: Path) -> None:
    remote_archive = _temporary_name()
    try:
        # Hard links are written out as files: in an archive they can be made to point anywhere.
        _run(
            connection,
            f"tar -c --hard-dereference -f {remote_archive} -C {shlex.quote(path)} .",
            accepted=(0, _TAR_FILE_CHANGED),
        )
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder, "archive.tar")
            _download_file(connection, remote_archive, archive)
            with archive.open("rb") as content:
                archives.unpack(content, local)
    except tarfile.TarError as error:
        raise ServerError(f"What came as the archive of {path} is none: {error}") from error
    finally:
        _run(connection, f"rm -f {remote_archive}")


def _temporary_name() -> str:
    return f"/tmp/archive-{uuid.uuid4().hex}.tar"  # noqa: S108  (in the sandbox)


def _run(connection: ServerConnection, command: str, accepted: tuple[int, ...] = (0,)) -> None:
    result = run_command(connection, command, cwd="/", timeout=_ARCHIVE_TIMEOUT)
    if result.exit_code not in accepted:
        raise ServerError(f"A copy from or to the sandbox failed. {result}")


def _read_error(connection: ServerConnection, error: ServerError, path: str) -> Exception:
    if error.status is None:
        _check_readable(connection, path)
    return _file_error(error, path)


def _check_readable(connection: ServerConnection, path: str) -> None:
    """Raise PermissionError if the server's user may not read `path`.

    The server finds that out only when its answer is under way: it breaks the connection then, and
    an empty file that it may not read looks like one that it may.
    """
    readable = run_command(connection, f"test -r {shlex.quote(path)}", cwd="/", timeout=10.0)
    if readable.exit_code != 0:
        raise PermissionError(errno.EACCES, "Permission denied, in the sandbox", path)


def _file_error(error: ServerError, path: str) -> Exception:
    """Return the error that a local file would have raised, or `error` itself."""
    text = str(error).lower()
    for words, kind, number in _FILE_ERRORS:
        if error.status is not None and words in text:
            return kind(number, f"{words.capitalize()}, in the sandbox", path)
    return error
