"""Building an agent-server image from any base image with Python, once per content."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import requests
from docker.errors import DockerException

from pytest_agent_sandbox.containers.base_images import ensure_base_image
from pytest_agent_sandbox.containers.build_run import run_build
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_names import (
    BUILT_REPOSITORY,
    DEFAULT_AGENT_SERVER_VERSION,
    FULL_TARGET,
    LABEL_PREFIX,
    MINIMAL_TARGET,
    TARGET_LABEL,
    VERSION_LABEL,
)
from pytest_agent_sandbox.containers.images import Image, Pull, find_local
from pytest_agent_sandbox.containers.machine_lock import machine_lock
from pytest_agent_sandbox.containers.progress import Progress, Silence
from pytest_agent_sandbox.containers.recipes import (
    Recipe,
    agents_recipe,
    full_recipe,
    server_recipe,
)
from pytest_agent_sandbox.errors import SandboxError, SettingsError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.host_network import HostNetwork

BUILD_LABEL = f"{LABEL_PREFIX}build"
BASE_LABEL = f"{LABEL_PREFIX}base"
INSTALLER_LABEL = f"{LABEL_PREFIX}installer"

# The part of the Dockerfile that keeps credentials out of the image.
_CREDENTIALS_PART = re.compile(r"^# -- with credentials$.*?^# -- end$\n", re.DOTALL | re.MULTILINE)

logger = seldom.logger(__name__)


def build_agent_server(
    engine: ContainerEngine,
    *,
    base_image: str | None = None,
    version: str = DEFAULT_AGENT_SERVER_VERSION,
    target: str = MINIMAL_TARGET,
    agents: Sequence[str] = (),
    platform: str | None = None,
    ca_bundle: str | Path | None = None,
    host_network: HostNetwork | None = None,
    pull: Pull = "missing",
    progress: Progress | None = None,
) -> Image:
    """Build an agent-server image, or find it where the same was built before.

    The image's name holds a hash of all that it is made of: the base image, the package versions,
    the certificates and the build's own files. Credentials for a package index, and proxies, are
    used by the build and are in no layer of the image.

    Args:
        engine: The engine that builds and keeps it.
        base_image: Any image with Python >= 3.12, or with apt-get and such a Python to install;
            None for the usual one: see `ensure_base_image`.
        version: Version of the agent server, as on PyPI.
        target: ``source-minimal``: the agent server and its tools. ``source``: VS Code, a desktop
            and Chromium too, for which the base image has to be a Debian, or made from one.
        agents: Coding agents to install too, such as ``claude-code`` and ``codex``.
        platform: Such as ``linux/arm64``; None for the engine's own.
        ca_bundle: CA certificates to trust besides the usual ones; None for those that the
            environment names (SSL_CERT_FILE, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, PIP_CERT).
        host_network: Package indexes, proxies and certificates; None for those of the environment.
        pull: When to pull the base image.
        progress: Told how it is getting on.

    Raises:
        ImageBuildFailed: A step failed; the note holds the last lines of output.
        ImageNotFound: The base image is neither here nor at its registry.
        ImagePullFailed: The base image's registry refused, or is out of reach.
        SettingsError: The target, an agent or the CA bundle cannot be used.
        EngineUnavailable: The engine did not answer.
    """
    _check_target(target)
    progress = progress or Silence()
    network = host_network or HostNetwork.from_environment(ca_bundle=ca_bundle)
    base = ensure_base_image(engine, base_image, platform=platform, pull=pull, progress=progress)
    recipes = [server_recipe(base, version, network)]
    if target == FULL_TARGET:
        recipes.append(full_recipe(base, version, recipes[0]))
    if agents:
        recipes.append(agents_recipe(recipes[-1], agents))
    image = find_local(engine, recipes[-1].reference)
    if image is not None:
        return image
    image = base
    for recipe in recipes:
        image = _built(engine, recipe, image, network, progress)
    return image


def make_default(engine: ContainerEngine, image: Image) -> Image:
    """Make a built image the one that is used on this engine where no other is asked for.

    It keeps a name of its own besides, of its version and target, for ``--sandbox-image``.

    Args:
        engine: The engine that has it.
        image: What `build_agent_server` returned.
    """
    add_name(engine, image, target_name(image))
    return add_name(engine, image, f"{BUILT_REPOSITORY}:{image.labels[VERSION_LABEL]}")


def target_name(image: Image) -> str:
    """Return the name by which `find_built` finds the last build of a version and target.

    Args:
        image: What `build_agent_server` returned.
    """
    return f"{BUILT_REPOSITORY}:{image.labels[VERSION_LABEL]}-{image.labels[TARGET_LABEL]}"


def add_name(engine: ContainerEngine, image: Image, reference: str) -> Image:
    """Give an image a further name.

    Raises:
        SettingsError: The name is malformed.
    """
    find_local(engine, reference)  # raises if it is malformed
    last = reference.rpartition("/")[2]
    repository, _, tag = reference.rpartition(":") if ":" in last else (reference, "", "latest")
    with engine.calling(f"name an image {reference}"):
        engine.client.images.get(image.id).tag(repository, tag)
    named = find_local(engine, reference)
    assert named is not None
    return named


def _check_target(target: str) -> None:
    if target in (MINIMAL_TARGET, FULL_TARGET):
        return
    if target.startswith("binary"):
        alternative = target.replace("binary", "source", 1)
        raise SettingsError(
            f"The target {target!r} is not built here, as it needs the agent server's own build "
            f"system; use {alternative!r}, which runs the same server from its PyPI packages."
        )
    raise SettingsError(
        f"There is no target {target!r}; use 'source-minimal', or 'source' for VS Code, desktop "
        "and browser too."
    )


def _built(
    engine: ContainerEngine,
    recipe: Recipe,
    parent: Image,
    network: HostNetwork,
    progress: Progress,
) -> Image:
    """Return the recipe's image, built unless somebody has done so before."""
    reference = recipe.reference
    with machine_lock(engine, f"building {reference}", progress):
        image = find_local(engine, reference)  # another process may just have built it
        if image is not None:
            return image
        if recipe.files.get("requirements.txt") == "":
            progress.note(
                f"no tested package versions are known for agent server {recipe.version}: "
                "its dependencies are installed in their newest versions"
            )
        labels = {
            BUILD_LABEL: recipe.key,
            VERSION_LABEL: recipe.version,
            TARGET_LABEL: recipe.target,
            BASE_LABEL: recipe.base,
            **recipe.labels,
        }
        files = {
            **recipe.files,
            "pip.conf": network.pip_configuration(),
            "npmrc": network.npm_configuration(),
        }
        if not network.has_index_credentials:
            files["Dockerfile"] = _CREDENTIALS_PART.sub("", files["Dockerfile"])
        arguments = {
            recipe.parent: parent.reference,
            "BUILD_KEY": recipe.key,
            "SERVER_VERSION": recipe.version,
            **{
                spelling: value
                for name, value in network.proxies.items()
                for spelling in (name, name.lower())
            },
        }
        try:
            run_build(
                engine,
                reference,
                files,
                activity=recipe.activity,
                base=parent,
                arguments=arguments,
                labels=labels,
                progress=progress,
            )
        finally:
            _remove_installer(engine, recipe.key)
    image = find_local(engine, reference)
    if image is None:
        raise SandboxError(f"{engine.description} built {reference}, yet does not have it.")
    return image


def _remove_installer(engine: ContainerEngine, key: str) -> None:
    """Remove the stages that knew a package index's credentials; the image needs them no more."""
    try:
        engine.client.images.prune(filters={"dangling": True, "label": f"{INSTALLER_LABEL}={key}"})
    except (DockerException, requests.RequestException) as error:
        logger.warning("The build's installer stage could not be removed: %s", error)
