"""The settings that a container got in the end, by its engine: for people who look for a cause."""

from __future__ import annotations

from typing import Any

from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.sizes import spell_size

_NANO = 1e9
_NO_LIMIT = "no limit"


def effective_settings(engine: ContainerEngine, container: Container) -> dict[str, str]:
    """Return the limits and flags of a container, by their names.

    Raises:
        EngineUnavailable: The engine did not answer.
    """
    with engine.calling(f"show container {container.name}"):
        found = engine.client.api.inspect_container(container.id)
    host, config = found["HostConfig"], found["Config"]
    cpus = host.get("NanoCpus") or 0
    pids = host.get("PidsLimit") or 0
    return {
        "memory": spell_size(host["Memory"]) if host.get("Memory") else _NO_LIMIT,
        "cpus": f"{cpus / _NANO:g}" if cpus else _NO_LIMIT,
        "pids": str(pids) if pids > 0 else _NO_LIMIT,
        "network": str(host.get("NetworkMode") or "default"),
        "user": str(config.get("User") or "root"),
        **_flags(host),
    }


def _flags(host: dict[str, Any]) -> dict[str, str]:
    """Return the settings that are not the usual ones."""
    lists = {
        "volumes": host.get("Binds"),
        "capabilities dropped": host.get("CapDrop"),
        "capabilities added": host.get("CapAdd"),
        "security options": host.get("SecurityOpt"),
        "folders in memory": host.get("Tmpfs"),
    }
    flags = {name: ", ".join(values) for name, values in lists.items() if values}
    if host.get("ReadonlyRootfs"):
        flags["root file system"] = "read-only"
    if host.get("Runtime"):
        flags["runtime"] = str(host["Runtime"])
    if host.get("Privileged"):
        flags["privileged"] = "yes"
    if host.get("DeviceRequests"):
        flags["gpu"] = "all"
    return flags
