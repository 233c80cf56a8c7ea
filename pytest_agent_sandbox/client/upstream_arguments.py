"""What upstream's `Conversation` takes, in our words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from pytest_agent_sandbox.client import token_callbacks
from pytest_agent_sandbox.client.callbacks import EventCallback

# Of openhands-sdk 1.58: what is called differently here, and what goes into the request as it is.
_OURS = {"max_iteration_per_run": "max_iterations", "hook_config": "hooks"}
_AS_THEY_ARE = (
    "tags",
    "user_id",
    "plugins",
    "stuck_detection",
    "stuck_detection_thresholds",
    "observability_metadata",
    "observability_tags",
    "observability_span_name",
    "observability_parent_span_context",
)
_NOT_HERE = {
    "persistence_dir": "the server keeps conversations: see docs/restarts.md",
    "cipher": "secret_key_env= of the workspace names the key that the server encrypts with",
}


def in_our_words(options: Mapping[str, Any]) -> tuple[dict[str, Any], list[EventCallback]]:
    """Return the arguments as `RemoteConversation` takes them, and callbacks among them.

    Raises:
        TypeError: One has another way here: the message names it.
    """
    ours: dict[str, Any] = {}
    request: dict[str, Any] = {}
    callbacks: list[EventCallback] = []
    for name, value in options.items():
        if name in _NOT_HERE:
            raise TypeError(f"Conversation() takes no {name}: {_NOT_HERE[name]}")
        if name in _OURS:
            if _OURS[name] in options:
                raise TypeError(f"Conversation() got both {name} and {_OURS[name]}: give only one")
            ours[_OURS[name]] = value
        elif name in _AS_THEY_ARE:
            request[name] = _plain(value)
        elif name == "visualizer":
            callbacks += _visualizing(value)
        elif name == "token_callbacks":
            callbacks += [token_callbacks.calling(value)] if value else []
        else:
            ours[name] = value
    if request:
        ours["request"] = {**request, **(ours.get("request") or {})}
    return ours, callbacks


def _visualizing(visualizer: Any) -> list[EventCallback]:
    if visualizer is None:
        return []
    on_event = getattr(visualizer, "on_event", None)
    if isinstance(visualizer, type) or not callable(on_event):
        raise TypeError(
            "visualizer= takes an object with a method on_event(event), or None; visualize=True "
            "prints the conversation as it happens"
        )
    return [on_event]


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
