"""The pull of an image: the engine's stream of progress, and its many ways to say no."""

from __future__ import annotations

import warnings
from typing import Any

import requests
from docker import auth
from docker.errors import DockerException
from docker.utils import parse_repository_tag

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.engine_events import engine_events
from pytest_agent_sandbox.containers.progress import Progress
from pytest_agent_sandbox.errors import (
    ImageNotFound,
    ImagePullFailed,
    SandboxError,
    SettingsError,
)

#: Seconds without a word from the engine after which a pull is given up.
STALL_TIMEOUT = 120.0

# Only the words of engines and registries tell one cause from another: phrases in lower case, the
# error that they mean, and its message. The first row with a phrase that occurs counts.
_ANSWERS: tuple[tuple[tuple[str, ...], type[SandboxError], str], ...] = (
    (
        ("invalid reference format", "must be lowercase", "invalid tag format"),
        SettingsError,
        "{reference!r} is no image reference: {said}.",
    ),
    (
        ("no matching manifest", "does not match the specified platform"),
        ImageNotFound,
        "The image {reference} does not exist for {platform}: its registry has it for {had}. "
        "Choose another image, or another platform (--sandbox-platform).",
    ),
    (
        (
            "connection refused",
            "connection reset",
            "no such host",
            "i/o timeout",
            "timeout exceeded",
            "tls handshake",
            "deadline exceeded",
            "network is unreachable",
            "no route to host",
            "request canceled",
            "name resolution",
            "server misbehaving",
            "proxyconnect",
            "x509:",
            ": eof",
            "http response to https client",
        ),
        ImagePullFailed,
        "The registry {registry} is out of reach, so {reference} cannot be pulled: {said}. Check "
        "the engine's network, DNS, proxy and CA certificates.",
    ),
    (
        ("manifest unknown", "name unknown", "not found", "repository does not exist"),
        ImageNotFound,
        "The image {reference} does not exist: it is not on the engine, and {registry} says: "
        "{said}.",
    ),
    (
        ("toomanyrequests", "too many requests", "rate limit"),
        ImagePullFailed,
        "{registry} limits how often one may pull: {said}. Log in (`docker login {registry}`), "
        "or wait.",
    ),
    (
        ("denied", "unauthorized", "authentication required", "no basic auth", "forbidden"),
        ImagePullFailed,
        "Access denied by {registry} to {reference}: {said}. Log in (`docker login {registry}`); "
        "some registries say this of images that do not exist, too.",
    ),
    ((), ImagePullFailed, "Pulling {reference} failed: {said}."),
)


def pull_image(
    engine: ContainerEngine,
    reference: str,
    platform: str,
    progress: Progress,
    *,
    way_out: str = "",
    stall_timeout: float = STALL_TIMEOUT,
) -> None:
    """Pull an image, with the credentials that the docker command line would use.

    Args:
        engine: The engine that pulls.
        reference: The image's name with its tag or digest.
        platform: The platform to pull.
        progress: Told how it is getting on.
        way_out: What else the user can do where the registry gives nothing.
        stall_timeout: Seconds without a word from the engine after which the pull is given up.

    Raises:
        ImageNotFound: The registry does not have it, or not for the platform.
        ImagePullFailed: The registry refused or is out of reach, or the pull stalled.
        SettingsError: The reference is malformed.
        EngineUnavailable: The engine did not answer.
    """
    registry = registry_of(reference)
    repository, tag = parse_repository_tag(reference)
    layers = _Layers(f"pulling {reference}")
    progress.update(f"asking {registry} for {reference}")
    with engine.calling(f"pull the image {reference}"):
        try:
            with engine_events(
                engine,
                "/images/create",
                {"fromImage": repository, "tag": tag, "platform": platform},
                headers=credentials(engine, registry),
                stall_timeout=stall_timeout,
            ) as events:
                for event in events:
                    if "error" in event:
                        said = str(event["error"])
                        raise _failure(engine, reference, platform, said, way_out)
                    layers.report(event, progress)
        except requests.Timeout as error:
            raise ImagePullFailed(
                f"Pulling {reference} stalled: nothing came for {stall_timeout:.0f} s. Check the "
                f"network between the engine and {registry}. {way_out}".rstrip()
            ) from error


def credentials(engine: ContainerEngine, registry: str) -> dict[str, str | bytes]:
    """Return the header with docker's credentials for a registry, if its configuration has any."""
    try:
        with warnings.catch_warnings():
            # Where a credential helper is not installed, the SDK warns and then raises as well.
            warnings.simplefilter("ignore", UserWarning)
            header = auth.get_config_header(engine.client.api, registry)
    except DockerException as error:
        raise ImagePullFailed(
            f"The credentials for {registry} cannot be read: {error}. Check "
            "`credsStore` and `credHelpers` in the docker configuration (~/.docker/config.json)."
        ) from error
    return {"X-Registry-Auth": header} if header else {}


class _Layers:
    """The layers of one pull, added up."""

    def __init__(self, activity: str) -> None:
        self._activity = activity
        self._fetched: dict[str, tuple[int, int]] = {}
        self._unpacked: dict[str, int] = {}

    def report(self, event: dict[str, Any], progress: Progress) -> None:
        layer = str(event.get("id") or "")
        detail = event.get("progressDetail") or {}
        current, total = int(detail.get("current") or 0), int(detail.get("total") or 0)
        match event.get("status"):
            case "Downloading" if total:
                self._fetched[layer] = (current, total)
            case "Download complete" if layer in self._fetched:
                total = self._fetched[layer][1]
                self._fetched[layer] = (total, total)
            case "Extracting" if total:
                self._unpacked[layer] = current
        fetched = sum(done for done, _ in self._fetched.values())
        size = sum(whole for _, whole in self._fetched.values())
        if fetched < size or not size:
            progress.update(self._activity, fetched, size)
        else:
            progress.update(f"{self._activity}, unpacking", sum(self._unpacked.values()), size)


def _failure(
    engine: ContainerEngine, reference: str, platform: str, said: str, way_out: str
) -> SandboxError:
    words = said.lower()
    _, kind, message = next(
        row for row in _ANSWERS if not row[0] or any(phrase in words for phrase in row[0])
    )
    had = _platforms(engine, reference) if "{had}" in message else ""
    text = message.format(
        reference=reference,
        platform=platform,
        had=had,
        registry=registry_of(reference),
        said=said.rstrip("."),
    )
    return kind(f"{text} {way_out}".rstrip())


def _platforms(engine: ContainerEngine, reference: str) -> str:
    """Return the platforms that the registry has the image for, for a message."""
    try:
        found = engine.client.images.get_registry_data(reference).attrs.get("Platforms") or []
    except (DockerException, requests.RequestException):  # the message can do without
        found = []
    names = [f"{platform.get('os', '?')}/{platform.get('architecture', '?')}" for platform in found]
    return ", ".join(sorted(set(names))) or "other platforms only"


def registry_of(reference: str) -> str:
    """Return the registry of an image.

    Raises:
        SettingsError: The reference is malformed.
    """
    try:
        return str(auth.resolve_repository_name(parse_repository_tag(reference)[0])[0])
    except DockerException as error:
        raise SettingsError(f"{reference!r} is no image reference: {error}.") from error
