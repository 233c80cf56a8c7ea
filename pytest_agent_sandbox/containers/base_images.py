"""The image that builds begin from: named, pulled, or made of Debian packages on this machine."""

from __future__ import annotations

import platform as machine
import shutil
import subprocess
import tempfile
from pathlib import Path

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_names import DEFAULT_BASE_IMAGE
from pytest_agent_sandbox.containers.images import (
    Image,
    Pull,
    ensure_image,
    find_local,
    normal_platform,
)
from pytest_agent_sandbox.containers.machine_lock import machine_lock
from pytest_agent_sandbox.containers.progress import Progress
from pytest_agent_sandbox.errors import ImageBuildFailed, ImageNotFound, ImagePullFailed

#: Used for `DEFAULT_BASE_IMAGE` where no registry gives it: a minimal Debian 13, with Python 3.13.
DEBIAN_IMAGE = "pytest-agent-sandbox/debian-python:trixie"
#: The program that makes `DEBIAN_IMAGE`, a package of Debian and Ubuntu.
DEBIAN_BUILDER = "mmdebstrap"

_DEBIAN_PACKAGES = ("ca-certificates", "python3", "python3-venv")
# Seconds for some 60 MB of packages, over a slow line.
_DEBIAN_TIMEOUT = 900.0
_SHOWN_OUTPUT = 3000


def ensure_base_image(
    engine: ContainerEngine,
    requested: str | None,
    *,
    platform: str | None,
    pull: Pull,
    progress: Progress,
) -> Image:
    """Make sure that the engine has the image to build from.

    Args:
        engine: The engine that builds.
        requested: Name of the image; None for `DEFAULT_BASE_IMAGE`, or for `DEBIAN_IMAGE` where
            that is here, or where the default can be pulled from nowhere and this machine can
            make it.
        platform: Such as ``linux/arm64``; None for the engine's own.
        pull: When to pull it.
        progress: Told how it is getting on.

    Raises:
        ImageNotFound: It is neither here nor at its registry, or lacks the platform.
        ImagePullFailed: Its registry refused, or is out of reach.
        ImageBuildFailed: `DEBIAN_IMAGE` could not be made; the note holds the end of the output.
    """
    wanted = normal_platform(platform or engine.platform)
    if requested is None and pull != "always":
        for reference in (DEFAULT_BASE_IMAGE, DEBIAN_IMAGE):
            local = find_local(engine, reference)
            if local is not None and local.platform == wanted:
                return local
    if requested != DEBIAN_IMAGE:
        try:
            return ensure_image(
                engine,
                requested or DEFAULT_BASE_IMAGE,
                platform=platform,
                pull=pull,
                progress=progress,
            )
        except (ImageNotFound, ImagePullFailed) as error:
            if requested is not None:
                raise
            if hindrance := _hindrance(wanted):
                raise type(error)(
                    f"{error} Or give an image with Python >= 3.12 that the engine has: "
                    f"`agent-sandbox build --base-image NAME`. {hindrance}"
                ) from error
            progress.note(f"{error}\nUsing a base image of Debian packages instead.")
    return _ensure_debian(engine, wanted, progress)


def _hindrance(wanted: str) -> str:
    """Return why this machine cannot make `DEBIAN_IMAGE`, and what to do; empty where it can."""
    own = normal_platform(f"linux/{machine.machine()}")
    if machine.system() != "Linux" or own != wanted:
        return f"(A base of Debian packages can be made only on a Linux machine for {wanted}.)"
    if shutil.which(DEBIAN_BUILDER) is None:
        return (
            f"Or install {DEBIAN_BUILDER} (`apt-get install {DEBIAN_BUILDER}`): the base image is "
            "then made of Debian packages."
        )
    return ""


def _ensure_debian(engine: ContainerEngine, wanted: str, progress: Progress) -> Image:
    with machine_lock(engine, f"the image {DEBIAN_IMAGE} ({wanted})", progress):
        image = find_local(engine, DEBIAN_IMAGE)
        if image is not None and image.platform == wanted:
            return image
        if hindrance := _hindrance(wanted):
            raise ImageNotFound(
                f"The base image {DEBIAN_IMAGE} is not on {engine.description}, and cannot be "
                f"made here. {hindrance}"
            )
        progress.update("making a base image of Debian packages")
        with tempfile.TemporaryDirectory(prefix="pytest-agent-sandbox-") as folder:
            archive = Path(folder, "base.tar")
            _run_builder(archive)
            repository, _, tag = DEBIAN_IMAGE.partition(":")
            with engine.calling(f"import {DEBIAN_IMAGE}"):
                engine.client.api.import_image(str(archive), repository=repository, tag=tag)
        return ensure_image(engine, DEBIAN_IMAGE, platform=wanted)


def _run_builder(archive: Path) -> None:
    packages = f"--include={','.join(_DEBIAN_PACKAGES)}"
    command = [DEBIAN_BUILDER, "--variant=minbase", packages, "trixie", str(archive)]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
            timeout=_DEBIAN_TIMEOUT,
        )
        output, reason = done.stderr, f"it exited with {done.returncode}"
    except subprocess.TimeoutExpired as error:
        done, output = None, str(error.stderr or "")
        reason = f"it did not end within {_DEBIAN_TIMEOUT:.0f} s"
    if done is None or done.returncode:
        failure = ImageBuildFailed(
            f"{DEBIAN_BUILDER} could not make a base image: {reason}. It needs Debian's packages, "
            "and root or user namespaces. Or give a base image: `agent-sandbox build --base-image "
            "NAME`."
        )
        failure.add_note(output.strip()[-_SHOWN_OUTPUT:])
        raise failure
