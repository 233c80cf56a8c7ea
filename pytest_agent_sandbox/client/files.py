"""Files and folders, into the sandbox and out of it."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pytest_agent_sandbox.client import archives, versions
from pytest_agent_sandbox.client.commands import CommandResult, run_command
from pytest_agent_sandbox.client.remote_paths import is_utf8, path_error, quoted, told_error
from pytest_agent_sandbox.client.server_commands import put, start
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import SandboxError, ServerError

#: Seconds that it may take to pack or unpack a folder in the sandbox, and to look at a path.
_ARCHIVE_TIMEOUT = 600.0
_LOOK_TIMEOUT = 30.0
#: Seconds past a call's time to have a folder removed in the sandbox.
_GRACE = 0.1

_READABLE_FOR_OTHERS = 0o044
_OWNER_READS, _PERMISSIONS = 0o400, 0o777
_TAR_FILE_CHANGED = 1

# Where servers pass on an error of their system, and what else they say of paths to write to.
_PASSED_ON = re.compile(r"Failed to \w+ file: \[Errno (\d+)\]")
_SAID = {
    "Path is a directory": errno.EISDIR,
    "A parent of the path is not a directory": errno.ENOTDIR,
}
_NOT_FOUND = 404


def read_bytes(connection: ServerConnection, path: str) -> bytes:
    """Return the content of the file at the absolute `path`; raises what `open` would."""
    with _named(connection, path) as name:
        address, params = versions.file_request(connection.version, "download", name)
        try:
            content = connection.request("GET", address, params=params).content
        except ServerError as error:
            raise _read_error(connection, error, path) from None
    if not content:
        # The server finds out too late, in the middle of its answer, that it may not read a file.
        _look(connection, path, is_read=True)
    return content


def write_bytes(connection: ServerConnection, path: str, content: bytes | IO[bytes]) -> None:
    """Write the file at the absolute `path`, making its folders; raises what `open` would."""
    with _named(connection, path, makes_folders=True) as name:
        try:
            put(connection, name, content)
        except ServerError as error:
            raise _write_error(connection, error, path) from None


def upload(connection: ServerConnection, local: Path, path: str) -> None:
    """Copy a local file or folder to the absolute `path`, with its permissions.

    What is in a folder there already stays, unless it is replaced. Symbolic links in it stay links.
    """
    if local.is_dir():
        _upload_folder(connection, local, path)
        return
    with local.open("rb") as content:
        mode = archives.permissions(os.fstat(content.fileno()))
        target = quoted(path)
        if mode & _READABLE_FOR_OTHERS != _READABLE_FOR_OTHERS:
            # Before anything is in it, so that nobody else can read it even for a moment.
            prepare = (
                f'p={target}; mkdir -p -- "${{p%/*}}/" && if [ -f "$p" ]; then '
                ': >>"$p" && chmod 600 -- "$p"; else umask 077; : >"$p"; fi'
            )
            _run(connection, prepare, path)
        write_bytes(connection, path, content)
    _run(connection, f"chmod {mode:o} -- {target}", path)


def download(connection: ServerConnection, path: str, local: Path) -> None:
    """Copy the file or folder at the absolute `path` to `local`, making its parent folders.

    A folder comes with everything in it, hidden and ignored files included, except what could
    reach outside of `local`: links that lead out of the folder, hard links, devices. Those are
    left out with a warning in the log. The content of a sandbox is not to be trusted.
    """
    mode = _look(connection, path, is_read=True)
    if stat.S_ISDIR(mode):
        _download_folder(connection, path, local)
    else:
        _download_file(connection, path, local, mode & _PERMISSIONS | _OWNER_READS)


def make_folder(connection: ServerConnection, path: str, timeout: float = _ARCHIVE_TIMEOUT) -> None:
    """Make a folder and those above it, where they are missing; raises what `mkdir` would."""
    _run(connection, f"mkdir -p -- {quoted(path)}", path, timeout=timeout)


def _download_file(connection: ServerConnection, path: str, local: Path, mode: int) -> None:
    with _named(connection, path) as name:
        address, params = versions.file_request(connection.version, "download", name)
        try:
            with connection.stream("GET", address, params=params) as response:
                local.parent.mkdir(parents=True, exist_ok=True)
                with os.fdopen(_open_privately(local), "wb") as file:
                    for piece in response.iter_bytes():
                        file.write(piece)
                    if sys.platform != "win32":
                        os.fchmod(file.fileno(), mode)
        except ServerError as error:
            raise _read_error(connection, error, path) from None


def _open_privately(path: Path) -> int:
    """Open a file to write, so that nobody else can read what is written."""
    binary = getattr(os, "O_BINARY", 0)  # of Windows
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | binary, 0o600)
    if sys.platform != "win32":
        with suppress(PermissionError):  # somebody else's
            os.fchmod(file, 0o600)
    return file


def _upload_folder(connection: ServerConnection, local: Path, path: str) -> None:
    with _private_folder(connection) as folder:
        with tempfile.TemporaryFile() as archive:
            archives.pack(local, archive)
            archive.seek(0)
            write_bytes(connection, f"{folder}/archive", archive)
        make = f"mkdir -p -- {quoted(path)} || exit; {_go_to(path)}"
        _run(connection, f"{make} && tar -x -p -o -f {folder}/archive", path)


def _download_folder(connection: ServerConnection, path: str, local: Path) -> None:
    with _private_folder(connection) as folder, tempfile.TemporaryDirectory() as local_folder:
        # Hard links are written out as files: in an archive they can be made to point anywhere.
        pack = f"{_go_to(path)} && tar -c --hard-dereference -f {folder}/archive ."
        _run(connection, pack, path, accepted=(0, _TAR_FILE_CHANGED))
        archive = Path(local_folder, "archive.tar")
        _download_file(connection, f"{folder}/archive", archive, 0o600)
        try:
            with archive.open("rb") as content:
                archives.unpack(content, local)
        except archives.TarError as error:
            raise ServerError(f"What came as the archive of {path!r} is none: {error}") from error


def _go_to(path: str) -> str:
    """Return what the shell does to be in a folder, with a reason where it may not.

    tar itself would take a backslash in a path for something else, and `cd` gives no reason.
    """
    return f'p={quoted(path)}; ls -d -- "$p/." >/dev/null && cd -- "$p"'


@contextmanager
def _private_folder(connection: ServerConnection) -> Iterator[str]:
    """Make a folder in the sandbox that nobody else there can look into, and remove it."""
    folder = f"/tmp/copy-{uuid.uuid4().hex}"  # noqa: S108  (made with mode 700)
    _run(connection, f"mkdir -p -m 700 {folder}", folder)
    try:
        yield folder
    finally:
        remove = f"rm -rf {folder}"
        with suppress(SandboxError):
            if connection.time.is_over():  # only a moment, and not for its end
                with connection.time.to_clean_up(_GRACE):
                    start(connection, remove, "/", _LOOK_TIMEOUT)
            else:
                run_command(connection, remove, cwd="/", timeout=_LOOK_TIMEOUT)


@contextmanager
def _named(
    connection: ServerConnection, path: str, *, makes_folders: bool = False
) -> Iterator[str]:
    """Yield a name that the server understands: a link's, where the path is not UTF-8."""
    if is_utf8(path):
        yield path
        return
    with _private_folder(connection) as folder:
        target = quoted(path)
        make = f'p={target}; mkdir -p -- "${{p%/*}}/" && ' if makes_folders else ""
        _run(connection, f"{make}ln -s -- {target} {folder}/file", path)
        yield f"{folder}/file"


