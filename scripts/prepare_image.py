"""Makes the agent-server image ready: the published one, or one built on this machine.

With `--full`, the images with VS Code, desktop and browser and with coding agents are built too,
as nobody's default.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from pytest_agent_sandbox.containers.base_images import DEBIAN_BUILDER
from pytest_agent_sandbox.containers.building import (
    add_name,
    build_agent_server,
    make_default,
    target_name,
)
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_names import FULL_TARGET, MINIMAL_TARGET
from pytest_agent_sandbox.containers.images import (
    Image,
    build_command,
    choose_image,
    describe,
    ensure_image,
)
from pytest_agent_sandbox.containers.progress import Progress, megabytes, show_progress
from pytest_agent_sandbox.errors import ImageNotFound, ImagePullFailed, SandboxError

BUILDER_PACKAGES = (DEBIAN_BUILDER, "debian-archive-keyring")


def main() -> int:
    """Make the image ready, and say which it is."""
    try:
        with ContainerEngine.connect() as engine, show_progress(sys.stderr) as progress:
            made = [prepare(engine, progress)]
            if "--full" in sys.argv[1:]:
                made.append(prepare_full(engine, progress))
                made.append(prepare_coding_agents(engine, progress))
    except SandboxError as error:
        notes = "\n".join(getattr(error, "__notes__", ()))
        print(f"setup: {error}\n{notes}".rstrip(), file=sys.stderr)
        return 1
    for image in made:
        print(f"setup: image {describe(image)}, {megabytes(image.size)}")
    return 0


def prepare(engine: ContainerEngine, progress: Progress) -> Image:
    """Make ready the image that the tests use by default.

    One that was built here is built again where this checkout makes another of it.
    """
    reference = choose_image(engine, None)
    if not build_command(reference):
        try:
            return ensure_image(engine, reference, progress=progress)
        except (ImageNotFound, ImagePullFailed) as error:
            progress.note(f"{error}\nBuilding an image instead; that takes a few minutes, once.")
    return make_default(engine, build(engine, MINIMAL_TARGET, progress))


def prepare_full(engine: ContainerEngine, progress: Progress) -> Image:
    """Make ready the image that tests of VS Code, desktop and browser use."""
    for target in (MINIMAL_TARGET, FULL_TARGET):
        image = build(engine, target, progress)
        image = add_name(engine, image, target_name(image))
    return image


def prepare_coding_agents(engine: ContainerEngine, progress: Progress) -> Image:
    """Make ready the image that tests of Claude Code and Codex use."""
    return build_agent_server(engine, agents=["claude-code", "codex"], progress=progress)


def build(engine: ContainerEngine, target: str, progress: Progress) -> Image:
    """Build an image of the target; where its base image cannot be pulled, with what makes one."""
    try:
        return build_agent_server(engine, target=target, progress=progress)
    except (ImageNotFound, ImagePullFailed):
        if shutil.which(DEBIAN_BUILDER) is not None or not may_install():
            raise
    progress.update(f"installing {DEBIAN_BUILDER}")
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
    return build_agent_server(engine, target=target, progress=progress)


def may_install() -> bool:
    """Whether this is a Debian or Ubuntu where this process may act as root."""
    if shutil.which("apt-get") is None or (os.geteuid() != 0 and shutil.which("sudo") is None):
        return False
    return subprocess.run([*as_root(), "true"], check=False, capture_output=True).returncode == 0


def as_root() -> tuple[str, ...]:
    """Return what to put before a command for root to run it; nothing for root itself."""
    return () if os.geteuid() == 0 else ("sudo", "-n")


def run(*command: str) -> None:
    """Run a command as root; its output shows only where it fails."""
    done = subprocess.run(
        [*as_root(), *command], capture_output=True, text=True, check=False, timeout=900
    )
    if done.returncode:
        raise SandboxError(f"`{' '.join(command)}` failed:\n{done.stderr.strip()[-3000:]}")


if __name__ == "__main__":
    sys.exit(main())
