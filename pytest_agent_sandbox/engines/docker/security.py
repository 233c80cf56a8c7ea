"""The limits and privileges of a container, by its settings and the profile of `security`.

What each profile promises is told in SECURITY.md.
"""

from __future__ import annotations

from typing import Any, Literal

from pytest_agent_sandbox.containers.images import Image
from pytest_agent_sandbox.containers.janitor import CAPABILITIES
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.settings.table import SandboxSettings

Profile = Literal["default", "strict", "sudo"]

#: The limits of a sandbox for which nobody has set others: enough for a desktop with two browsers,
#: which takes 1 GB and 240 processes and threads, and not enough to bring a machine down.
DEFAULT_MEMORY, DEFAULT_PIDS = "4g", 1024

# What `sudo` needs to become root, and root to install packages and to look after files and
# processes of the container. The agent server needs none of them.
_FOR_SUDO = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETUID",
    "SYS_CHROOT",
)


def limits_and_privileges(settings: SandboxSettings, *, is_cleaned: bool) -> dict[str, Any]:
    """Return the limits and privileges that settings mean, as arguments of `ContainerSpec`.

    Args:
        settings: The settings.
        is_cleaned: Whether root is to clean the container between two uses.
    """
    is_strict = settings.security == "strict"
    added = {
        *(_FOR_SUDO if settings.security == "sudo" else ()),
        *(CAPABILITIES if is_cleaned else ()),
    }
    asked = {"memory": settings.memory, "cpus": settings.cpus, "pids": settings.pids}
    return {
        "memory": settings.memory or DEFAULT_MEMORY,
        "pids_limit": settings.pids or DEFAULT_PIDS,
        "cpus": settings.cpus,
        # The start fails where the engine cannot apply one of these: it was asked for, or strict
        # relies on it.
        "required_limits": tuple(
            name for name, limit in asked.items() if limit is not None or is_strict
        ),
        "cap_drop": ("ALL",),
        "cap_add": tuple(sorted(added)),
        "security_options": ("no-new-privileges",) if is_strict else (),
        "read_only": is_strict,
    }


def check_user(profile: Profile, image: Image, user: str | None) -> None:
    """Raise `SettingsError` where a strict sandbox would be root's."""
    name = (image.user if user is None else user).partition(":")[0]
    if profile == "strict" and (name in ("", "root") or (name.isdigit() and int(name) == 0)):
        raise SettingsError(
            f"user: security = strict wants a user other than root, and the image "
            f"{image.reference} has {name or 'root'}: set user (--sandbox-user)"
        )
