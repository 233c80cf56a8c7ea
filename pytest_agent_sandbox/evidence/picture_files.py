"""Files of the pictures of a test, in its folder."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.evidence import limits, pictures_in_json
from pytest_agent_sandbox.evidence.picture_kinds import Picture
from pytest_agent_sandbox.evidence.story import Step, StoryPicture

#: Under this key a record names the pictures in it. It is beside what agents send, not inside.
_FIELD = "pictures"
_NAME = re.compile(r"screenshot-[1-9]\d{0,8}\.(?:png|jpg|gif|webp)")


class PictureFiles:
    """Files of the pictures of one test: each once, and the first and last ones of too many.

    Not safe for several threads: its owner has the lock.

    Args:
        folder: The test's.
        mask: Masks the secrets in a text.
    """

    def __init__(self, folder: Path, mask: Callable[[str], str]) -> None:
        self._folder = folder
        self._mask = mask
        #: The names by the hash of the data, also of pictures that were not kept.
        self._names: dict[bytes, str] = {}
        #: The hash and the size of each that is in the folder, by name.
        self._kept: dict[str, tuple[bytes, int]] = {}
        self._count = 0
        #: How many found no room, or hold a secret.
        self.left_out = 0

    def take_out(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record with the name of a file in place of each picture, and all their names.

        Raises:
            OSError: The disk is full, or the like.
        """
        names: list[str] = []

        def keep(picture: Picture) -> str:
            name = self._keep(picture)
            if name not in names:
                names.append(name)
            return name

        taken = pictures_in_json.replace(record, keep)
        return {**taken, _FIELD: names} if names else taken

    def _keep(self, picture: Picture) -> str:
        """Return the picture's name, whether there is a file of this name or not."""
        digest = hashlib.sha256(picture.data).digest()
        if digest in self._names:
            return self._names[digest]
        self._count += 1
        name = f"screenshot-{self._count}{picture.suffix}"
        if len(picture.data) > limits.RECORDED_PICTURES_SIZE or self._holds_secret(picture):
            self.left_out += 1
        else:
            (self._folder / name).write_bytes(picture.data)
            self._kept[name] = digest, len(picture.data)
        self._names[digest] = name
        self._make_room()
        return name

    def _holds_secret(self, picture: Picture) -> bool:
        """Tell whether one is written in it, beside what it shows: nothing can be masked there."""
        text = picture.data.decode("latin-1")
        return self._mask(text) != text

    def _make_room(self) -> None:
        """Remove pictures from the middle: how it began and how it ended is what matters."""
        while (
            len(self._kept) > limits.RECORDED_PICTURES
            or sum(size for _, size in self._kept.values()) > limits.RECORDED_PICTURES_SIZE
        ):
            name = list(self._kept)[len(self._kept) // 3]
            digest, _ = self._kept.pop(name)
            del self._names[digest]
            self.left_out += 1
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()


def names_in(record: Mapping[str, Any]) -> list[str]:
    """Return the names of the pictures that a record says were in it."""
    names = record.get(_FIELD)
    if not isinstance(names, list):
        return []
    return list(dict.fromkeys(filter(is_name, names)))


def is_name(value: Any) -> bool:
    """Tell whether it is what a picture's file is called here, and so leads nowhere else."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def find(folder: Path, steps: list[Step]) -> list[StoryPicture]:
    """Find the pictures of the steps; a step says which of its pictures are not there."""
    found: dict[str, StoryPicture] = {}
    for step in steps:
        for name in list(step.pictures):
            path = folder / name
            if path.is_file():
                found[name] = StoryPicture(name=name, size=path.stat().st_size)
            else:
                step.pictures.remove(name)
                step.facts.append(("picture", f"{name} was left out"))
    return list(found.values())
