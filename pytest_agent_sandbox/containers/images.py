"""The images of agent servers: which one to use, and the engine's copy of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import requests
from docker.errors import APIError, NotFound

from pytest_agent_sandbox.containers.engine import ContainerEngine, explanation
from pytest_agent_sandbox.containers.image_names import (
    BUILT_REPOSITORY,
    DEFAULT_AGENT_SERVER_VERSION,
    DEFAULT_IMAGE,
    FULL_TARGET,
    MINIMAL_TARGET,
    VERSION_LABEL,
)
from pytest_agent_sandbox.containers.machine_lock import machine_lock
from pytest_agent_sandbox.containers.progress import Progress, Silence
from pytest_agent_sandbox.containers.pulling import pull_image
from pytest_agent_sandbox.errors import (
    ImageNotFound,
    ImagePullFailed,
    SandboxError,
    SettingsError,
)
from pytest_agent_sandbox.host import seldom

Pull = Literal["missing", "always", "never"]

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armhf": "arm/v7"}
#: The command that builds an agent-server image on this machine.
BUILD_COMMAND = "agent-sandbox build"
_BUILD_IT = f"Or build the image on this machine: `{BUILD_COMMAND}`."

# The variant of an architecture that is meant where none is named.
_USUAL_VARIANTS = {"arm64": "v8", "arm": "v7"}
_VERSION_IN_TAG = re.compile(r"(?:^|-|v)(\d+\.\d+\.\d+)(?:-|$)")


@dataclass(frozen=True)
class Image:
    """An image that the engine has.

    Attributes:
        reference: The name it was asked for by, complete with its tag.
        id: The engine's own name for it, such as ``sha256:ab12…``.
        digest: Its digest at the registry it came from; None where it was never there.
        platform: What it runs on, such as ``linux/arm64``.
        labels: Its labels.
        size: Bytes, unpacked.
        user: The user of its containers; empty for root.
        entrypoint: The words that its containers' command begins with.
        environment: The variables of its containers.
    """

    reference: str
    id: str
    digest: str | None
    platform: str
    labels: Mapping[str, str] = field(default_factory=dict, repr=False)
    size: int = 0
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_attributes(cls, reference: str, attributes: Mapping[str, Any]) -> Self:
        """Read what the engine's inspection shows."""
        digests = [str(name) for name in attributes.get("RepoDigests") or []]
        repository = _repository(reference)
        # One image may have come from several registries; the one asked for counts.
        digests.sort(key=lambda name: name.partition("@")[0] != repository)
        config = attributes.get("Config") or {}
        return cls(
            reference=reference,
            id=str(attributes["Id"]),
            digest=digests[0].partition("@")[2] if digests else None,
            platform=normal_platform(
                "/".join(
                    str(attributes.get(part) or "") for part in ("Os", "Architecture", "Variant")
                ).strip("/")
            ),
            labels=dict(config.get("Labels") or {}),
            user=str(config.get("User") or ""),
            entrypoint=tuple(map(str, config.get("Entrypoint") or ())),
            environment={
                name: value
                for name, _, value in (str(each).partition("=") for each in config.get("Env") or ())
            },
            size=int(attributes.get("Size") or 0),
        )


def choose_image(
    engine: ContainerEngine, requested: str | None, *, platform: str | None = None
) -> str:
    """Return the image to use: the requested one, else what was built here, else the published one.

    Args:
        engine: The engine that will run it.
        requested: What the user asked for.
        platform: The platform that is wanted; None for the engine's own.
    """
    if requested is not None:
        return requested
    built = find_built(engine, platform=platform)
    return DEFAULT_IMAGE if built is None else built.reference


