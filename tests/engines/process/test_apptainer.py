"""What becomes of a start in Apptainer that fails; tests/interop has one that does not."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from pytest_agent_sandbox import (
    ApptainerWorkspace,
    EngineUnavailable,
    ImagePullFailed,
    SandboxStartFailed,
    SettingsError,
)
from tests.support import fake_apptainer

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Apptainer is of Linux")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts the stand-in in the PATH; the file of its calls."""
    program = tmp_path / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" "{fake_apptainer.__file__}" "$@"\n', encoding="utf-8"
    )
    program.chmod(0o755)
    calls = tmp_path / "calls"
    monkeypatch.setenv("APPTAINER_CALLS", str(calls))
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SOME_TOKEN", "a-token-of-this-machine")
    return calls


@pytest.fixture(autouse=True)
def nothing_left():
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


def told(calls: Path) -> list[list[str]]:
    return [json.loads(line) for line in calls.read_text("utf-8").splitlines()]


def test_an_image_that_is_missing(calls: Path, tmp_path: Path):
    with pytest.raises(
        ImagePullFailed, match=r"docker://an/image:missing` ended with .* 255"
    ) as error:
        ApptainerWorkspace(server_image="an/image:missing", cache_dir=tmp_path / "cache")
    assert "manifest unknown" in error.value.log
    assert not list((tmp_path / "cache").iterdir())


def test_a_pull_without_end(calls: Path, tmp_path: Path):
    began = time.monotonic()
    with pytest.raises(ImagePullFailed, match="was not done within 1 s"):
        ApptainerWorkspace(
            server_image="an/image:endless", cache_dir=tmp_path / "cache", pull_timeout=1
        )
    assert time.monotonic() - began < 6
    assert not list((tmp_path / "cache").iterdir())


def test_one_that_ends_at_once(calls: Path, tmp_path: Path):
    with pytest.raises(
        SandboxStartFailed, match=r"exit code 255 before .* use_fakeroot=False"
    ) as error:
        ApptainerWorkspace(
            server_image="an/image:broken",
            cache_dir=tmp_path / "cache",
            platform="linux/arm64",
            mount_dir="/some/folder",
            extra_bind_mounts=["/a:/b:ro"],
            enable_gpu=True,
            enable_docker_compat=False,
            disable_mount_locations=["hostfs"],
        )
    assert "no fakeroot" in error.value.log
    pull, run = told(calls)
    file = tmp_path / "cache" / "an_image_broken_arm64.sif"
    assert file.exists(), "the image was had"
    assert pull == ["pull", "--arch", "arm64", pull[3], "docker://an/image:broken"]
    port = run[-1]
    assert int(port) > 1024
    assert run[1:] == [
        "--fakeroot", "--nv", "--no-mount", "hostfs", "--bind", "/some/folder:/workspace",
        "--bind", "/a:/b:ro", str(file), "--host", "127.0.0.1", "--port", port,
    ]  # fmt: skip


def test_one_that_never_answers(calls: Path, tmp_path: Path):
    file = tmp_path / "silent.sif"
    file.touch()
    with pytest.raises(SandboxStartFailed, match="was not ready within 1 s"):
        ApptainerWorkspace(sif_file=file, health_check_timeout=1)
    (run,) = told(calls)
    assert "--compat" in run


def test_without_apptainer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EngineUnavailable, match="no program `apptainer`"):
        ApptainerWorkspace(server_image="an/image:1")


@pytest.mark.parametrize("given", [{}, {"server_image": "a", "sif_file": "b.sif"}])
def test_one_image(given: dict[str, str]):
    with pytest.raises(SettingsError, match="one of server_image and sif_file"):
        ApptainerWorkspace(**given)
