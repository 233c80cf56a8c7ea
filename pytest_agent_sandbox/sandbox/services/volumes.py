"""The named volumes of services that start together: new and empty, and gone with them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

from pytest_agent_sandbox.containers.cleanup import NAME_PREFIX, prefixed, remove_volume
from pytest_agent_sandbox.containers.container_spec import binds
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.sandbox.services.service import Service

# What is no name is a folder of this machine.
_NAMED = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


class ServiceVolumes(Closing):
    """The volumes of one start of services, which share those of the same name.

    On the engine each has a name of its own, so that tests that run side by side do not meet, and
    the labels by which watchers and `prune` know it.

    Args:
        engine: Their engine.
        specs: The services, by their names.
        labels: Labels that say whose they are.

    Attributes:
        specs: The services, with the volumes that were made for them.

    Raises:
        SettingsError: A mount is none.
        SandboxError: A volume cannot be made; none is left.
    """

    def __init__(
        self, engine: ContainerEngine, specs: Mapping[str, Service], labels: Mapping[str, str]
    ) -> None:
        self._engine = engine
        self._names: dict[str, str] = {}
        labels = prefixed({**labels, **engine.owner.labels})
        with ExitStack() as undo:
            undo.callback(self.close)
            self.specs = {name: self._own(spec, labels) for name, spec in specs.items()}
            undo.pop_all()

    def close(self) -> None:
        """Remove them; no container may use them any more. May be called more than once."""
        with ExitStack() as closing:
            for name in self._names.values():
                closing.callback(remove_volume, self._engine, name)

    def _own(self, spec: Service, labels: Mapping[str, str]) -> Service:
        mounts = []
        for bind in binds(spec.volumes):
            source, target, mode = bind.rsplit(":", 2)
            if _NAMED.fullmatch(source):
                source = self._volume(source, labels)
            mounts.append(f"{source}:{target}:{mode}")
        return replace(spec, volumes=mounts) if mounts else spec

    def _volume(self, source: str, labels: Mapping[str, str]) -> str:
        if source not in self._names:
            name = f"{NAME_PREFIX}-{source}-{secrets.token_hex(6)}"
            self._names[source] = name  # it may be made although the engine's answer is lost
            with self._engine.calling(f"create volume {name}"):
                self._engine.client.api.create_volume(name, labels=dict(labels))
        return self._names[source]
