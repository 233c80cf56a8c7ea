"""`agent-sandbox build`: makes an agent-server image on this machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from pytest_agent_sandbox.cli.json_output import print_json
from pytest_agent_sandbox.containers import building, images
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_names import DEFAULT_AGENT_SERVER_VERSION, VERSION_LABEL
from pytest_agent_sandbox.containers.progress import megabytes, show_progress
from pytest_agent_sandbox.containers.pushing import push_image


def build(
    *,
    base_image: str | None,
    version: str,
    target: str,
    agents: Sequence[str],
    platform: str | None,
    ca_bundle: str | None,
    tag: str | None,
    push: str | None = None,
    as_json: bool = False,
) -> None:
    """Build an agent-server image, and print what became of it.

    Args:
        base_image: What it is built from; None for the default one.
        version: Of the agent server.
        target: How much is in it.
        agents: Coding agents that are in it.
        platform: Such as `linux/arm64`; None for the engine's own.
        ca_bundle: A file of CA certificates to trust; None for those of the environment.
        tag: Its name; None makes it the default image of tests on this engine.
        push: A registry that it is pushed to.
        as_json: Print it for programs.

    Raises:
        SandboxError: There is no engine, or the build failed.
    """
    started = time.monotonic()
    with ContainerEngine.connect() as engine:
        with show_progress(sys.stderr) as progress:
            image = building.build_agent_server(
                engine,
                base_image=base_image,
                version=version,
                target=target,
                agents=agents,
                platform=platform,
                ca_bundle=ca_bundle,
                progress=progress,
            )
        if tag:
            image = building.add_name(engine, image, tag)
            use = f"Use it with --sandbox-image={image.reference}."
        else:
            image = building.make_default(engine, image)
            use = (
                f"Tests on {engine.description} use it unless told otherwise."
                if image.labels[VERSION_LABEL] == DEFAULT_AGENT_SERVER_VERSION
                else f"Use it with --sandbox-image={image.reference}."
            )
        pushed = None
        if push is not None:
            with show_progress(sys.stderr) as progress:
                pushed = push_image(engine, image, push, progress)
            use = f"Use it in a cluster with --sandbox-image={pushed}."
    seconds = time.monotonic() - started
    if as_json:
        print_json(
            {
                "image": image.reference,
                "id": image.id,
                "platform": image.platform,
                "version": image.labels[VERSION_LABEL],
                "size": image.size,
                "pushed": pushed,
                "seconds": round(seconds, 1),
            }
        )
        return
    print(f"{images.describe(image)}: {megabytes(image.size)}, ready in {seconds:.1f} s. {use}")
