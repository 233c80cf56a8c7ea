"""Skills and hooks: what a conversation adds to its agent, as the agent server wants it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pytest_agent_sandbox.errors import SettingsError

#: When hooks run (agent server 1.58).
HOOK_EVENTS = (
    "session_start",
    "user_prompt_submit",
    "pre_tool_use",
    "post_tool_use",
    "stop",
    "session_end",
)


class Skill(BaseModel):
    """Knowledge for an agent.

    Example:
        ```python
        Skill("releases", "A release needs a line in CHANGES.md.", triggers=["release"])
        ```

    Args:
        name: What it is called.
        content: What the agent is told.
        triggers: Words in a message that make the server add the content to it; until then the
            agent knows of the skill by its description. Without any it knows the content always.
        extra: Any other field of the server's Skill, such as `description`; by default that is the
            content.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    content: str
    trigger: dict[str, Any] | None

    def __init__(
        self, name: str, content: str, *, triggers: Sequence[str] = (), **extra: Any
    ) -> None:
        if isinstance(triggers, str):
            raise SettingsError(f"Skill(triggers=…) takes a list of words: [{triggers!r}].")
        trigger = {"type": "keyword", "keywords": list(triggers)} if triggers else None
        super().__init__(**{"name": name, "content": content, "trigger": trigger, **extra})


def skill_payload(skill: Skill | Mapping[str, Any]) -> dict[str, Any]:
    """Return a skill as the server takes it.

    Raises:
        SettingsError: It has no name, or no content.
    """
    if isinstance(skill, Skill):
        return skill.model_dump(mode="json")
    try:
        checked = Skill(**{"name": None, "content": None, **dict(skill)})
    except (TypeError, ValueError, ValidationError):
        raise SettingsError(
            f'skills=[…] takes Skill("name", "content"), or a dict with both, not {skill!r}.'
        ) from None
    return checked.model_dump(mode="json") if "triggers" in skill else dict(skill)


def hooks_payload(hooks: Mapping[str, Any]) -> dict[str, Any]:
    """Return hooks as the server takes them.

    Args:
        hooks: By event: a command, which runs at each of them; or the server's own list of
            matchers, `[{"matcher": "terminal", "hooks": [{"command": "…"}]}]`.

    Raises:
        SettingsError: There is no such event.
    """
    if not isinstance(hooks, Mapping):
        raise SettingsError(f'hooks= takes a dict, {{"stop": "…"}}, not {hooks!r}.')
    unknown = sorted(set(hooks) - set(HOOK_EVENTS))
    if unknown:
        raise SettingsError(
            f"hooks={{…}}: there is no event {unknown[0]!r}; there are {', '.join(HOOK_EVENTS)}."
        )
    return {
        event: [{"matcher": "*", "hooks": [{"command": hook}]}] if isinstance(hook, str) else hook
        for event, hook in hooks.items()
    }
