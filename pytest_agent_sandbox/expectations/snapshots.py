"""The trajectory of a conversation as text, and as a snapshot of syrupy's.

syrupy is imported here, and this module only by the fixture `trajectory_snapshot`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from syrupy.extensions.amber import AmberSnapshotExtension

from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.expectations.trajectory import trajectory

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion


def with_trajectories(
    snapshot: SnapshotAssertion, normalise: Callable[[str], str]
) -> SnapshotAssertion:
    """Return a snapshot that conversations can be compared with.

    Args:
        snapshot: syrupy's own.
        normalise: Replaces what differs from run to run by names.
    """

    class TrajectoryExtension(AmberSnapshotExtension):
        # In a file of their own: syrupy (7.0) counts the snapshots of each extension from one, and
        # those of a test's `snapshot` would have the same names.
        file_extension = "trajectory"

        def serialize(self, data: Any, **options: Any) -> str:
            if not isinstance(data, RemoteConversation):
                raise SettingsError(
                    f"trajectory_snapshot takes a conversation, not {type(data).__name__}"
                )
            return super().serialize(trajectory(data, normalise), **options)

    return snapshot.use_extension(TrajectoryExtension)
