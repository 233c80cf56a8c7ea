"""Services that were started together, as a test gets them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_agent_sandbox.sandbox.services.running_service import RunningService


class Services:
    """Services that were started together, by their names.

    Example:
        ```python
        services = agent_services(db=Service("postgres:17", ports=[5432]))
        services.db.host_port
        ```
    """

    def __init__(self, services: Mapping[str, RunningService]) -> None:
        self._services = dict(services)

    def __getattr__(self, name: str) -> RunningService:
        if name.startswith("_"):  # copy and pickle ask for such
            raise AttributeError(name)
        try:
            return self[name.replace("_", "-")]
        except KeyError:
            raise AttributeError(
                f"there is no service {name!r}; there are: {', '.join(self._services)}"
            ) from None

    def __getitem__(self, name: str) -> RunningService:
        """Return a service by its name, also one with a hyphen."""
        return self._services[name]

    def __iter__(self) -> Iterator[RunningService]:
        return iter(self._services.values())

    def __len__(self) -> int:
        return len(self._services)

    def __contains__(self, name: str) -> bool:
        return name in self._services

    def __repr__(self) -> str:
        return f"<Services {', '.join(self._services)}>"
