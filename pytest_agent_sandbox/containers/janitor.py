"""The janitor, who brings a container back to its first state between two uses of it."""

from __future__ import annotations

import base64
import json
import tarfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from pytest_agent_sandbox.containers import janitor_inside
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.program import RunningContainer

#: The capabilities that the container's root needs to clean up after others.
CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "SETFCAP",
    "SETGID",
    "SETUID",
)

#: Where programs expect to be able to write, whatever the image is.
USUAL_PLACES = ("/tmp", "/var/tmp", "/run", "/root")  # noqa: S108 - in the container

# Seconds for an order: most take some milliseconds, but a folder full of files takes longer.
_PATIENCE = 20.0
# Seconds in which the engine notices that something has ended.
_END_GRACE = 1.0


def home_of(passwd: str, user: str) -> str:
    """Return the home folder of a user.

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


def memory_options(archive: bytes) -> str:
    """Return how to mount a folder in memory so that its owner is the one it has in the image.

    Args:
        archive: Of the folder, as `image_files.first_files` returns it.
    """
    if not archive:
        return "exec,mode=1777"
    with tarfile.open(fileobj=BytesIO(archive)) as members:
        top = members.getmembers()[0]
    return f"exec,uid={top.uid},gid={top.gid},mode={top.mode & 0o7777:o}"


def by_owner(files: Mapping[str, bytes]) -> dict[str, dict[str, bytes]]:
    """Return the files of folders by their owner, for those who can only make their own.

    Args:
        files: By folder, as `image_files.first_files` returns them.

    Returns:
        By user number: archives as before, of that user's files alone.
    """
    owners: dict[str, dict[str, bytes]] = {}
    for folder, archive in files.items():
        if not archive:
            continue
        with tarfile.open(fileobj=BytesIO(archive)) as members:
            found = members.getmembers()
            for owner in {member.uid for member in found}:
                target = BytesIO()
                with tarfile.open(fileobj=target, mode="w") as part:
                    for member in found:
                        if member.uid == owner:
                            content = members.extractfile(member) if member.isreg() else None
                            part.addfile(member, content)
                owners.setdefault(str(owner), {})[folder] = target.getvalue()
    return owners


class Janitor(Closing):
    """The cleaner of one container: it ends processes, wipes what can be written to, and checks.

    The container has a read-only root file system, and writes to memory only. The janitor is a
    process in it, of root; whoever is root there too can fool it. It ends with the container.

    Args:
        container: The container.
        user: Whose process it is; another than root can `restore` what belongs to it, and no more.

    Raises:
        SandboxError: The engine refused, or there is no Python in the container.
    """

    def __init__(self, container: RunningContainer, user: str = "0") -> None:
        self._container = container
        self._program = container.start_program(
            "janitor", [janitor_inside], patience=_PATIENCE, user=user
        )

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Put files into the container's folders.

        Args:
            files: By folder, as `image_files.first_files` returns them.

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

    def reset(self) -> list[str]:
        """Bring the first state back; return what could not be, in words.

        Raises:
            SandboxError: The janitor is gone.
        """
        return list(self._answer("reset")["problems"])

    def close(self) -> None:
        """End it."""
        self._program.close()

    def _order(self, order: str, **details: object) -> None:
        problems = self._answer(order, **details).get("problems")
        if problems:
            raise SandboxError(f"Container {self._container.name}: {problems[0]}.")

    def _answer(self, order: str, **details: object) -> dict[str, Any]:
        try:
            self._program.send(json.dumps({"do": order, **details}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(self._program.read_line(_PATIENCE))
        except (OSError, ValueError) as error:
            # As a rule, it ends this way.
            self._container.wait_for_end(_END_GRACE)
            self._container.check()
            reason = self._program.why_gone(error)
            raise SandboxError(
                f"The janitor of container {self._container.name} is gone: {reason}"
            ) from error
        return answer
