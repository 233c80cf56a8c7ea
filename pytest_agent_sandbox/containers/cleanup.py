"""Marking what is ours, and removing it so that nothing is left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from docker.errors import APIError, NotFound

from pytest_agent_sandbox.containers.engine import Engine
from pytest_agent_sandbox.errors import SandboxError

#: What the names of this package's labels begin with, on the engine.
LABEL_PREFIX = "pytest-agent-sandbox."

#: What the names of containers begin with that were left for people to look into.
KEPT_PREFIX = "agent-sandbox-kept-"

_CONFLICT = 409
# Seconds another process's removal of the same container may take.
_REMOVAL_GRACE = 10.0


def prefixed(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels under the names they have on the engine."""
    return {f"{LABEL_PREFIX}{name}": value for name, value in labels.items()}


def remove_container(engine: Engine, container: str) -> None:
    """Kill and remove a container with its anonymous volumes; fine if there is none.

    Args:
        engine: The container's engine.
        container: Its id or name.

    Raises:
        SandboxError: The engine cannot remove it.
        EngineUnavailable: The engine did not answer.
    """
    api = engine.client.api
    deadline = time.monotonic() + _REMOVAL_GRACE
    with engine.calling(f"remove container {container}"):
        while True:
            try:
                return api.remove_container(container, v=True, force=True)
            except NotFound:
                return None
            except APIError as error:
                # Somebody else is removing it already: wait until they are done.
                if error.status_code != _CONFLICT or time.monotonic() > deadline:
                    raise
            time.sleep(0.05)


def remove_labelled(engine: Engine, labels: Mapping[str, str]) -> int:
    """Remove all containers and networks that carry all these labels: a run's final sweep.

    Containers that were left for people to look into stay. One that cannot be removed does not keep
    the others; the first such error is raised at the end.

    Args:
        engine: The engine to sweep.
        labels: Names, as given in `ContainerSpec.labels`, and values; at least one.

    Returns:
        How many containers and networks there were to remove.

    Raises:
        ValueError: No label is given, which would mean everything.
        SandboxError: Something could not be removed.
        EngineUnavailable: The engine did not answer.
    """
    if not labels:
        raise ValueError("give at least one label")
    api = engine.client.api
    filters = _filters(labels)
    errors: list[SandboxError] = []
    with engine.calling("list containers"):
        containers = api.containers(all=True, filters=filters)
    # By name: one that is kept from now on has another.
    names = [_name(container) for container in containers]
    names = [name for name in names if not name.startswith(KEPT_PREFIX)]
    for name in names:
        try:
            remove_container(engine, name)
        except SandboxError as error:
            errors.append(error)
    with engine.calling("list networks"):
        networks = api.networks(filters=filters)
    for network in networks:
        try:
            _remove_network(engine, network["Id"])
        except SandboxError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return len(names) + len(networks)


def kept_containers(engine: Engine, labels: Mapping[str, str] | None = None) -> list[str]:
    """The names of the containers that were left for people to look into.

    Args:
        engine: The engine that has them.
        labels: Only those that carry all these labels.

    Raises:
        EngineUnavailable: The engine did not answer.
    """
    with engine.calling("list containers"):
        found = engine.client.api.containers(
            all=True, filters={"name": KEPT_PREFIX, **_filters(labels or {})}
        )
    return sorted(name for name in map(_name, found) if name.startswith(KEPT_PREFIX))


def _filters(labels: Mapping[str, str]) -> dict[str, list[str]]:
    return {"label": [f"{name}={value}" for name, value in prefixed(labels).items()]}


def _name(container: Mapping[str, Any]) -> str:
    """Its own name; one that is being removed, or linked, has none or more than one."""
    names = [str(name).lstrip("/") for name in container.get("Names") or ()]
    return next((name for name in names if "/" not in name), str(container["Id"]))


def _remove_network(engine: Engine, network: str) -> None:
    with engine.calling(f"remove network {network}"):
        try:
            engine.client.api.remove_network(network)
        except NotFound:
            return
