"""Settings that mean nothing where a sandbox is no container of ours."""

from __future__ import annotations

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.settings.setting import flag
from pytest_agent_sandbox.settings.table import SETTINGS, SandboxSettings

#: What tests would rely on in vain: it is refused.
PROMISES = frozenset(
    {
        "allow",
        "extra_ports",
        "files",
        "gpu",
        "keep",
        "network",
        "runtime",
        "security",
        "user",
        "video",
        "volumes",
    }
)
#: What only makes containers what they are: it is not in effect.
_OF_CONTAINERS = (
    "cpus",
    "image",
    "isolation",
    "max_reuses",
    "memory",
    "pids",
    "platform",
    "pool_size",
    "pull",
)


def refuse_promises(
    settings: SandboxSettings, instead: str, *, promises: frozenset[str] = PROMISES
) -> None:
    """Refuses settings that promise what only a container can keep.

    Args:
        settings: Those of the run, or of a test.
        instead: The setting that there is no container by.
        promises: Names of settings that are refused.

    Raises:
        SettingsError: One does.
    """
    for setting in SETTINGS:
        value = getattr(settings, setting.name)
        is_asked = value != setting.default and (setting.name, value) != ("network", "open")
        if setting.name in promises and is_asked:
            raise SettingsError(
                f"{flag(setting)} = {value} needs a container of ours, which there is none with "
                f"{instead}. Leave one of both out."
            )


def not_in_effect(settings: SandboxSettings) -> list[str]:
    """A line that names the settings that mean nothing without a container, if there are any."""
    given = [
        flag(setting)
        for setting in SETTINGS
        if setting.name in _OF_CONTAINERS and getattr(settings, setting.name) != setting.default
    ]
    return [f"not in effect without containers: {', '.join(given)}"] if given else []
