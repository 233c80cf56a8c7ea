"""How tests start containers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.container_spec import ContainerSpec
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.host.multiplexer import Connect, Inside


class Start(Protocol):
    """Starts a container that runs a shell script; arguments are those of `ContainerSpec`."""

    def __call__(
        self,
        script: str,
        *,
        engine: ContainerEngine | None = None,
        outwards: Mapping[Inside, Connect] | None = None,
        **settings: object,
    ) -> Container: ...


class SpecFactory(Protocol):
    def __call__(self, script: str, **settings: object) -> ContainerSpec: ...
