"""What builds begin from, where no base image is named and where no registry gives one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_agent_sandbox.containers import base_images
from pytest_agent_sandbox.containers.base_images import DEBIAN_IMAGE, ensure_base_image
from pytest_agent_sandbox.containers.building import build_agent_server
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import find_local
from pytest_agent_sandbox.containers.progress import Silence
from pytest_agent_sandbox.errors import ImageBuildFailed, ImageNotFound, ImagePullFailed

NO_REGISTRY = "127.0.0.1:9/python:1"


class Notes(Silence):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def nothing_here(engine: ContainerEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An engine without a base image, whose registry is out of reach; the name of a made one."""
    name = f"pytest-agent-sandbox/tests:{uuid.uuid4().hex[:12]}"
    monkeypatch.setattr(base_images, "DEFAULT_BASE_IMAGE", NO_REGISTRY)
    monkeypatch.setattr(base_images, "DEBIAN_IMAGE", name)
    yield name
    if find_local(engine, name) is not None:
        engine.client.images.remove(name)


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in mmdebstrap's place, for tests to say what it does."""
    program = tmp_path / "mmdebstrap"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return program


def test_a_debian_is_made_where_no_registry_answers(
    engine: ContainerEngine, nothing_here: str, builder: Path
) -> None:
    builder.write_text('#!/bin/sh\nfor last; do :; done\ncd /etc && tar -cf "$last" hostname\n')
    progress = Notes()
    image = ensure_base_image(engine, None, platform=None, pull="missing", progress=progress)
    assert image.reference == nothing_here
    (note,) = progress.notes
    assert "127.0.0.1:9 is out of reach" in note
    assert note.endswith("Using a base image of Debian packages instead.")

    builder.write_text("#!/bin/sh\nexit 1\n")
    quiet = Notes()
    for requested in (None, nothing_here):
        assert image == ensure_base_image(
            engine, requested, platform=None, pull="missing", progress=quiet
        )
    assert not quiet.notes, "once it is here, no registry is asked again"


def test_a_builder_that_fails(engine: ContainerEngine, nothing_here: str, builder: Path) -> None:
    builder.write_text("#!/bin/sh\necho 'E: no packages to be had' >&2\nexit 25\n")
    with pytest.raises(ImageBuildFailed, match=r"it exited with 25.*--base-image NAME") as caught:
        ensure_base_image(engine, None, platform=None, pull="missing", progress=Silence())
    assert caught.value.__notes__ == ["E: no packages to be had"]
    assert find_local(engine, nothing_here) is None


def test_a_builder_that_hangs(
    engine: ContainerEngine, nothing_here: str, builder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(base_images, "_DEBIAN_TIMEOUT", 0.5)
    with pytest.raises(ImageBuildFailed, match="it did not end within"):
        ensure_base_image(engine, None, platform=None, pull="missing", progress=Silence())


def test_without_a_builder_the_ways_out_are_named(
    engine: ContainerEngine, nothing_here: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImagePullFailed, match=r"--base-image NAME.*apt-get install mmdebstrap"):
        build_agent_server(engine, target="source")


def test_none_is_made_for_another_platform(engine: ContainerEngine) -> None:
    other = "linux/arm64" if engine.platform != "linux/arm64" else "linux/amd64"
    with pytest.raises(ImageNotFound, match=f"only on a Linux machine for {other}"):
        ensure_base_image(engine, DEBIAN_IMAGE, platform=other, pull="missing", progress=Silence())


def test_a_base_that_was_named_is_not_replaced(engine: ContainerEngine, nothing_here: str) -> None:
    with pytest.raises(ImagePullFailed, match=r"127\.0\.0\.1:9 is out of reach"):
        build_agent_server(engine, base_image=NO_REGISTRY)
