"""Recipes of images: the ingredients of each build, and the name that they make."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

from pytest_agent_sandbox.containers.image_names import (
    AGENTS,
    AGENTS_LABEL,
    BUILT_REPOSITORY,
    FULL_TARGET,
    MINIMAL_TARGET,
)
from pytest_agent_sandbox.containers.images import Image
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host.host_network import HostNetwork


@dataclass(frozen=True)
class Recipe:
    """The ingredients of one build: everything by which its result differs from another's.

    Attributes:
        version: The agent server's.
        target: How much is in it.
        base: The base image's name.
        activity: What the build is doing, in words.
        parent: The Dockerfile's argument that names the image it begins from.
        files: The files of its context, by path.
        key: A hash of everything.
        labels: Labels of its own.
    """

    version: str
    target: str
    base: str
    activity: str
    parent: str
    files: Mapping[str, str]
    key: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """The image's name."""
        return f"{BUILT_REPOSITORY}:{self.version}-{self.target}-{self.key}"


def server_recipe(base: Image, version: str, network: HostNetwork) -> Recipe:
    """Return the recipe of the agent server and its tools."""
    files = _texts(
        "image",
        "Dockerfile",
        "find-python",
        "install-server",
        "prepare-system",
        "requirements-tools.txt",
        "write-bill",
    )
    requirements = resources.files(__package__) / "image" / f"requirements-{version}.txt"
    files["requirements.txt"] = (
        requirements.read_text(encoding="utf-8") if requirements.is_file() else ""
    )
    for name, text in network.certificate_files().items():
        files[f"certificates/{name}"] = text
    return Recipe(
        version=version,
        target=MINIMAL_TARGET,
        base=base.reference,
        activity=f"building agent server {version} on {base.reference}",
        parent="BASE_IMAGE",
        files=files,
        key=_key(base.id, base.platform, version, MINIMAL_TARGET, files=files),
    )


def full_recipe(base: Image, version: str, minimal: Recipe) -> Recipe:
    """Return the recipe of VS Code, desktop and browser, on top of a server's."""
    files = _texts(
        "image/source",
        "Dockerfile",
        "configure-vscode",
        "entrypoint",
        "install-desktop",
        "install-vscode",
        "openvscode-server",
        "record-desktop",
        "start-desktop",
        "vscode-settings.json",
    )
    return Recipe(
        version=version,
        target=FULL_TARGET,
        base=base.reference,
        activity="adding VS Code, desktop and browser",
        parent="SERVER_IMAGE",
        files=files,
        key=_key(minimal.key, FULL_TARGET, files=files),
    )


def agents_recipe(parent: Recipe, agents: Sequence[str]) -> Recipe:
    """Return the recipe of coding agents, on top of another's.

    Raises:
        SettingsError: There is no agent of one of the names.
    """
    unknown = sorted(set(agents) - set(AGENTS))
    if unknown:
        raise SettingsError(
            f"There is no agent {', '.join(map(repr, unknown))} to build with; choose from "
            f"{', '.join(AGENTS)}, separated by commas."
        )
    chosen = sorted(set(agents))
    files = _texts("image/agents", "Dockerfile", "install-agents", "link-agents")
    for agent in chosen:
        for name, text in _texts(
            f"image/agents/{agent}", "package.json", "package-lock.json"
        ).items():
            files[f"packages/{agent}/{name}"] = text
    return Recipe(
        version=parent.version,
        target=parent.target,
        base=parent.base,
        activity=f"adding {', '.join(chosen)}",
        parent="SERVER_IMAGE",
        files=files,
        key=_key(parent.key, *chosen, files=files),
        labels={AGENTS_LABEL: ",".join(chosen)},
    )


def _texts(folder: str, *names: str) -> dict[str, str]:
    place = resources.files(__package__).joinpath(*folder.split("/"))
    return {name: (place / name).read_text(encoding="utf-8") for name in names}


def _key(*parts: str, files: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part}\0".encode())
    for name, text in sorted(files.items()):
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()[:12]
