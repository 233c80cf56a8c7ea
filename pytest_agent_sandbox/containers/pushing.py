"""The push of an image to a registry, from which clusters pull it."""

from __future__ import annotations

import time

import requests

from pytest_agent_sandbox.containers.building import add_name
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.engine_events import engine_events
from pytest_agent_sandbox.containers.image_names import VERSION_LABEL
from pytest_agent_sandbox.containers.images import Image
from pytest_agent_sandbox.containers.progress import Progress
from pytest_agent_sandbox.containers.pulling import STALL_TIMEOUT, credentials, registry_of
from pytest_agent_sandbox.errors import ImagePushFailed

# A push goes on where an earlier attempt has ended: layers that are there are not sent again.
_ATTEMPTS, _PAUSE = 3, 2.0
# What a registry says that another attempt does not change.
_FOR_GOOD = ("denied", "unauthorized", "authentication", "no basic auth", "forbidden", "not found")


def push_image(engine: ContainerEngine, image: Image, registry: str, progress: Progress) -> str:
    """Push an image to a registry as `REGISTRY/agent-server:VERSION`; return its name there.

    Args:
        engine: The engine that has it.
        image: The image.
        registry: The registry, with a path where it has any: `registry.example/team`.
        progress: Told how it is getting on.

    Returns:
        The name with the digest, by which every node gets the same image.

    Raises:
        ImagePushFailed: The registry refused, is out of reach, or the push stalled.
        SettingsError: The registry's name is malformed.
    """
    reference = f"{registry.rstrip('/')}/agent-server:{image.labels[VERSION_LABEL]}"
    add_name(engine, image, reference)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            digest = _push(engine, reference, progress)
        except ImagePushFailed as error:
            if attempt == _ATTEMPTS or any(word in str(error).lower() for word in _FOR_GOOD):
                raise
            progress.update(f"pushing {reference}: once more, after an error")
            time.sleep(_PAUSE)
        else:
            return f"{reference}@{digest}"
    raise AssertionError("unreachable")


def _push(engine: ContainerEngine, reference: str, progress: Progress) -> str:
    repository, _, tag = reference.rpartition(":")
    registry = registry_of(reference)
    # The engine wants the header, even if there are no credentials.
    headers = credentials(engine, registry) or {"X-Registry-Auth": "e30="}
    sent: dict[str, tuple[int, int]] = {}
    digest = ""
    with engine.calling(f"push the image {reference}"):
        try:
            with engine_events(
                engine,
                f"/images/{repository}/push",
                {"tag": tag},
                headers=headers,
                stall_timeout=STALL_TIMEOUT,
            ) as events:
                for event in events:
                    if "error" in event:
                        raise ImagePushFailed(
                            f"Pushing {reference} failed: {event['error']}. Check that "
                            f"{registry} can be reached from the engine, and that you may push "
                            f"there (`docker login {registry}`)."
                        )
                    digest = str((event.get("aux") or {}).get("Digest") or digest)
                    detail = event.get("progressDetail") or {}
                    if detail.get("total"):
                        sent[str(event.get("id"))] = (int(detail["current"]), int(detail["total"]))
                        done = sum(min(part) for part in sent.values())
                        whole = sum(total for _, total in sent.values())
                        progress.update(f"pushing {reference}", done, whole)
        except requests.Timeout as error:
            raise ImagePushFailed(
                f"Pushing {reference} stalled: nothing came for {STALL_TIMEOUT:.0f} s. Check the "
                f"network between the engine and {registry}."
            ) from error
    if not digest:
        raise ImagePushFailed(f"Pushing {reference} ended without a digest.")
    return digest
