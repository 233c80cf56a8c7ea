"""Arguments of a `DockerWorkspace`, as settings hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_agent_sandbox.errors import SettingsError


def listed(name: str, values: Iterable[str] | None) -> tuple[str, ...]:
    """Return the value of a setting that is a list, from the argument of that name.

    Raises:
        SettingsError: It is one text.
    """
    if values is None:
        return ()
    if isinstance(values, str):
        raise SettingsError(f"{name}: give a list, not one string")
    if isinstance(values, Mapping):  # as the docker SDK takes volumes
        return values  # type: ignore[return-value]
    return tuple(values)
