"""Marking what is ours, and removing it so that nothing is left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
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

#: The prefix of the names of this package's containers and networks.
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


def remove_labelled(engine: ContainerEngine, labels: Mapping[str, str]) -> int:
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
    if errors:
        raise errors[0]
    return len(names) + len(networks)


@dataclass(frozen=True)
class Found:
    """A container or network of this package, on an engine.

    Attributes:
        name: Its name.
        id: The engine's id of it.
        is_network: Whether it is a network.
        labels: Its labels, without their prefix: `run`, `worker`, `test`, the owner's, `started`.
        use: `kept` for people to look into; `alive` where the process lives that it belongs to;
            `dead` where that has ended; `unknown` where that cannot be told from here, as for what
            others have kept.
    """

    name: str
    id: str
    is_network: bool
    labels: Mapping[str, str]
    use: Literal["kept", "alive", "dead", "unknown"]

    @property
    def kind(self) -> Literal["container", "network"]:
        """What it is."""
        return "network" if self.is_network else "container"

    def remove(self, engine: ContainerEngine) -> None:
        """Remove it; fine if it is gone.

        Raises:
            SandboxError: The engine cannot, or does not answer.
        """
        if self.is_network:
            _remove_network(engine, self.id)
        else:
            remove_container(engine, self.name)  # a kept one has another name by now


def find(engine: ContainerEngine, labels: Mapping[str, str] | None = None) -> list[Found]:
    """Return all containers and networks of this package, whoever made them, ordered by name.

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
    # An owner has many: its state is looked up once.
    states: dict[str, OwnerState] = {}
    found = [_found(shown, states, is_network=False) for shown in containers]
    found += [_found(shown, states, is_network=True) for shown in networks]
    # An image that somebody made of a container of ours passes its labels on to its own containers.
    ours = (one for one in found if one.name.startswith(NAME_PREFIX))
    return sorted(ours, key=lambda one: (one.is_network, one.name))


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


def _found(shown: Mapping[str, Any], states: dict[str, OwnerState], *, is_network: bool) -> Found:
    name = str(shown["Name"]) if is_network else _name(shown)
    labels = {
        label.removeprefix(LABEL_PREFIX): str(value)
        for label, value in (shown.get("Labels") or {}).items()
    }
    # Not by the owner alone: somebody may have written any labels.
    owner = f"{labels.get(OWNER)} {labels.get(PLACE)}"
    if owner not in states:
        states[owner] = owner_state(labels)
    use = states[owner]
    is_kept = name.startswith(KEPT_PREFIX) and not is_network and use != "unknown"
    return Found(name, str(shown["Id"]), is_network, labels, "kept" if is_kept else use)


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
