"""An engine that only has containers and networks with labels, and forgets what is removed."""

from __future__ import annotations

from typing import Any

from pytest_agent_sandbox.containers.cleanup import prefixed


class Api:
    """An engine with these containers and networks, which notes what is removed."""

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = []
        self.removed: list[str] = []

    def add(self, name: str, labels: dict[str, Any]) -> None:
        self.shown.append({"Names": [f"/{name}"], "Id": f"id-{name}", "Labels": prefixed(labels)})

    def containers(self, **_: Any) -> list[dict[str, Any]]:
        return self.shown

    def networks(self, **_: Any) -> list[dict[str, Any]]:
        return [{**one, "Name": f"{one['Names'][0][1:]}-n"} for one in self.shown]

    def volumes(self, **_: Any) -> dict[str, Any]:
        return {"Volumes": None}

    def remove_container(self, name: str, **_: Any) -> None:
        self.removed.append(name)

    def remove_network(self, name: str) -> None:
        self.removed.append(name)


class Engine:
    def __init__(self) -> None:
        self.client = self
        self.api = Api()

    def calling(self, _: str) -> Engine:
        return self

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None: ...
