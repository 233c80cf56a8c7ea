"""Makes the agent-server image ready: the published one, or one built on this machine.

The published image is used where it can be pulled. Else one is built from a base image with
Python, and where no registry gives that either, from a Debian that `mmdebstrap` makes.

With `--full`, the image with VS Code, desktop and browser is built too, as nobody's default.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pytest_agent_sandbox.containers.building import (
    DEFAULT_BASE_IMAGE,
    add_name,
    build_agent_server,
    make_default,
    target_name,
)
from pytest_agent_sandbox.containers.engine import Engine
from pytest_agent_sandbox.containers.images import (
    FULL_TARGET,
    MINIMAL_TARGET,
    Image,
    choose_image,
    describe,
    ensure_image,
    find_local,
)
from pytest_agent_sandbox.containers.progress import Progress, megabytes, show_progress
from pytest_agent_sandbox.errors import ImageNotFound, ImagePullFailed, SandboxError

DEBIAN_IMAGE = "pytest-agent-sandbox/debian-python:trixie"
DEBIAN_PACKAGES = ("ca-certificates", "python3", "python3-venv")
BUILDER_PACKAGES = ("mmdebstrap", "debian-archive-keyring")


def main() -> int:
    """Makes the image ready, and says which it is."""
    try:
        with Engine.connect() as engine, show_progress(sys.stderr) as progress:
            made = [prepare(engine, progress)]
            if "--full" in sys.argv[1:]:
                made.append(prepare_full(engine, progress))
    except SandboxError as error:
        notes = "\n".join(getattr(error, "__notes__", ()))
        print(f"setup: {error}\n{notes}".rstrip(), file=sys.stderr)
        return 1
    for image in made:
        print(f"setup: image {describe(image)}, {megabytes(image.size)}")
    return 0


def prepare(engine: Engine, progress: Progress) -> Image:
    """The image that the tests use by default, made ready."""
    try:
        return ensure_image(engine, choose_image(engine, None), progress=progress)
    except (ImageNotFound, ImagePullFailed) as error:
        progress.note(f"{error}\nBuilding an image instead; that takes a few minutes, once.")
    base_image = find_base(engine, progress)
    image = build_agent_server(engine, base_image=base_image, progress=progress)
    return make_default(engine, image)


def prepare_full(engine: Engine, progress: Progress) -> Image:
    """The image that tests of VS Code, desktop and browser use, made ready."""
    base_image = find_base(engine, progress)
    for target in (MINIMAL_TARGET, FULL_TARGET):
        image = build_agent_server(engine, base_image=base_image, target=target, progress=progress)
        image = add_name(engine, image, target_name(image))
    return image


def find_base(engine: Engine, progress: Progress) -> str:
    """A base image with Python: pulled, or made of Debian packages."""
    try:
        return ensure_image(engine, DEFAULT_BASE_IMAGE, progress=progress).reference
    except (ImageNotFound, ImagePullFailed) as error:
        if find_local(engine, DEBIAN_IMAGE) is not None:
            return DEBIAN_IMAGE
        if not may_install():
            raise
        progress.note(f"{error}\nMaking a base image of Debian packages with mmdebstrap instead.")
    with tempfile.TemporaryDirectory(prefix="pytest-agent-sandbox-") as folder:
        make_debian(engine, Path(folder) / "base.tar", progress)
    return DEBIAN_IMAGE


def make_debian(engine: Engine, archive: Path, progress: Progress) -> None:
    """Makes `DEBIAN_IMAGE`: a minimal Debian 13, which has Python 3.13."""
    if shutil.which("mmdebstrap") is None:
        progress.update("installing mmdebstrap")
        run("apt-get", "-qq", "update")
        run(
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "-qq",
            "install",
            "-y",
            "--no-install-recommends",
            *BUILDER_PACKAGES,
        )
    progress.update("making a base image of Debian packages")
    packages = f"--include={','.join(DEBIAN_PACKAGES)}"
    run("mmdebstrap", "--quiet", "--variant=minbase", packages, "trixie", str(archive))
    repository, _, tag = DEBIAN_IMAGE.partition(":")
    with engine.calling(f"import {DEBIAN_IMAGE}"):
        engine.client.api.import_image(str(archive), repository=repository, tag=tag)


def may_install() -> bool:
    """Whether this is a Debian or Ubuntu where this process may act as root."""
    if shutil.which("apt-get") is None or (os.geteuid() != 0 and shutil.which("sudo") is None):
        return False
    return subprocess.run([*as_root(), "true"], check=False, capture_output=True).returncode == 0


def as_root() -> tuple[str, ...]:
    """What to put before a command for root to run it; nothing for root itself."""
    return () if os.geteuid() == 0 else ("sudo", "-n")


def run(*command: str) -> None:
    """Runs a command as root; its output shows only where it fails."""
    done = subprocess.run(
        [*as_root(), *command], capture_output=True, text=True, check=False, timeout=900
    )
    if done.returncode:
        raise SandboxError(f"`{' '.join(command)}` failed:\n{done.stderr.strip()[-3000:]}")


if __name__ == "__main__":
    sys.exit(main())
