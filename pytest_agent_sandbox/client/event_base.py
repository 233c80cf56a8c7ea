"""The base of all events of a conversation, and the parts that events are made of."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

_HEADLINE_LENGTH = 200


class Event(BaseModel):
    """The base of all events; an event of an unknown kind is no more than that."""

    model_config = ConfigDict(extra="allow", frozen=True)

    id: str = ""
    #: The server's local time, without a zone: order events by their place in the log instead.
    timestamp: str = ""
    #: `agent`, `user` or `environment`.
    source: str = ""
    kind: str = ""
    parent_id: str | None = None

    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def raw(self) -> dict[str, Any]:
        """The event as the server sent it."""
        return self._raw

    @property
    def is_persisted(self) -> bool:
        """Whether the server keeps this event in its log; the others pass by once."""
        return bool(self.id)

    @property
    def is_error(self) -> bool:
        """Whether this event says that something failed."""
        return False

    @property
    def text(self) -> str:
        """What this event says in words, if anything."""
        return ""

    @classmethod
    def from_server(cls, fields: dict[str, Any], raw: dict[str, Any]) -> Self:
        """Return an event of this kind.

        Args:
            fields: Its fields.
            raw: The event as the server sent it.

        Raises:
            ValidationError: The fields are not those of this kind.
            RecursionError: They are nested too deeply.
        """
        event = cls.model_validate(fields)
        event._raw = raw
        return event

    def __str__(self) -> str:
        text = " ".join(self._headline().split())
        if len(text) > _HEADLINE_LENGTH:
            text = text[:_HEADLINE_LENGTH] + "…"
        name = self.kind or type(self).__name__
        return f"{name} ({self.source}): {text}" if text else f"{name} ({self.source})"

    def __repr__(self) -> str:
        return f"<{self} id={self.id}>"

    def _headline(self) -> str:
        return self.text


class Content(BaseModel):
    """One part of a message or a result; anything but text is in the extra fields."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str = "text"
    text: str | None = None


class Message(BaseModel):
    """A message of a language model's conversation."""

    model_config = ConfigDict(extra="allow", frozen=True)

    role: str
    content: list[Content] = Field(default_factory=list)


class Observation(BaseModel):
    """A tool's report; what only this tool reports (`exit_code`) is in the extra fields."""

    model_config = ConfigDict(extra="allow", frozen=True)

    content: list[Content] = Field(default_factory=list)
    is_error: bool = False


def joined_text(parts: list[Content]) -> str:
    """Return the text in the parts of a message or a result."""
    return "".join(part.text or "" for part in parts)
