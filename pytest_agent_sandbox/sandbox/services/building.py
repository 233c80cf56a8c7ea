"""The image of a service that is built from a Dockerfile."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import Image, ensure_image
from pytest_agent_sandbox.containers.progress import Progress
from pytest_agent_sandbox.errors import ImageBuildFailed, SettingsError
from pytest_agent_sandbox.sandbox.services.service import Service

#: The repository of images that are built for services; they stay, so that the next build is quick.
REPOSITORY = "pytest-agent-sandbox/service"
# Lines of output that a failure shows.
_TAIL = 30
_KEYS = ("context", "dockerfile", "args", "target")


def build_image(engine: ContainerEngine, name: str, spec: Service, progress: Progress) -> Image:
    """Build the image of a service; what has not changed since the last time is not built again.

    Args:
        engine: The engine that builds.
        name: The service's name.
        spec: What it is to be.
        progress: Told how it is getting on.

    Raises:
        SettingsError: There is no Dockerfile.
        ImageBuildFailed: A step failed; the note holds the last lines of output.
        EngineUnavailable: The engine did not answer.
    """
    build = _as_mapping(name, spec.build)
    folder = Path(os.path.expandvars(str(build["context"]))).expanduser().resolve()
    dockerfile = str(build.get("dockerfile") or "Dockerfile")
    if not (folder / dockerfile).is_file():
        raise SettingsError(f"Service {name}: build: there is no {dockerfile} in {folder}")
    reference = spec.image or f"{REPOSITORY}-{name}:latest"
    tail: deque[str] = deque(maxlen=_TAIL)
    with engine.calling(f"build the image of service {name}"):
        for event in engine.client.api.build(
            path=str(folder),
            dockerfile=dockerfile,
            tag=reference,
            buildargs={key: str(value) for key, value in (build.get("args") or {}).items()},
            target=build.get("target"),
            platform=spec.platform,
            rm=True,
            forcerm=True,
            decode=True,
        ):
            printed = str(event.get("stream") or "").splitlines()
            tail.extend(printed)
            progress.update(f"building the image of service {name}")
            for line in printed:
                progress.output(line)
            if "error" in event:
                raise ImageBuildFailed(
                    f"The image of service {name} was not built from {folder}: {event['error']}",
                    log="\n".join(line for line in tail if line.strip()),
                )
    return ensure_image(engine, reference, platform=spec.platform, pull="never")


def _as_mapping(name: str, build: str | Path | Mapping[str, Any] | None) -> Mapping[str, Any]:
    if not isinstance(build, Mapping):
        return {"context": build}
    unknown = sorted(set(build) - set(_KEYS))
    if unknown or "context" not in build:
        problem = f"{unknown[0]!r} is not supported" if unknown else "there is no context"
        raise SettingsError(f"Service {name}: build: {problem}; it takes {', '.join(_KEYS)}")
    return build
