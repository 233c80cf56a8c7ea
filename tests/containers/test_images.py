"""Images that are there, that have to be pulled, and that cannot be had: with a real registry."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from pytest_agent_sandbox.containers import pulling
from pytest_agent_sandbox.containers.building import add_name
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_names import (
    BUILT_REPOSITORY,
    DEFAULT_AGENT_SERVER_VERSION,
    DEFAULT_IMAGE,
)
from pytest_agent_sandbox.containers.images import (
    Image,
    Pull,
    choose_image,
    describe,
    ensure_image,
    find_built,
    find_local,
    normal_platform,
)
from pytest_agent_sandbox.containers.machine_lock import machine_lock
from pytest_agent_sandbox.containers.progress import Silence
from pytest_agent_sandbox.errors import (
    ImageNotFound,
    ImagePullFailed,
    SandboxError,
    SettingsError,
)

from .registry import PASSWORD, USER, Registry, running_registry


class Recording(Silence):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.updates: list[tuple[str, int, int]] = []
        self.notes: list[str] = []

    def update(self, activity: str, done: int = 0, total: int = 0, unit: str = "bytes") -> None:
        self.updates.append((activity, done, total))

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def name(engine: ContainerEngine, registry: Registry) -> Iterator[str]:
    """A name in the registry that nothing else uses; off the engine again after the test."""
    name = f"tests/{uuid.uuid4().hex[:12]}"
    yield name
    forget(engine, f"{registry.address}/{name}")


def forget(engine: ContainerEngine, repository: str) -> None:
    """Removes whatever the engine has of a repository, by tag or by digest."""
    for image in engine.client.images.list(name=repository):
        for reference in {*image.tags, *image.attrs["RepoDigests"]}:
            if reference.startswith((f"{repository}:", f"{repository}@")):
                with contextlib.suppress(docker.errors.ImageNotFound):
                    engine.client.images.remove(reference)


def other_platform(engine: ContainerEngine) -> str:
    return "linux/arm64" if engine.platform != "linux/arm64" else "linux/amd64"


def test_pulled_with_progress_then_found_in_one_call(
    engine: ContainerEngine, registry: Registry, name: str
) -> None:
    content = os.urandom(20_000_000)
    digest = registry.push(name, platform=engine.platform, content=content)
    reference = f"{registry.address}/{name}:1"
    progress = Recording()

    image = ensure_image(engine, reference, progress=progress)

    assert image.digest == digest
    assert image.platform == engine.platform
    assert image.size >= len(content)
    totals = [total for activity, _, total in progress.updates if "pulling" in activity]
    assert max(totals) >= len(content)
    assert not progress.notes

    requests = len(registry.log_path.read_text().splitlines())
    started = time.monotonic()
    assert ensure_image(engine, reference) == image
    assert time.monotonic() - started < 0.2
    assert len(registry.log_path.read_text().splitlines()) == requests


def test_always_asks_the_registry_again(
    engine: ContainerEngine, registry: Registry, name: str
) -> None:
    reference = f"{registry.address}/{name}:1"
    old = registry.push(name, platform=engine.platform, content=b"old")
    assert ensure_image(engine, reference).digest == old
    new = registry.push(name, platform=engine.platform, content=b"new")
    assert ensure_image(engine, reference, pull="missing").digest == old
    assert ensure_image(engine, reference, pull="always").digest == new


def test_by_digest_and_by_id(engine: ContainerEngine, registry: Registry, name: str) -> None:
    digest = registry.push(name, platform=engine.platform)
    reference = f"{registry.address}/{name}@{digest}"
    image = ensure_image(engine, reference)
    assert image.digest == digest
    short = image.id.removeprefix("sha256:")[:12]
    assert ensure_image(engine, short).id == image.id
    engine.client.images.remove(reference)
    with pytest.raises(ImageNotFound, match="given by its id"):
        ensure_image(engine, image.id)


def test_name_without_tag_means_latest_only(
    engine: ContainerEngine, registry: Registry, name: str
) -> None:
    registry.push(name, platform=engine.platform, tag="1")
    registry.push(name, platform=engine.platform, tag="latest")
    image = ensure_image(engine, f"{registry.address}/{name}")
    assert image.reference == f"{registry.address}/{name}:latest"
    assert find_local(engine, f"{registry.address}/{name}:1") is None


def test_not_found(engine: ContainerEngine, registry: Registry, name: str) -> None:
    with pytest.raises(ImageNotFound, match=r"does not exist.*manifest unknown"):
        ensure_image(engine, f"{registry.address}/{name}:1")


def test_never_pulled(engine: ContainerEngine, registry: Registry, name: str) -> None:
    registry.push(name, platform=engine.platform)
    with pytest.raises(ImageNotFound, match="--sandbox-pull=never"):
        ensure_image(engine, f"{registry.address}/{name}:1", pull="never")
    assert find_local(engine, f"{registry.address}/{name}:1") is None


def test_registry_has_it_for_another_platform_only(
    engine: ContainerEngine, registry: Registry, name: str
) -> None:
    other = other_platform(engine)
    registry.push(name, platform=other)
    with pytest.raises(ImageNotFound) as caught:
        ensure_image(engine, f"{registry.address}/{name}:1")
    assert other in str(caught.value)
    assert engine.platform in str(caught.value)


def test_registry_has_it_for_several_other_platforms(
    engine: ContainerEngine, registry: Registry, name: str
) -> None:
    registry.push_list(name, ["linux/s390x", "linux/ppc64le"])
    with pytest.raises(ImageNotFound, match="linux/ppc64le, linux/s390x") as caught:
        ensure_image(engine, f"{registry.address}/{name}:1")
    assert f"does not exist for {engine.platform}" in str(caught.value)


def test_engine_has_it_for_another_platform(
    engine: ContainerEngine, registry: Registry, name: str
) -> None:
    """What is there for the wrong platform is pulled for the right one, where that exists."""
    other = other_platform(engine)
    registry.push_list(name, [engine.platform, other])
    reference = f"{registry.address}/{name}:1"
    assert ensure_image(engine, reference, platform=other).platform == other
    with pytest.raises(ImageNotFound, match=f"for {other} only, not for {engine.platform}"):
        ensure_image(engine, reference, pull="never")
    assert ensure_image(engine, reference).platform == engine.platform


def test_engine_has_it_for_another_platform_and_registry_is_gone(
    engine: ContainerEngine, image: str
) -> None:
    reference = f"127.0.0.1:9/tests/{uuid.uuid4().hex[:12]}:1"
    local = find_local(engine, image)
    assert local is not None
    add_name(engine, local, reference)
    try:
        with pytest.raises(ImageNotFound, match="only, not for linux/s390x") as caught:
            ensure_image(engine, reference, platform="linux/s390x")
    finally:
        forget(engine, reference.removesuffix(":1"))
    assert "out of reach" in str(caught.value)


def test_registry_out_of_reach(engine: ContainerEngine) -> None:
    with pytest.raises(ImagePullFailed, match=r"127.0.0.1:9 is out of reach.*connection refused"):
        ensure_image(engine, "127.0.0.1:9/tests/x:1")


def test_default_image_out_of_reach_names_the_way_out() -> None:
    error = pulling._failure(
        None,
        DEFAULT_IMAGE,
        "linux/amd64",
        'Get "https://ghcr.io/v2/": dial tcp: lookup ghcr.io: no such host',
        "Or build the image on this machine: `agent-sandbox build`.",
    )
    assert isinstance(error, ImagePullFailed)
    assert str(error).endswith("`agent-sandbox build`.")


@pytest.mark.parametrize(
    ("tag", "command"),
    [
        ("0.0.9", "agent-sandbox build --version 0.0.9"),
        ("0.0.9-source", "agent-sandbox build --target source --version 0.0.9"),
        (f"{DEFAULT_AGENT_SERVER_VERSION}-source-minimal-0123456789ab", "agent-sandbox build"),
        (
            f"{DEFAULT_AGENT_SERVER_VERSION}-source-0123456789ab",
            "agent-sandbox build --target source",
        ),
        ("nobody", "agent-sandbox build"),
    ],
)
@pytest.mark.parametrize("pull", ["missing", "always", "never"])
def test_an_image_that_is_built_here_is_asked_of_no_registry(
    engine: ContainerEngine, tag: str, command: str, pull: Pull
) -> None:
    with pytest.raises(ImageNotFound) as caught:
        ensure_image(engine, f"{BUILT_REPOSITORY}:{tag}", pull=pull)
    assert str(caught.value) == (
        f"The image {BUILT_REPOSITORY}:{tag} is not on {engine.description}. No registry has it: "
        f"`{command}` builds it on this machine, once."
    )


def test_an_image_that_is_built_here_for_another_platform(engine: ContainerEngine) -> None:
    other = other_platform(engine)
    with pytest.raises(ImageNotFound, match=f"`agent-sandbox build --platform {other}` builds it"):
        ensure_image(engine, f"{BUILT_REPOSITORY}:nobody", platform=other)


def test_an_image_that_was_built_here_is_not_asked_for_again(engine: ContainerEngine) -> None:
    built = find_built(engine)
    if built is None:
        pytest.skip("the agent-server image was pulled, not built here")
    assert ensure_image(engine, built.reference, pull="always") == built


def test_registry_that_never_answers(engine: ContainerEngine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        reference = f"127.0.0.1:{mute.getsockname()[1]}/tests/x:1"
        started = time.monotonic()
        with pytest.raises(ImagePullFailed, match="stalled: nothing came for 1 s"):
            pulling.pull_image(engine, reference, engine.platform, Silence(), stall_timeout=1)
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "reference", ["", " ", "Upper/Case", "a b", "http://x/y", ":x", "x:", "x@y"]
)
def test_malformed_name(engine: ContainerEngine, reference: str) -> None:
    with pytest.raises(SettingsError):
        ensure_image(engine, reference)


@pytest.fixture
def private(engine: ContainerEngine, tmp_path: Path) -> Iterator[Registry]:
    with running_registry(tmp_path, password=True) as registry:
        registry.push("tests/private")
        yield registry


@contextlib.contextmanager
def configured(
    monkeypatch: pytest.MonkeyPatch, folder: Path, configuration: dict[str, object]
) -> Iterator[ContainerEngine]:
    """An engine connection that reads this docker configuration."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(configuration))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    with ContainerEngine.connect() as engine:
        yield engine


