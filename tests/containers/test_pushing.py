"""Images that are pushed to a real registry, and refused by one."""

from __future__ import annotations

import io
import socket
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker.errors
import httpx
import pytest

from pytest_agent_sandbox.containers import pushing
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_names import VERSION_LABEL
from pytest_agent_sandbox.containers.images import Image, find_local
from pytest_agent_sandbox.containers.progress import Silence
from pytest_agent_sandbox.containers.pushing import push_image
from pytest_agent_sandbox.errors import ImagePushFailed, SettingsError

from .registry import running_registry

NAME = "pytest-agent-sandbox/pushed"


@pytest.fixture
def small(engine: ContainerEngine) -> Iterator[Image]:
    """A small image that says which agent server it has."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as members:
        entry = tarfile.TarInfo("content")
        entry.size = 4
        members.addfile(entry, io.BytesIO(b"here"))
    engine.client.api.import_image_from_data(
        archive.getvalue(), repository=NAME, tag="1", changes=[f"LABEL {VERSION_LABEL}=1.2.3"]
    )
    found = find_local(engine, f"{NAME}:1")
    assert found is not None
    yield found
    for image in engine.client.images.list(filters={"label": f"{VERSION_LABEL}=1.2.3"}):
        with suppress(docker.errors.APIError):
            engine.client.images.remove(image.id, force=True)


def test_it_is_there_under_the_name_that_is_returned(
    engine: ContainerEngine, small: Image, tmp_path: Path
) -> None:
    with running_registry(tmp_path) as registry:
        pushed = push_image(engine, small, f"{registry.address}/team/", Silence())
        name, _, digest = pushed.partition("@")
        assert name == f"{registry.address}/team/agent-server:1.2.3"
        manifest = httpx.get(
            f"http://{registry.address}/v2/team/agent-server/manifests/{digest}",
            headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
        )
    assert manifest.is_success
    assert digest.startswith("sha256:")


def test_a_registry_that_refuses_is_asked_once(
    engine: ContainerEngine, small: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "_PAUSE", 1000.0)
    with (
        running_registry(tmp_path, password=True) as registry,
        pytest.raises(ImagePushFailed, match=r"docker login 127\.0\.0\.1") as caught,
    ):
        push_image(engine, small, registry.address, Silence())
    assert "agent-server:1.2.3" in str(caught.value)


def test_a_registry_that_is_away_is_tried_again(
    engine: ContainerEngine, small: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []
    monkeypatch.setattr(pushing.time, "sleep", tries.append)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(ImagePushFailed, match="can be reached from the engine"):
        push_image(engine, small, address, Silence())
    assert len(tries) == 2


def test_a_name_that_is_none(engine: ContainerEngine, small: Image) -> None:
    with pytest.raises(SettingsError, match="Not/A/Registry"):
        push_image(engine, small, "Not/A/Registry", Silence())
