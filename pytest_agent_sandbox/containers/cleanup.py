"""Marking what is ours, and removing it so that nothing is left."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from docker.errors import APIError, NotFound

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host.ownership import (
    OWNER,
    PLACE,
    OwnerState,
    forget,
    forget_ended,
    owner_state,
)

#: The prefix of this package's labels, on the engine.
LABEL_PREFIX = "pytest-agent-sandbox."

#: The prefix of the names of this package's containers, networks and volumes.
NAME_PREFIX = "agent-sandbox"

#: The prefix of the names of containers that were kept for people to look into.
KEPT_PREFIX = f"{NAME_PREFIX}-kept-"

_CONFLICT = 409
# Seconds another process's removal of the same container may take.
_REMOVAL_GRACE = 10.0


def prefixed(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels under the names they have on the engine."""
    return {f"{LABEL_PREFIX}{name}": value for name, value in labels.items()}


def remove_container(engine: ContainerEngine, container: str) -> None:
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


def remove_volume(engine: ContainerEngine, name: str) -> None:
    """Remove a volume; fine if there is none.

    Raises:
        SandboxError: The engine cannot remove it, as while a container uses it.
        EngineUnavailable: The engine did not answer.
    """
    with engine.calling(f"remove volume {name}"):
        try:
            engine.client.api.remove_volume(name)
        except NotFound:
            return


