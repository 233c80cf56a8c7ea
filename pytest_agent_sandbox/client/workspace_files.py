"""The files of a workspace, as its user has them."""

from __future__ import annotations

import posixpath
from pathlib import Path

from pytest_agent_sandbox.client import files
from pytest_agent_sandbox.client.asynchronous import InThread
from pytest_agent_sandbox.client.transport import ServerConnection

#: Seconds for a file: some hooks of agents keep the server from answering for minutes.
FILE_TIMEOUT = 600.0
#: Seconds for a copy, which may be large.
COPY_TIMEOUT = 1800.0


class WorkspaceFiles:
    """A workspace whose files are read, written and copied.

    What is wrong with a path in the sandbox is the `OSError` that a local one would raise. A path
    that is not UTF-8 is a text as `os.fsdecode` makes it of bytes.
    """

    #: The way to the sandbox's server, and where relative paths start from.
    connection: ServerConnection
    working_dir: str

    def read_text(self, path: str, *, timeout: float = FILE_TIMEOUT) -> str:
        """Return the content of a file in the sandbox, decoded as UTF-8.

        Args:
            path: Path of the file; a relative one starts from `working_dir`, here and below.
            timeout: Seconds that it may take, here and below.

        Raises:
            FileNotFoundError: There is no such file.
            IsADirectoryError: It is a folder.
            PermissionError: The server's user may not read it.
            OSError: What else is wrong with the path.
            ServerError: The server did not answer in time.
        """
        return self.read_bytes(path, timeout=timeout).decode()

    def write_text(self, path: str, text: str, *, timeout: float = FILE_TIMEOUT) -> None:
        """Write a file in the sandbox, encoded as UTF-8, making its folders.

        Raises:
            IsADirectoryError: There is a folder of that name.
            NotADirectoryError: A part of the path is a file.
            PermissionError: The server's user may not write there.
            OSError: What else is wrong with the path, or that the disk is full.
            ServerError: The server did not answer in time.
        """
        self.write_bytes(path, text.encode(), timeout=timeout)

    def read_bytes(self, path: str, *, timeout: float = FILE_TIMEOUT) -> bytes:
        """Return the content of a file in the sandbox. Raises as `read_text` does."""
        with self.connection.time.within(timeout):
            return files.read_bytes(self.connection, self.path(path))

    def write_bytes(self, path: str, content: bytes, *, timeout: float = FILE_TIMEOUT) -> None:
        """Write a file in the sandbox, making its folders. Raises as `write_text` does."""
        with self.connection.time.within(timeout):
            files.write_bytes(self.connection, self.path(path), content)

    def upload(self, local: str | Path, remote: str, *, timeout: float = COPY_TIMEOUT) -> None:
        """Copy a local file or folder into the sandbox, in pieces, with its permissions.

        What nobody else may read is not readable for others at any moment. A link to a folder is
        copied as that folder.

        Args:
            local: The file or folder.
            remote: The copy's own path, its name included. In a folder that exists already, files
                of the same name are replaced and others stay.
            timeout: Seconds that it may take.

        Raises:
            OSError: As `write_text` does; and where `local` cannot be read.
            ServerError: The copy failed on the sandbox's side, which does not say why, or was not
                done in time.
        """
        with self.connection.time.within(timeout):
            files.upload(self.connection, Path(local), self.path(remote))

    def download(self, remote: str, local: str | Path, *, timeout: float = COPY_TIMEOUT) -> None:
        """Copy a file or folder out of the sandbox, in pieces, with its permissions.

        Permissions are those that the owner, its group and others have; the owner may read all.
        A folder comes whole, hidden and ignored files included. What could reach outside of it on
        this machine is left out, with a warning in the log: links that lead out of it, and devices.

        Args:
            remote: The file or folder.
            local: The copy's own path, its name included; its parent folders are made.
            timeout: Seconds that it may take.

        Raises:
            OSError: As `read_text` does; and where `local` cannot be written.
            ServerError: The copy failed on the sandbox's side, which does not say why, or was not
                done in time.
        """
        with self.connection.time.within(timeout):
            files.download(self.connection, self.path(remote), Path(local))

    def path(self, path: str) -> str:
        """Return the absolute path in the sandbox; relative ones start from `working_dir`."""
        return posixpath.normpath(posixpath.join(self.working_dir, path))

    # Their awaitable forms.
    aread_text = InThread(read_text)
    awrite_text = InThread(write_text)
    aread_bytes = InThread(read_bytes)
    awrite_bytes = InThread(write_bytes)
    aupload = InThread(upload)
    adownload = InThread(download)
