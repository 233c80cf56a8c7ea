"""Building an agent-server image from any base image with Python, once per content."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import tarfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import requests
from docker.errors import DockerException

from pytest_agent_sandbox.containers.engine import Engine
from pytest_agent_sandbox.containers.host_network import HostNetwork
from pytest_agent_sandbox.containers.images import (
    BUILT_REPOSITORY,
    DEFAULT_AGENT_SERVER_VERSION,
    LABEL_PREFIX,
    VERSION_LABEL,
    Image,
    Pull,
    ensure_image,
    find_local,
)
from pytest_agent_sandbox.containers.locks import machine_lock
from pytest_agent_sandbox.containers.progress import Progress, Silence
from pytest_agent_sandbox.containers.streams import engine_events
from pytest_agent_sandbox.errors import ImageBuildFailed, SandboxError, SettingsError

DEFAULT_BASE_IMAGE = "python:3.13-slim-trixie"
#: The agent server and its tools, without VS Code and desktop.
MINIMAL_TARGET = "source-minimal"

BUILD_LABEL = f"{LABEL_PREFIX}build"
TARGET_LABEL = f"{LABEL_PREFIX}target"
BASE_LABEL = f"{LABEL_PREFIX}base"
INSTALLER_LABEL = f"{LABEL_PREFIX}installer"

#: Seconds without a line of output after which a build is given up.
STALL_TIMEOUT = 900
#: Lines of output that a failure shows.
TAIL_LINES = 30
# The part of the Dockerfile that keeps credentials out of the image.
_CREDENTIALS_PART = re.compile(r"^# -- with credentials$.*?^# -- end$\n", re.DOTALL | re.MULTILINE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# What the builder says of its own doings.
_CHATTER = (" ---> ", "Removing intermediate container ")
# How a line begins that says why a step failed: of the build's own scripts, pip, apt.
_COMPLAINTS = ("agent-sandbox: ", "ERROR: ", "E: ")

_SCRIPTS = ("Dockerfile", "find-python", "install-server", "prepare-system")

_logger = logging.getLogger(__name__)


def build_agent_server(
    engine: Engine,
    *,
    base_image: str = DEFAULT_BASE_IMAGE,
    version: str = DEFAULT_AGENT_SERVER_VERSION,
    target: str = MINIMAL_TARGET,
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
        base_image: Any image with Python >= 3.12, or with apt-get and such a Python to install.
        version: Version of the agent server, as on PyPI.
        target: ``source-minimal``: the agent server and its tools.
        platform: Such as ``linux/arm64``; None for the engine's own.
        ca_bundle: CA certificates to trust besides the usual ones; None for those that the
            environment names (SSL_CERT_FILE, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, PIP_CERT).
        host_network: Package index, proxies and certificates; None for those of the environment.
        pull: When to pull the base image.
        progress: Told how it is getting on.

    Raises:
        ImageBuildFailed: A step failed; the note holds the last lines of output.
        ImageNotFound: The base image is neither here nor at its registry.
        ImagePullFailed: The base image's registry refused, or is out of reach.
        SettingsError: The target or the CA bundle cannot be used.
        EngineUnavailable: The engine did not answer.
    """
    _check_target(target)
    progress = progress or Silence()
    network = host_network or HostNetwork.from_environment(ca_bundle=ca_bundle)
    base = ensure_image(engine, base_image, platform=platform, pull=pull, progress=progress)
    content = _content(version, network)
    key = _key(base, version, target, content)
    reference = f"{BUILT_REPOSITORY}:{version}-{target}-{key}"
    image = find_local(engine, reference)
    if image is not None:
        return image
    with machine_lock(engine, f"building {reference}", progress):
        image = find_local(engine, reference)  # another process may just have built it
        if image is not None:
            return image
        if not content["constraints.txt"]:
            progress.note(
                f"no tested package versions are known for agent server {version}: "
                "its dependencies are installed in their newest versions"
            )
        labels = {
            BUILD_LABEL: key,
            VERSION_LABEL: version,
            TARGET_LABEL: target,
            BASE_LABEL: base.reference,
        }
        files = {**content, "pip.conf": network.pip_configuration()}
        if not network.has_index_credentials:
            files["Dockerfile"] = _CREDENTIALS_PART.sub("", files["Dockerfile"])
        context = _context(files)
        arguments = {
            "BASE_IMAGE": base.reference,
            "BUILD_KEY": key,
            "SERVER_VERSION": version,
            **{
                spelling: value
                for name, value in network.proxies.items()
                for spelling in (name, name.lower())
            },
        }
        try:
            _build(engine, reference, context, arguments, labels, base, progress)
        finally:
            _remove_installer(engine, key)
    image = find_local(engine, reference)
    if image is None:
        raise SandboxError(f"{engine.description} built {reference}, yet does not have it.")
    return image


def make_default(engine: Engine, image: Image) -> Image:
    """Make a built image the one that is used on this engine where no other is asked for.

    Args:
        engine: The engine that has it.
        image: What `build_agent_server` returned.
    """
    return add_name(engine, image, f"{BUILT_REPOSITORY}:{image.labels[VERSION_LABEL]}")


