"""The values that only one container has, as programs inside of it print them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_agent_sandbox.containers.container import Container
    from pytest_agent_sandbox.containers.engine import ContainerEngine


def identity(engine: ContainerEngine, container: Container) -> dict[str, str]:
    """Return the kind of each value: `{"172.17.0.2": "address", "3f2a9c417d05": "host"}`.

    Raises:
        SandboxDied: The container is gone.
        EngineUnavailable: The engine did not answer.
    """
    container.check()
    with engine.calling(f"show container {container.name}"):
        about = engine.client.api.inspect_container(container.id)
    named = {container.name: "container", container.id: "container"}
    named[about["Config"]["Hostname"]] = "host"
    for network in about["NetworkSettings"]["Networks"].values():
        for field, name in (
            ("IPAddress", "address"),
            ("GlobalIPv6Address", "address"),
            ("MacAddress", "mac"),
            ("Gateway", "gateway"),
        ):
            named[network.get(field) or ""] = name
    return {value: name for value, name in named.items() if value}