def remove_labelled(engine: ContainerEngine, labels: Mapping[str, str]) -> int:
    """Remove all containers, networks and volumes with all these labels: a run's final sweep.

    Containers that were left for people to look into stay, with their volumes. One that cannot be
    removed does not keep the others; the first such error is raised at the end.

    Args:
        engine: The engine to sweep.
        labels: Names, as given in `ContainerSpec.labels`, and values; at least one.

    Returns:
        How many containers, networks and volumes there were to remove.

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
    in_use = _volumes_of_kept(containers)
    # By name: a container that somebody keeps in the meantime gets another one.
    names = [_name(container) for container in containers]
    names = [name for name in names if not name.startswith(KEPT_PREFIX)]
    ids = {str(container["Id"]) for container in containers}
    # An image that somebody made of one of ours passes its labels on to its own containers.
    names = [name for name in names if name.startswith(NAME_PREFIX) or name in ids]
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
    volumes = [name for name in _volumes(engine, filters) if name not in in_use]
    for name in volumes:
        try:
            remove_volume(engine, name)
        except SandboxError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return len(names) + len(networks) + len(volumes)


@dataclass(frozen=True)
class Found:
    """A container, network or volume of this package, on an engine.

    Attributes:
        name: Its name.
        id: The engine's id of it.
        kind: What it is.
        labels: Its labels, without their prefix: `run`, `worker`, `test`, the owner's, `started`.
        use: `kept` for people to look into; `alive` where the process lives that it belongs to;
            `dead` where that has ended; `unknown` where that cannot be told from here, as for what
            others have kept.
    """

    name: str
    id: str
    kind: Literal["container", "network", "volume"]
    labels: Mapping[str, str]
    use: Literal["kept", "alive", "dead", "unknown"]

    def remove(self, engine: ContainerEngine) -> None:
        """Remove it; fine if it is gone.

        Raises:
            SandboxError: The engine cannot, or does not answer.
        """
        if self.kind == "network":
            _remove_network(engine, self.id)
        elif self.kind == "volume":
            remove_volume(engine, self.name)
        else:
            remove_container(engine, self.name)  # a kept one has another name by now


def find(engine: ContainerEngine, labels: Mapping[str, str] | None = None) -> list[Found]:
    """Return all containers, networks and volumes of this package, whoever made them, in order.

    Containers come first, for they have to be removed before the volumes that they use.

    Args:
        engine: The engine that has them.
        labels: Only those that carry all these labels.

    Raises:
        EngineUnavailable: The engine did not answer.
    """
    filters = {"label": [f"{LABEL_PREFIX}{OWNER}", *_filters(labels or {})["label"]]}
    api = engine.client.api
    with engine.calling("list containers"):
        containers = api.containers(all=True, filters=filters)
    with engine.calling("list networks"):
        networks = api.networks(filters=filters)
    volumes = _volumes(engine, filters)
    # An owner has many: its state is looked up once.
    states: dict[str, OwnerState] = {}
    found = [_found(shown, _name(shown), "container", states) for shown in containers]
    found += [_found(shown, str(shown["Name"]), "network", states) for shown in networks]
    found += [_found(shown, name, "volume", states) for name, shown in volumes.items()]
    in_use = _volumes_of_kept(containers)
    found = [
        replace(one, use="kept") if one.name in in_use and one.use != "unknown" else one
        for one in found
    ]
    # An image that somebody made of a container of ours passes its labels on to its own containers.
    ours = (one for one in found if one.name.startswith(NAME_PREFIX))
    return sorted(ours, key=lambda one: (one.kind, one.name))


def remove_left_behind(engine: ContainerEngine) -> list[str]:
    """Remove what killed processes have left whose watchers were killed as well.

    What belongs to a living process, or was kept, or may be another machine's, stays.

    Returns:
        The names of what was removed.

    Raises:
        SandboxError: Something could not be removed; the rest is.
        EngineUnavailable: The engine did not answer.
    """
    left = [one for one in find(engine) if one.use == "dead"]
    errors: list[SandboxError] = []
    for one in left:
        try:
            one.remove(engine)
        except SandboxError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    for owner in {one.labels[OWNER] for one in left}:
        forget(owner)
    forget_ended()
    return [one.name for one in left]


def kept_containers(engine: ContainerEngine, labels: Mapping[str, str]) -> list[str]:
    """Return the names of the containers with these labels that were kept for people to look into.

    Raises:
        EngineUnavailable: The engine did not answer.
    """
    return [one.name for one in find(engine, labels) if one.use == "kept"]


def _found(
    shown: Mapping[str, Any],
    name: str,
    kind: Literal["container", "network", "volume"],
    states: dict[str, OwnerState],
) -> Found:
    labels = {
        label.removeprefix(LABEL_PREFIX): str(value)
        for label, value in (shown.get("Labels") or {}).items()
    }
    # Not by the owner alone: somebody may have written any labels.
    owner = f"{labels.get(OWNER)} {labels.get(PLACE)}"
    if owner not in states:
        states[owner] = owner_state(labels)
    use = states[owner]
    is_kept = name.startswith(KEPT_PREFIX) and kind == "container" and use != "unknown"
    return Found(name, str(shown.get("Id", name)), kind, labels, "kept" if is_kept else use)


def _volumes(engine: ContainerEngine, filters: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    with engine.calling("list volumes"):
        shown = engine.client.api.volumes(filters=filters).get("Volumes") or []
    return {one["Name"]: one for one in shown if one["Name"].startswith(NAME_PREFIX)}


def _volumes_of_kept(containers: Iterable[Mapping[str, Any]]) -> set[str]:
    return {
        str(mount.get("Name"))
        for container in containers
        if _name(container).startswith(KEPT_PREFIX)
        for mount in container.get("Mounts") or ()
    }


def _filters(labels: Mapping[str, str]) -> dict[str, list[str]]:
    return {"label": [f"{name}={value}" for name, value in prefixed(labels).items()]}


def _name(container: Mapping[str, Any]) -> str:
    """Return a container's own name; it has none while it is removed, and several when linked."""
    names = [str(name).lstrip("/") for name in container.get("Names") or ()]
    return next((name for name in names if "/" not in name), str(container["Id"]))


def _remove_network(engine: ContainerEngine, network: str) -> None:
    with engine.calling(f"remove network {network}"):
        try:
            engine.client.api.remove_network(network)
        except NotFound:
            return