def find_built(
    engine: ContainerEngine,
    version: str = DEFAULT_AGENT_SERVER_VERSION,
    *,
    target: str | None = None,
    platform: str | None = None,
) -> Image | None:
    """Return the image of the last `agent-sandbox build` of a version; None where there is none.

    Images built for one `DockerDevWorkspace` do not count: they must not become everybody's.

    Args:
        engine: The engine that may have it.
        version: The agent server's version.
        target: The build's target; None for the last build of any.
        platform: The platform that is wanted; None for the engine's own.
    """
    image = find_local(engine, f"{BUILT_REPOSITORY}:{version}" + (f"-{target}" if target else ""))
    wanted = normal_platform(platform or engine.platform)
    return image if image is not None and image.platform == wanted else None


def find_local(engine: ContainerEngine, reference: str) -> Image | None:
    """Return the image as the engine has it; None where it has none of that name. One engine call.

    Raises:
        SettingsError: The reference is malformed.
        EngineUnavailable: The engine did not answer.
    """
    complete = _complete(reference)
    with engine.calling(f"look for the image {reference}"):
        try:
            # As it was given: it may be an id, or the beginning of one.
            attributes = engine.client.images.get(reference).attrs
        except NotFound:
            return None
        except APIError as error:
            if error.status_code == requests.codes.bad_request:
                raise SettingsError(
                    f"{reference!r} is no image reference: {explanation(error)}."
                ) from None
            raise
    is_id = attributes["Id"].removeprefix("sha256:").startswith(reference)
    return Image.from_attributes(reference if is_id else complete, attributes)


def ensure_image(
    engine: ContainerEngine,
    reference: str,
    *,
    platform: str | None = None,
    pull: Pull = "missing",
    progress: Progress | None = None,
) -> Image:
    """Make sure that the engine has an image of the wanted platform.

    An image that is there costs one engine call. Of several processes on this machine that miss
    the same image, one pulls it and the others wait for that.

    Args:
        engine: The engine that will run it.
        reference: The image's name; without a tag it is `latest`.
        platform: Such as ``linux/arm64``; None for the engine's own.
        pull: ``missing`` asks the registry only for what is not there, ``always`` in any case,
            ``never`` not at all. For the images that `agent-sandbox build` makes no registry is
            asked.
        progress: Told how the pull is getting on.

    Raises:
        ImageNotFound: It is neither here nor at its registry, or lacks the platform.
        ImagePullFailed: The registry refused, or is out of reach.
        SettingsError: The reference is malformed.
        EngineUnavailable: The engine did not answer.
    """
    wanted = normal_platform(platform or engine.platform)
    progress = progress or Silence()
    command = build_command(reference)
    local = None if pull == "always" and not command else find_local(engine, reference)
    if local is not None and local.platform == wanted:
        return local
    reference = _complete(reference)
    if command:
        here = _what_is_here(engine, reference, wanted, local)
        if wanted != engine.platform:
            command += f" --platform {wanted}"
        raise ImageNotFound(
            f"{here}. No registry has it: `{command}` builds it on this machine, once."
        )
    if pull == "never" or _is_id(reference):
        here = _what_is_here(engine, reference, wanted, local)
        raise ImageNotFound(f"{here}, {_why_not_pulled(reference, wanted, pull)}")
    with machine_lock(engine, f"the image {reference} ({wanted})", progress):
        if pull == "missing":
            local = find_local(engine, reference)  # another process may just have pulled it
            if local is not None and local.platform == wanted:
                return local
        published = _repository(reference) == _repository(DEFAULT_IMAGE)
        try:
            pull_image(engine, reference, wanted, progress, way_out=_BUILD_IT if published else "")
        except (ImageNotFound, ImagePullFailed) as error:
            if local is None:
                raise
            here = _what_is_here(engine, reference, wanted, local)
            raise ImageNotFound(f"{here}. It was tried to pull that: {error}") from error
    image = find_local(engine, reference)
    if image is None:
        raise SandboxError(f"{engine.description} pulled {reference}, yet does not have it.")
    if image.platform != wanted:
        raise ImageNotFound(
            f"The image {reference} does not exist for {wanted}: its registry has it for "
            f"{image.platform}. Choose another image, or the platform {image.platform} "
            "(--sandbox-platform) where the engine can emulate it."
        )
    return image


