"""By which settings and of which image workspaces start, until a call says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_agent_sandbox.plugin.session import SandboxSession
    from pytest_agent_sandbox.settings.table import SandboxSettings


@dataclass(frozen=True)
class SandboxChoice:
    """Settings and image of the workspaces of a test or a test run.

    Attributes:
        session: What the run shares.
        settings: The settings.
        image: Name of the image.
        run_settings: The settings of the run, by which the image was chosen.
    """

    session: SandboxSession
    settings: SandboxSettings
    image: str | None
    run_settings: SandboxSettings

    def with_overrides(
        self, overrides: Mapping[str, Any], *, source: str
    ) -> tuple[SandboxSettings, str]:
        """Return settings and image for one workspace.

        Args:
            overrides: What a call says otherwise, by the names of the settings.
            source: What is called, for messages.

        Raises:
            SettingsError: A name is unknown or a value cannot be used.
        """
        changed = self.settings.with_overrides(overrides, source=source)
        image = changed.image if "image" in overrides else self.image
        if changed.platform != self.run_settings.platform and image == self._chosen():
            image = None  # the choice was for another platform
        return changed, image or self.session.choose_image(changed)

    def _chosen(self) -> str:
        """Return the image that the run's settings mean, where no fixture says otherwise."""
        return self.session.choose_image(self.run_settings)
