"""The folder of this user's locks on this machine."""

from __future__ import annotations

import getpass
import tempfile
from pathlib import Path

from pytest_agent_sandbox.errors import SandboxError


def lock_folder() -> Path:
    """Return the folder of this user's locks on this machine; it is made where it is missing.

    Raises:
        SandboxError: It cannot be made.
    """
    # A folder per user: in a shared one, another user's lock file could not be opened.
    folder = Path(tempfile.gettempdir()) / f"pytest-agent-sandbox-{_user()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SandboxError(f"Cannot make the lock folder {folder}: {error.strerror}.") from error
    return folder


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user number without a name, as containers have
        return "unknown"
