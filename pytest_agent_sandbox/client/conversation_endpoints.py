"""The requests about one conversation, as the server takes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

from pytest_agent_sandbox.client import versions
from pytest_agent_sandbox.client.agents import agent_payload
from pytest_agent_sandbox.client.answers import an_id, an_object
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import ServerError, SettingsError

#: Seconds for the server to answer: it may let requests wait until a running tool is done.
PATIENCE = 600.0
#: Seconds for an interrupt to be answered: the server itself waits five for the run to stop.
INTERRUPT_TIMEOUT = 10.0


#: A value that an agent may use by name: text, or where the server looks it up.
Secret = str | SecretStr | Mapping[str, Any]


class ConversationEndpoints:
    """The requests about one conversation.

    Args:
        connection: The way to the server.
        conversation_id: The conversation.
    """

    def __init__(self, connection: ServerConnection, conversation_id: str) -> None:
        self._connection = connection
        self._path = f"/api/conversations/{conversation_id}"

    def fetch(self, deadline: float = math.inf) -> dict[str, Any]:
        """Return what the server tells of the conversation.

        Args:
            deadline: When to give up, by the monotonic clock; after `PATIENCE` at the latest.
        """
        answer = self._connection.request(
            "GET", self._path, retry=True, timeout=PATIENCE, deadline=deadline
        )
        return an_object(self._connection.decoded(answer), self._path)

    def send(self, message: str | Mapping[str, Any] | BaseModel, timeout: float) -> None:
        """Say something to the agent.

        Args:
            message: Text, or a message with `content` as the server has it.
            timeout: Seconds for the server to take it.
        """
        if isinstance(message, str):
            content: Any = [{"type": "text", "text": message}]
        else:
            fields = message.model_dump(mode="json") if isinstance(message, BaseModel) else message
            content = fields["content"]
        self.post("events", {"role": "user", "content": content, "run": False}, timeout)

    def accept(self, timeout: float) -> None:
        """Confirm the tool calls that wait for it."""
        self.post("events/respond_to_confirmation", {"accept": True}, timeout)

    def reject(self, reason: str, timeout: float) -> None:
        """Refuse the tool calls that wait for confirmation."""
        body = {"accept": False, "reason": reason}
        self.post("events/respond_to_confirmation", body, timeout)

    def set_secrets(self, secrets: Mapping[str, Any], timeout: float) -> None:
        """Give the agent values that it may use by name."""
        self.post("secrets", {"secrets": secrets}, timeout)

    def pause(self, timeout: float) -> None:
        """Ask the agent to stop after its current step."""
        self.post("pause", None, timeout)

    def interrupt(self, timeout: float) -> None:
        """Stop the agent at once.

        Raises:
            ServerError: The server is too old for it, or cannot be reached.
        """
        with self._connection.time.within(timeout):
            self._require("interrupt a run", versions.INTERRUPT)
            self._stop_by("interrupt")

    def stop(self) -> None:
        """Stop the agent as fast as this server can."""
        with self._connection.time.within(INTERRUPT_TIMEOUT):
            self._stop_by(versions.stopping_action(self._connection.version))

    def fork(self, agent: object | None, fields: Mapping[str, Any]) -> str:
        """Have the server copy the conversation, in the caller's time, and return the copy's id.

        Args:
            agent: The conversation's agent, where it is known.
            fields: What is said of the copy, as the server takes it.

        Raises:
            ServerError: The server is too old for it, or cannot be reached.
        """
        self._require("fork a conversation", versions.FORK)
        fork_id = an_id(self.post("fork", dict(fields)), "The fork of a conversation")
        fork = f"/api/conversations/{fork_id}"
        if not versions.has(self._connection.version, versions.FORK_KEEPS_SETTINGS):
            # It would ask its LLM for a title, as it has none.
            self._connection.request("PATCH", fork, json={"title": fields.get("title") or "Fork"})
        llm = agent_payload(agent).get("llm") if agent is not None else None
        if llm is not None and versions.has(self._connection.version, versions.SWITCH_LLM):
            # A server without a secret key of its own copies the agent without its API keys.
            self._connection.post_json(f"{fork}/switch_llm", {"llm": llm})
        return fork_id

    def _stop_by(self, action: str) -> None:
        self._connection.request("POST", f"{self._path}/{action}")

    def post(self, action: str, body: Any = None, timeout: float | None = None) -> Any:
        """Ask the server to do something with the conversation; return its answer."""
        answer = self._connection.request(
            "POST", f"{self._path}/{action}", json=body, timeout=timeout
        )
        return self._connection.decoded(answer)

    def get(self, what: str, timeout: float) -> Any:
        """Return something that the server tells of the conversation."""
        answer = self._connection.request(
            "GET", f"{self._path}/{what}", retry=True, timeout=timeout
        )
        return self._connection.decoded(answer)

    def update(self, fields: Mapping[str, Any], timeout: float) -> None:
        """Change the conversation's title or tags."""
        self._connection.request("PATCH", self._path, json=dict(fields), timeout=timeout)

    def _require(self, what: str, since: tuple[int, int]) -> None:
        version = self._connection.version
        if not versions.has(version, since):
            raise ServerError(versions.lacking(version, what, since))


def in_clear(secrets: Mapping[str, Secret]) -> dict[str, Any]:
    """Return secrets as the server takes them.

    Raises:
        SettingsError: A value is neither text nor a lookup.
    """
    return {name: _in_clear(name, value) for name, value in secrets.items()}


def _in_clear(name: str, value: object) -> str | dict[str, Any]:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and isinstance(value.get("url"), str):
        return {"kind": "LookupSecret", **value}
    raise SettingsError(
        f"secrets={{{name!r}: …}} takes text, not {type(value).__name__}; or where to look it up, "
        '{"url": "…", "headers": {…}}'
    )


def secret_texts(clear: Mapping[str, Any]) -> list[str]:
    """Return the texts in secrets that nobody is to see: of a lookup, those of its headers."""
    texts = [value for value in clear.values() if isinstance(value, str)]
    lookups = [value for value in clear.values() if isinstance(value, dict)]
    return texts + [str(text) for one in lookups for text in (one.get("headers") or {}).values()]
