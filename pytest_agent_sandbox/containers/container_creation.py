"""The creation of a container, before it starts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from docker.errors import APIError

from pytest_agent_sandbox.containers.cleanup import prefixed, remove_container
from pytest_agent_sandbox.containers.container_errors import start_failure
from pytest_agent_sandbox.containers.container_spec import ContainerSpec
from pytest_agent_sandbox.containers.engine import ContainerEngine, explanation
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host import seldom

logger = seldom.logger(__name__)

# What Docker says of a folder that is to be mounted.
_NO_SOURCE = "bind source path does not exist"
# How engines name a limit in a warning, where it is not our name.
_WORDS_FOR_LIMITS = {"cpus": "cpu"}


def create_container(engine: ContainerEngine, spec: ContainerSpec, name: str) -> str:
    """Create a container and return the engine's id of it.

    Args:
        engine: The engine to run it.
        spec: What it is to be.
        name: Its name.

    Raises:
        ImageNotFound: The engine lacks the image, or has it for another platform.
        SettingsError: The engine refuses a setting, or would not apply a limit.
        SandboxStartFailed: The engine refuses for another reason.
        EngineUnavailable: The engine did not answer.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    labels = prefixed({**spec.labels, **engine.owner.labels, "started": started})
    spec = replace(spec, environment={**engine.container_proxies, **spec.environment})
    with engine.calling(f"create container {name}"):
        # The low-level client: the other one inspects image and container again at every step.
        api = engine.client.api
        try:
            arguments = spec.create_arguments(api)
            if engine.is_remote:
                _mount_what_is_there(arguments["host_config"])
            created = api.create_container(name=name, labels=labels, **arguments)
        except APIError as error:
            if refusal := _refusal(engine, error):
                raise refusal from error
            raise start_failure(error, spec, name) from error
    for warning in created.get("Warnings") or []:
        if _is_of_a_limit(warning, spec):
            remove_container(engine, name)
            raise SettingsError(f"The engine cannot apply a limit: {warning}")
        logger.info("engine's warning about container %s: %s", name, warning)
    return str(created["Id"])


def _mount_what_is_there(host_config: dict[str, Any]) -> None:
    """Have the engine refuse a folder that its machine lacks, in whose place it makes an empty one.

    That is what it does with `Binds`, as is a surprise where the folder is on this machine.
    """
    binds, mounts = [], []
    for bind in host_config.get("Binds") or ():
        source, target, mode = bind.rsplit(":", 2)
        if source.startswith("/") and mode in ("ro", "rw"):
            mount = {"Type": "bind", "Source": source, "Target": target, "ReadOnly": mode == "ro"}
            mounts.append(mount)
        else:  # a volume, or what only `Binds` can do
            binds.append(bind)
    if mounts:
        host_config |= {"Binds": binds, "Mounts": mounts}


def _refusal(engine: ContainerEngine, error: APIError) -> SettingsError | None:
    """Return the error of a folder that a remote engine's machine lacks, if it is one."""
    text = explanation(error)
    _, is_so, folder = text.partition(_NO_SOURCE)
    if not engine.is_remote or not is_so:
        return None
    return SettingsError(
        f"volumes: there is no {folder.strip(': ')} on the machine of the engine at "
        f"{engine.endpoint}, and it is that machine's folders that are mounted. Copy what is on "
        "this one by `files` or upload()."
    )


def _is_of_a_limit(warning: str, spec: ContainerSpec) -> bool:
    """Tell whether the engine creates the container without a limit that somebody asked for."""
    if "discarded" not in warning or "swap" in warning:
        return False
    words = (_WORDS_FOR_LIMITS.get(limit, limit) for limit in spec.required_limits)
    return any(word in warning.lower() for word in words)