def build_command(reference: str) -> str:
    """Return the command that makes an image of this name; empty where there is none."""
    if _repository(reference) != BUILT_REPOSITORY or "@" in reference:
        return ""
    version, _, target = reference.removeprefix(f"{BUILT_REPOSITORY}:").partition("-")
    command = BUILD_COMMAND
    if target and not target.startswith(MINIMAL_TARGET):
        command += f" --target {FULL_TARGET}"
    if re.fullmatch(r"\d+(\.\d+)*", version) and version != DEFAULT_AGENT_SERVER_VERSION:
        command += f" --version {version}"
    return command


def remove_image(engine: ContainerEngine, image: Image) -> None:
    """Remove an image's name from the engine, and its layers where nothing else uses them."""
    with engine.calling(f"remove the image {image.reference}"):
        try:
            engine.client.images.remove(image.reference)
        except NotFound:
            return


def describe(image: Image) -> str:
    """Describe an image in one line: name, agent-server version where known, digest or id."""
    version = server_version(image)
    parts = [f"agent server {version}"] if version else []
    kind, _, value = (image.digest or image.id).rpartition(":")
    parts.append(f"{'digest' if image.digest else 'id'} {kind}:{value[:12]}")
    return f"{image.reference} ({', '.join(parts)})"


def server_version(image: Image) -> str:
    """Return an image's agent-server version, by its label or its tag; empty if not known."""
    return image.labels.get(VERSION_LABEL) or _version_in(image.reference)


def normal_platform(platform: str) -> str:
    """Return the one name by which a platform is compared: ``linux/arm64`` for all its names."""
    system, _, rest = platform.strip().lower().partition("/")
    architecture, _, variant = rest.partition("/")
    architecture, _, implied = _ARCHITECTURES.get(architecture, architecture).partition("/")
    variant = variant or implied
    if variant == _USUAL_VARIANTS.get(architecture):
        variant = ""
    return "/".join(part for part in (system, architecture, variant) if part)


def _why_not_pulled(reference: str, platform: str, pull: Pull) -> str:
    """Say why an image is not pulled, and what to do."""
    if _is_id(reference):
        return "and it cannot be pulled: it is given by its id. Name it as its registry does."
    assert pull == "never"
    return (
        "and --sandbox-pull=never forbids to pull it. Pull it before the run, "
        f"`docker pull --platform {platform} {reference}`, or leave the setting out."
    )


def _what_is_here(engine: ContainerEngine, reference: str, wanted: str, image: Image | None) -> str:
    if image is None:
        return f"The image {reference} is not on {engine.description}"
    return (
        f"The image {reference} is on {engine.description} for {image.platform} only, "
        f"not for {wanted}"
    )


def _complete(reference: str) -> str:
    """Return the reference with its tag spelled out: a pull without one would fetch every tag."""
    if not reference.strip():
        raise SettingsError("The image's name is empty.")
    last = reference.rpartition("/")[2]
    if ":" in last or "@" in last or _is_id(reference):
        return reference
    return f"{reference}:latest"


def _is_id(reference: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}|sha256:[0-9a-f]+", reference) is not None


def _repository(reference: str) -> str:
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]


def _version_in(reference: str) -> str:
    tag = reference.partition("@")[0].rpartition("/")[2].partition(":")[2]
    found = _VERSION_IN_TAG.search(tag)
    return found.group(1) if found else ""


def try_to_remove_image(engine: ContainerEngine, image: Image) -> None:
    """Remove an image, unless something else uses it; that is no reason to fail."""
    try:
        remove_image(engine, image)
    except SandboxError as error:
        seldom.logger(__name__).warning("the image %s stays: %s", image.reference, error)
