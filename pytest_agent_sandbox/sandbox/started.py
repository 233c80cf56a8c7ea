"""Who is told of the sandboxes that a program starts by itself, without the plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_agent_sandbox.sandbox.workspace import Workspace

#: Called with each workspace that a program has started: the plugin's evidence is of them too.
listeners: list[Callable[[Workspace], object]] = []


def tell(workspace: Workspace) -> None:
    """Say that a program has started a workspace."""
    for listener in list(listeners):
        listener(workspace)


def forget(listener: Callable[[Workspace], object]) -> None:
    """Tell a listener no more."""
    if listener in listeners:
        listeners.remove(listener)
