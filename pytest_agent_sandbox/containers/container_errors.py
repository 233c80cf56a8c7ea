"""The errors of containers: the engine's words made plain, and which are worth another try."""

from __future__ import annotations

import re

from docker.errors import APIError
from docker.errors import ImageNotFound as NoSuchImage

from pytest_agent_sandbox.containers.container_spec import ContainerSpec
from pytest_agent_sandbox.containers.engine import explanation
from pytest_agent_sandbox.errors import (
    ImageNotFound,
    SandboxDied,
    SandboxError,
    SandboxStartFailed,
    SettingsError,
)
from pytest_agent_sandbox.settings.suggest import did_you_mean

#: What the setting `network` may be beside the name of one.
_NETWORK_WORDS = ("open", "isolated", "none")

_PORT_TAKEN = re.compile(r"port is already allocated|address already in use", re.IGNORECASE)
_PORT_IN_MESSAGE = re.compile(r"(?:127\.0\.0\.1|0\.0\.0\.0|\]):(\d+)")

_NO_RUNTIME = "runtime: the engine has no such runtime; `docker info` lists those it has"
# Words of the engine, in lower case, that show which setting it refuses, and our message for it.
_REFUSED_SETTINGS = (
    ("could not select device driver", "gpus: the engine has no GPU runtime"),
    ("rlimit", "ulimits: the engine refuses this limit (it may not be allowed to raise it)"),
    ("unknown runtime", _NO_RUNTIME),
    ("unknown or invalid runtime", _NO_RUNTIME),
    ("unable to find user", "user: the image does not know this user"),
    ("unable to find group", "user: the image does not know this group"),
    ("no matching entries in passwd file", "user: the image does not know this user"),
)

# Causes that do not come again at the next attempt, in the engine's words. The first line is the
# race between the engine choosing a port and another program taking it.
_TRANSIENT_START = re.compile(
    r"port is already allocated|address already in use"
    r"|device or resource busy|resource temporarily unavailable"
    r"|failed to create endpoint|failed to set up container networking"
    r"|could not find an available|context deadline exceeded|tls handshake timeout",
    re.IGNORECASE,
)
# A server that crashed while importing litellm: where its price table cannot be downloaded, its
# logging races its own import.
_TRANSIENT_CRASH = re.compile(
    r"deadlock detected by _ModuleLock\('litellm|from partially initialized module 'litellm"
)


def start_failure(error: APIError, spec: ContainerSpec, name: str) -> SandboxError:
    """Translate the engine's refusal to create or start a container.

    Args:
        error: The engine's answer.
        spec: What was asked for.
        name: The container's name.
    """
    words = explanation(error)
    lower = words.lower()
    if isinstance(error, NoSuchImage):
        return _missing_image(words, spec)
    if _PORT_TAKEN.search(words):
        named = _PORT_IN_MESSAGE.search(words)
        taken = spec.fixed_ports() & {int(named[1])} if named else spec.fixed_ports()
        if taken:
            ports = ", ".join(str(port) for port in sorted(taken))
            return SandboxStartFailed(
                f"Container {name} did not start: port {ports} of 127.0.0.1 is taken by another "
                "program or container. End that, choose another port, or leave the choice to "
                "the engine."
            )
    for sign, meaning in _REFUSED_SETTINGS:
        if sign in lower:
            return SettingsError(f"{meaning}. The engine said: {words}")
    if spec.network is not None and "network" in lower and "not found" in lower:
        hint = did_you_mean(spec.network, _NETWORK_WORDS)
        return SettingsError(
            f"network: the engine has no network {spec.network!r}; `docker network ls` lists them. "
            f"{hint}".rstrip()
        )
    if error.status_code == 400 and "oci runtime" not in lower:  # noqa: PLR2004
        return SettingsError(f"The engine refuses a setting of the container: {words}")
    return SandboxStartFailed(f"Container {name} of {spec.image} did not start: {words}")


def _missing_image(words: str, spec: ContainerSpec) -> ImageNotFound:
    if "platform" in words.lower():
        return ImageNotFound(
            f"The engine's image {spec.image} is not for the platform {spec.platform}: {words}"
        )
    return ImageNotFound(f"The engine does not have the image {spec.image}: {words}")


def is_transient(error: BaseException) -> bool:
    """Tell whether the same start is likely to succeed when tried once more.

    Args:
        error: What `Container.start`, or waiting for its server, raised.
    """
    if isinstance(error, SandboxStartFailed) and _TRANSIENT_START.search(str(error)):
        return True
    if isinstance(error, SandboxStartFailed | SandboxDied):
        return bool(_TRANSIENT_CRASH.search(error.log))
    return False
