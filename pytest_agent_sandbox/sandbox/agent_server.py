"""What an agent server is told at its start, whatever it runs in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from pydantic import SecretStr

from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import SettingsError

# Seconds for a dormant server to begin its work, which takes 0.05.
_WAKE_TIMEOUT = 10.0
# Characters of a key, which is masked wherever it is seen.
_SHORTEST_KEY = 16

#: The port of an agent server, in its sandbox.
SERVER_PORT = 8000
#: What has a server wait for `wake`; nothing else can be asked of it.
DORMANT = {"OH_DEFERRED_INIT": "true"}
#: What a server is told wherever it runs. The names are those of agent server 1.58. Tools load on
#: first use and the price table comes from the package, both for a quicker start.
SERVER_SETTINGS = {
    "LOG_JSON": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENHANDS_SUPPRESS_BANNER": "1",
    "OH_PRELOAD_TOOLS": "false",
    # Of ACP agents. They are given a conversation's skills, as in the published image; a turn that
    # failed is the test's to see, not to be tried again for a minute; and most of them never tell
    # what they used, which the server waits for.
    "OH_ACP_SKILL_SOURCING": "openhands_managed",
    "ACP_PROMPT_MAX_RETRIES": "0",
    "ACP_USAGE_UPDATE_TIMEOUT": "0.2",
    # Seconds for which nobody else may have a conversation whose server has been killed: its next
    # server, which has the same files, would wait for 45 s. While a server lives, it is not asked.
    "OH_LEASE_TTL_SECONDS": "2",
}


def forwarded(names: Iterable[str]) -> dict[str, str]:
    """Return these variables of this process, which win over what the server is told otherwise.

    Raises:
        SettingsError: One is not set.
    """
    names = list(names)
    for name in names:
        if name not in os.environ:
            raise SettingsError(
                f"forward_env names {name!r}, which is not set in this process's environment."
            )
    return {name: os.environ[name] for name in names}


def secret_key(name: str | None) -> SecretStr | None:
    """Return the key in a variable of this process; None for no name.

    Raises:
        SettingsError: The variable is not set, or too short to be a key.
    """
    if name is None:
        return None
    value = os.environ.get(name, "")
    if len(value) < _SHORTEST_KEY:
        problem = f"has fewer than {_SHORTEST_KEY} characters" if value else "is not set"
        raise SettingsError(f"secret_key_env: the variable {name} {problem}.")
    return SecretStr(value)


def secret_environment(session_key: SecretStr, secret_key: SecretStr) -> dict[str, str]:
    """Return what only the server and its clients know.

    Args:
        session_key: What its clients have to show.
        secret_key: What it encrypts with. Without it, 1.58 does not keep an LLM's key for a fork of
            the conversation.
    """
    return {
        "OH_SESSION_API_KEYS_0": session_key.get_secret_value(),
        "OH_SECRET_KEY": secret_key.get_secret_value(),
    }


def wake(connection: ServerConnection, secret_key: SecretStr, variables: Mapping[str, str]) -> None:
    """Give a dormant server variables, for it and all that it starts, and have it begin its work.

    Raises:
        ServerError: It refused, or does not answer.
    """
    connection.request(
        "POST",
        "/api/init",
        headers={"X-Init-API-Key": secret_key.get_secret_value()},
        json={"env": dict(variables)},
        timeout=_WAKE_TIMEOUT,
    )
