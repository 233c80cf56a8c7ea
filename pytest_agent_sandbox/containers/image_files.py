"""Files of an image, read from a container of it that never runs."""

from __future__ import annotations

import secrets
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from docker.errors import NotFound

from pytest_agent_sandbox.containers.accounts import Account, account_of
from pytest_agent_sandbox.containers.cleanup import NAME_PREFIX, prefixed
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.janitor import home_of
from pytest_agent_sandbox.errors import SandboxError

# The most bytes of an image's folder that is put back into memory.
_LARGEST = 16 * 1024 * 1024


class ImageFiles:
    """The files of an image: make it with `open_image`."""

    def __init__(self, engine: ContainerEngine, container: str) -> None:
        self._engine = engine
        self._container = container

    def archive(self, path: str) -> bytes:
        """Return a file or folder as a tar archive; empty where the image has none.

        Raises:
            SandboxError: It is too large to be in memory.
        """
        found = b""
        try:
            chunks, _ = self._engine.client.api.get_archive(self._container, path)
        except NotFound:
            return b""
        for chunk in chunks:
            found += chunk
            if len(found) > _LARGEST:
                # The SDK closes the connection once nobody refers to it any more: the engine would
                # wait for the rest to be read, and not remove the container.
                chunks.close()
                del chunks
                raise SandboxError(
                    f"The image has over {_LARGEST:,} bytes in {path}, too much for a folder "
                    "in memory, as recycled and strict sandboxes have them."
                )
        return found

    def has(self, path: str) -> bool:
        """Tell whether there is a file or folder of this path."""
        try:
            chunks, _ = self._engine.client.api.get_archive(self._container, path)
        except NotFound:
            return False
        chunks.close()
        return True

    def text(self, path: str) -> str:
        """Return a file's text; empty where the image has none."""
        archive = self.archive(path)
        if not archive:
            return ""
        with tarfile.open(fileobj=BytesIO(archive)) as members:
            file = members.extractfile(members.getmembers()[0])
            return "" if file is None else file.read().decode(errors="replace")


@contextmanager
def open_image(engine: ContainerEngine, image: str) -> Iterator[ImageFiles]:
    """Have an image's files at hand.

    Args:
        engine: The engine that has the image.
        image: Its reference.

    Raises:
        SandboxError: The engine cannot tell.
    """
    api = engine.client.api
    with engine.calling(f"look into the image {image}"):
        labels = prefixed(engine.owner.labels)
        name = f"{NAME_PREFIX}-files-{secrets.token_hex(6)}"
        container = api.create_container(image, command=["true"], name=name, labels=labels)["Id"]
        try:
            yield ImageFiles(engine, container)
        finally:
            api.remove_container(container, v=True, force=True)


def find_account(engine: ContainerEngine, image: str, user: str) -> Account:
    """Read who a user is in an image, as the engine would.

    Args:
        engine: The engine that has the image.
        image: Its reference.
        user: A name or number, maybe with a group's behind a colon; empty for root.

    Raises:
        SettingsError: The image has no user, or group, of this name.
        SandboxError: The engine cannot tell.
    """
    with open_image(engine, image) as files:
        passwd, group = files.text("/etc/passwd"), files.text("/etc/group")
    return account_of(user, passwd, group, image)


def first_files(
    engine: ContainerEngine,
    image: str,
    folders: Iterable[str],
    user: str | None,
    mounted: Iterable[str] = (),
) -> dict[str, bytes]:
    """Return what an image has where a container of it is going to have folders in memory.

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
    with engine.calling(f"look into the image {image}"):
        found: Any = engine.client.images.get(image)
    config = found.attrs["Config"] or {}
    with open_image(engine, image) as files:
        passwd = files.text("/etc/passwd")
        home = home_of(passwd, (config.get("User") or "") if user is None else user)
        wanted = sorted({*folders, *(config.get("Volumes") or {}), home} - {"", *mounted})
        return {folder: files.archive(folder) for folder in wanted}