def test_access_denied_without_login(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, private: Registry
) -> None:
    with (
        configured(monkeypatch, tmp_path / "docker", {}) as engine,
        pytest.raises(ImagePullFailed, match=f"Access denied.*docker login {private.address}"),
    ):
        ensure_image(engine, f"{private.address}/tests/private:1", platform="linux/amd64")


def test_login_of_the_docker_command_line_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, private: Registry
) -> None:
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    configuration = {"auths": {private.address: {"auth": login}}}
    reference = f"{private.address}/tests/private:1"
    with configured(monkeypatch, tmp_path / "docker", configuration) as engine:
        assert ensure_image(engine, reference, platform="linux/amd64").digest
        forget(engine, reference.removesuffix(":1"))


def test_login_in_a_credential_helper_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, private: Registry
) -> None:
    helper = tmp_path / "docker-credential-tests"
    answer = json.dumps({"ServerURL": private.address, "Username": USER, "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{answer}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    configuration = {"credHelpers": {private.address: "tests"}}
    reference = f"{private.address}/tests/private:1"
    with configured(monkeypatch, tmp_path / "docker", configuration) as engine:
        assert ensure_image(engine, reference, platform="linux/amd64").digest
        forget(engine, reference.removesuffix(":1"))


def test_credential_helper_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, private: Registry
) -> None:
    configuration = {"credHelpers": {private.address: "absent"}}
    with (
        configured(monkeypatch, tmp_path / "docker", configuration) as engine,
        pytest.raises(ImagePullFailed, match="docker-credential-absent"),
    ):
        ensure_image(engine, f"{private.address}/tests/private:1", platform="linux/amd64")


_PULL = """
import sys
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import ensure_image
from pytest_agent_sandbox.containers.progress import Silence

class Telling(Silence):
    def update(self, activity, done=0, total=0, unit="bytes"):
        print("update", activity, flush=True)
    def note(self, text):
        print("note", text, flush=True)

with ContainerEngine.connect() as engine:
    image = ensure_image(engine, sys.argv[1], progress=Telling())
    print("image", image.id, flush=True)
"""


def test_two_processes_pull_once(engine: ContainerEngine, registry: Registry, name: str) -> None:
    registry.push(name, platform=engine.platform)
    reference = f"{registry.address}/{name}:1"
    subject = f"the image {reference} ({engine.platform})"
    with machine_lock(engine, subject, Silence()):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", _PULL, reference], stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        # Both wait, and say so: they really are there at the same time.
        first_lines = [process.stdout.readline() for process in processes]
    outputs = [process.communicate(timeout=60)[0] for process in processes]

    assert all(re.match("note waiting for another process", line) for line in first_lines)
    assert sorted("update asking" in output for output in outputs) == [False, True]
    assert all(re.search(r"^image sha256:", output, re.MULTILINE) for output in outputs)


def test_waiting_for_another_process_is_bounded(engine: ContainerEngine) -> None:
    subject = uuid.uuid4().hex
    with (
        machine_lock(engine, subject, Silence()),
        pytest.raises(SandboxError, match=rf"busy with {subject} for over 0 s"),
        machine_lock(engine, subject, Silence(), limit=0.1),
    ):
        pytest.fail("two had the lock")


def test_what_was_built_here_is_the_default(
    engine: ContainerEngine, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = f"0.0.{uuid.uuid4().int % 10**6}"
    monkeypatch.setattr(
        "pytest_agent_sandbox.containers.images.find_built.__defaults__", (version,)
    )
    assert choose_image(engine, "mine:1") == "mine:1"
    assert choose_image(engine, None) == DEFAULT_IMAGE
    local = find_local(engine, image)
    assert local is not None
    built = f"{BUILT_REPOSITORY}:{version}"
    add_name(engine, local, built)
    try:
        assert choose_image(engine, None) == built
        assert choose_image(engine, None, platform="linux/s390x") == DEFAULT_IMAGE
    finally:
        engine.client.images.remove(built)


def test_default_image_is_pinned() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", DEFAULT_AGENT_SERVER_VERSION)
    assert DEFAULT_IMAGE.endswith(f":{DEFAULT_AGENT_SERVER_VERSION}-python")


@pytest.mark.parametrize(
    ("reference", "labels", "digest", "expected"),
    [
        ("x/y:1.58.0-python", {}, "sha256:" + "a" * 64, "agent server 1.58.0, digest"),
        ("x/y:mine", {"pytest-agent-sandbox.version": "1.2.3"}, None, "agent server 1.2.3, id"),
        ("x:5000/y:v1.4.2", {}, None, "agent server 1.4.2, id"),
        ("x/y:latest", {}, None, "x/y:latest (id sha256:bbbbbbbbbbbb)"),
    ],
)
def test_describe(
    reference: str, labels: dict[str, str], digest: str | None, expected: str
) -> None:
    image = Image(reference, "sha256:" + "b" * 64, digest, "linux/amd64", labels)
    assert expected in describe(image)


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("linux/x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("Linux/ARM64", "linux/arm64"),
        ("linux/arm/v7", "linux/arm"),
        ("linux/arm/v6", "linux/arm/v6"),
    ],
)
def test_platform_names(name: str, normal: str) -> None:
    assert normal_platform(name) == normal
