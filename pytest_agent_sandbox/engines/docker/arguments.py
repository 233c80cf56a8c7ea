"""The arguments of `DockerWorkspace`, beside the settings that mean the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.settings.suggest import suggests

#: Says what an argument is called that was misspelled, or called as the setting is.
says_what_is_meant = suggests(
    {
        "image": "server_image",
        "pids": "pids_limit",
        "gpu": "enable_gpu",
        "start_timeout": "health_check_timeout",
    }
)

logger = seldom.logger(__name__)


def tell_of_links() -> None:
    """Say which calls give links to VS Code and the desktop: links without a key do not open."""
    logger.warning(
        "VS Code and the desktop want a key: workspace.vscode_url() and workspace.vnc_url() give "
        "links that have it."
    )


def listed(name: str, values: Iterable[str] | None) -> tuple[str, ...]:
    """Return the values of an argument that is a list.

    Raises:
        SettingsError: It is a single string.
    """
    if values is None:
        return ()
    if isinstance(values, str):
        raise SettingsError(f"{name}: give a list, not one string")
    if isinstance(values, Mapping):  # as the docker SDK takes volumes
        return values  # type: ignore[return-value]
    return tuple(values)