def add_name(engine: Engine, image: Image, reference: str) -> Image:
    """Give an image a further name.

    Raises:
        SettingsError: The name is malformed.
    """
    find_local(engine, reference)  # says so if it is malformed
    last = reference.rpartition("/")[2]
    repository, _, tag = reference.rpartition(":") if ":" in last else (reference, "", "latest")
    with engine.calling(f"name an image {reference}"):
        engine.client.images.get(image.id).tag(repository, tag)
    named = find_local(engine, reference)
    assert named is not None
    return named


def _check_target(target: str) -> None:
    if target == MINIMAL_TARGET:
        return
    if target == "source":
        raise SettingsError(
            "The desktop target 'source' comes with a later release; use 'source-minimal'."
        )
    if target.startswith("binary"):
        raise SettingsError(
            f"The target {target!r} is not built here, as it needs the agent server's own build "
            "system; use 'source-minimal', which runs the same server from its PyPI packages."
        )
    raise SettingsError(f"There is no target {target!r}; use 'source-minimal'.")


def _content(version: str, network: HostNetwork) -> dict[str, str]:
    """The files that make the image what it is, by their name in the build's context."""
    folder = resources.files(__package__) / "image"
    content = {name: (folder / name).read_text(encoding="utf-8") for name in _SCRIPTS}
    constraints = folder / f"constraints-{version}.txt"
    content["constraints.txt"] = (
        constraints.read_text(encoding="utf-8") if constraints.is_file() else ""
    )
    for name, text in network.certificate_files().items():
        content[f"certificates/{name}"] = text
    return content


def _key(base: Image, version: str, target: str, content: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for part in (base.id, base.platform, version, target):
        digest.update(f"{part}\0".encode())
    for name, text in sorted(content.items()):
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()[:12]


def _context(content: Mapping[str, str]) -> io.BytesIO:
    """The build's context as a tar archive, the same byte for byte for the same content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder = tarfile.TarInfo("certificates")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)  # COPY wants it to be there, certificates or not
        for name, text in sorted(content.items()):
            data = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    buffer.seek(0)
    return buffer


def _build(
    engine: Engine,
    reference: str,
    context: io.BytesIO,
    arguments: dict[str, str],
    labels: dict[str, str],
    base: Image,
    progress: Progress,
) -> None:
    log = _BuildLog(f"building agent server {labels[VERSION_LABEL]} on {base.reference}", progress)
    with engine.calling(f"build {reference}"):
        try:
            with engine_events(
                engine,
                "/build",
                {
                    "t": reference,
                    "buildargs": json.dumps(arguments),
                    "labels": json.dumps(labels),
                    "platform": base.platform,
                    "rm": True,
                    "forcerm": True,
                },
                headers={"Content-Type": "application/x-tar"},
                body=context,
                stall_timeout=STALL_TIMEOUT,
            ) as events:
                for event in events:
                    log.add(str(event.get("stream") or ""))
                    if "error" in event:
                        raise log.failure(base, str(event["error"]))
        except requests.Timeout:
            raise log.failure(base, f"there was no output for {STALL_TIMEOUT} s") from None


class _BuildLog:
    """Follows a build's output: where it is, and its last lines."""

    def __init__(self, activity: str, progress: Progress) -> None:
        self._activity = activity
        self._progress = progress
        self._step = "before its first step"
        self._lines: list[str] = []
        progress.update(activity)

    def add(self, text: str) -> None:
        for raw in text.splitlines():
            line = _COLOURS.sub("", raw).rstrip()
            if not line or line.startswith(_CHATTER):
                continue
            self._lines = [*self._lines, line][-TAIL_LINES:]
            if line.startswith("Step "):
                self._step = f"in the step `{line.partition(' : ')[2] or line}`"
                self._progress.update(self._activity, *_position(line), "steps")
            else:
                self._progress.output(line.strip())

    def failure(self, base: Image, said: str) -> ImageBuildFailed:
        # The engine's own words are only that a command failed; the command's are better.
        complaints = [line for line in self._lines if line.startswith(_COMPLAINTS)]
        reason = complaints[-1].removeprefix(_COMPLAINTS[0]) if complaints else said
        error = ImageBuildFailed(
            f"Building an agent-server image from {base.reference} ({base.platform}) failed "
            f"{self._step}: {reason.rstrip('.')}."
        )
        if self._lines:
            error.add_note("The build's last lines:\n" + "\n".join(self._lines))
        return error


def _position(line: str) -> tuple[int, int]:
    """The numbers in `Step 3/12 : RUN …`."""
    done, _, total = line.removeprefix("Step ").partition(" ")[0].partition("/")
    return (int(done), int(total)) if done.isdecimal() and total.isdecimal() else (0, 0)


def _remove_installer(engine: Engine, key: str) -> None:
    """Removes the stage that knew the package index's credentials; the image needs it no more."""
    try:
        engine.client.images.prune(filters={"dangling": True, "label": f"{INSTALLER_LABEL}={key}"})
    except (DockerException, requests.RequestException) as error:
        _logger.warning("The build's installer stage could not be removed: %s", error)