def _run(
    connection: ServerConnection,
    command: str,
    path: str,
    accepted: tuple[int, ...] = (0,),
    timeout: float = _ARCHIVE_TIMEOUT,
) -> CommandResult:
    """Run a command about a path; raise what a local path would have raised, if it says so."""
    command = f"LC_ALL=C; export LC_ALL; {command}"
    result = run_command(connection, command, cwd="/", timeout=timeout)
    if result.exit_code not in accepted:
        failure = ServerError(f"A copy from or to the sandbox failed. {result}")
        raise told_error(result.stderr, path) or failure from failure
    return result


def _look(connection: ServerConnection, path: str, *, is_read: bool) -> int:
    """Return the mode of what is at a path.

    Args:
        connection: The server.
        path: Absolute path in the sandbox.
        is_read: Whether it is to be a file or folder that the server's user may read.

    Raises:
        OSError: What `open` would raise.
    """
    # The options of `stat` are those of Linux, or of macOS for servers that are a process there.
    look = (
        f"p={quoted(path)}; form='-c %f'; [ \"$(uname)\" != Darwin ] || form='-f %Xp'; "
        'stat -L $form -- "$p" && if [ -r "$p" ]; then echo readable; fi'
    )
    found = _run(connection, look, path).stdout.split()
    try:
        mode = int(found[0], 16)
    except (ValueError, IndexError) as error:
        raise ServerError(f"The sandbox's stat printed {found!r:.200} of {path!r}.") from error
    if is_read and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "Neither a file nor a folder, in the sandbox", path)
    if is_read and found[1:] != ["readable"]:
        raise path_error(errno.EACCES, path)
    return mode


def _read_error(connection: ServerConnection, error: ServerError, path: str) -> Exception:
    """Return the error that a local file would have raised, or `error` itself."""
    told = _passed_on(error, path)
    if told is not None or connection.time.is_over():
        return told or error
    try:
        if stat.S_ISDIR(_look(connection, path, is_read=True)):
            return path_error(errno.EISDIR, path)
    except OSError as reason:
        return reason
    if error.status == _NOT_FOUND:  # somebody has made it in the meantime
        return path_error(errno.ENOENT, path)
    return error


def _write_error(connection: ServerConnection, error: ServerError, path: str) -> Exception:
    """Return the error that a local file would have raised, or `error` itself."""
    told = _passed_on(error, path)
    if told is not None and told.errno == errno.ENOTDIR:
        # Or something else that is in the way of folders, such as links in a ring.
        try:
            _look(connection, path, is_read=False)
        except OSError as reason:
            return told if reason.errno == errno.ENOENT else reason
    return told or error


def _passed_on(error: ServerError, path: str) -> OSError | None:
    """Return the error that the server's system has raised, where the server says which."""
    if error.status is None:
        return None
    passed = _PASSED_ON.search(str(error))
    if passed:
        number = int(passed[1])
        return path_error(errno.ENOTDIR if number == errno.EEXIST else number, path)
    for text, number in _SAID.items():
        if str(error).endswith(text):
            return path_error(number, path)
    return None
