"""The parts of an agent, as the agent server wants them described."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from pytest_agent_sandbox.client.acp import ACPAgent
from pytest_agent_sandbox.errors import SettingsError

#: The tools of upstream's default agent.
_DEFAULT_TOOLS = ("terminal", "file_editor", "task_tracker")
_BROWSER_TOOL = "browser_tool_set"

#: Sizes of upstream's default condenser, in events.
_CONDENSER_MAX_SIZE = 80
_CONDENSER_KEEP_FIRST = 4

#: Seconds: the wait before the second attempt, which doubles for each one after, and its limits.
_RETRY_WAITS = {"retry_multiplier": 2.0, "retry_min_wait": 1, "retry_max_wait": 8}


class LLM(BaseModel):
    """The language model behind an agent; every other field of the server's LLM may be given too.

    Example:
        ```python
        LLM(model="anthropic/claude-sonnet-5", api_key=SecretStr(key), temperature=0)
        ```

    The server's own retry settings are made for people in front of a screen: it tries an LLM that
    cannot be reached for two minutes. A test gets three attempts, two and four seconds apart.

    Args:
        model: Provider and model, as LiteLLM spells them.
        usage_id: The name under which the server books cost and tokens.
        base_url: Address of the provider, as seen from inside the sandbox; None for its usual one.
        api_key: The provider's key. Shown by nothing here, and sent to the server only.
        num_retries: Attempts for one completion, the first included.
        extra: Any other field of the server's LLM.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    usage_id: str
    model: str
    base_url: str | None
    api_key: SecretStr | None
    num_retries: int

    def __init__(
        self,
        *,
        model: str,
        usage_id: str = "agent",
        base_url: str | None = None,
        api_key: SecretStr | str | None = None,
        num_retries: int = 3,
        **extra: Any,
    ) -> None:
        super().__init__(
            model=model,
            usage_id=usage_id,
            base_url=base_url,
            api_key=api_key,
            num_retries=num_retries,
            **_RETRY_WAITS | extra,
        )

    def __repr__(self) -> str:
        # Extra fields may hold credentials and an address may hold a password: name neither.
        return f"LLM(usage_id={self.usage_id!r}, model={self.model!r})"

    __str__ = __repr__


class Tool(BaseModel):
    """A tool the agent may use, by the server's name for it."""

    model_config = ConfigDict(frozen=True)

    name: str
    params: dict[str, Any] = Field(default_factory=dict)


class Agent(BaseModel):
    """An agent.

    Args:
        llm: Its language model.
        tools: Its tools.
        extra: Any other field of the server's Agent.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str
    llm: LLM
    tools: list[Tool]

    def __init__(self, *, llm: LLM, tools: Sequence[Tool] = (), **extra: Any) -> None:
        super().__init__(**{"kind": "Agent", "llm": llm, "tools": list(tools), **extra})


def default_agent(llm: LLM, *, browser: bool = False, cli_mode: bool | None = None) -> Agent:
    """Return upstream's default agent: terminal, file editor, task tracker and a condenser.

    The condenser asks the same LLM, under the usage id `condenser`, for a summary once a
    conversation has more than 80 events.

    Args:
        llm: The agent's language model.
        browser: Give the agent a browser too; the image must hold one, as that of `agent-sandbox
            build --target source` does. It shows on the sandbox's desktop where that is started.
        cli_mode: Upstream's spelling of the opposite: `cli_mode=False` is `browser=True`.

    Raises:
        SettingsError: `browser` and `cli_mode` contradict one another.
    """
    if browser and cli_mode:
        raise SettingsError("browser=True and cli_mode=True contradict each other: give only one.")
    browser = browser or cli_mode is False
    names = [*_DEFAULT_TOOLS, _BROWSER_TOOL] if browser else _DEFAULT_TOOLS
    return Agent(
        llm=llm,
        tools=[Tool(name=name) for name in names],
        system_prompt_kwargs={"cli_mode": not browser},
        condenser={
            "kind": "LLMSummarizingCondenser",
            "llm": llm.model_copy(update={"usage_id": "condenser"}),
            "max_size": _CONDENSER_MAX_SIZE,
            "keep_first": _CONDENSER_KEEP_FIRST,
        },
    )


def agent_payload(agent: object, *, has_desktop: bool = False) -> dict[str, Any]:
    """Return the agent as the server takes it, API keys in clear: for sending, never for logs.

    Args:
        agent: Our `Agent`, an `acp_agent`, a dict of the server's own making, or anything else with
            a pydantic `model_dump`, such as an agent of openhands-sdk.
        has_desktop: Let its browser show, unless it says itself whether it shall (`headless`).

    Raises:
        SettingsError: It is none of these.
    """
    payload = _payload(agent)
    if has_desktop:
        payload["tools"] = [_shown_on_desktop(tool) for tool in payload.get("tools") or ()]
    return payload


def llm_payload(llm: object) -> dict[str, Any]:
    """Return an LLM as the server takes it, its API key in clear: for sending, never for logs.

    Args:
        llm: Our `LLM`, a dict, or one of openhands-sdk.

    Raises:
        SettingsError: It is none of these.
    """
    if isinstance(llm, LLM | dict):
        return dict(plain(llm))
    if hasattr(llm, "model_dump"):
        return dict(llm.model_dump(mode="json", context={"expose_secrets": True}))
    raise SettingsError(f"An LLM is an LLM or a dict, not {type(llm).__name__}.")


def _shown_on_desktop(tool: Any) -> Any:
    # Agent server 1.58 shows no browser unless it is told to.
    if not isinstance(tool, dict) or tool.get("name") != _BROWSER_TOOL:
        return tool
    return {**tool, "params": {"headless": False, **(tool.get("params") or {})}}


def _payload(agent: object) -> dict[str, Any]:
    if isinstance(agent, dict):
        return {"kind": "Agent", **plain(agent)}
    if isinstance(agent, Agent | ACPAgent):
        return dict(plain(agent))
    if hasattr(agent, "model_dump"):
        # openhands-sdk masks its keys unless it is asked in this way.
        return dict(agent.model_dump(mode="json", context={"expose_secrets": True}))
    raise SettingsError(
        "An agent is an Agent, an acp_agent, a dict, or an openhands.sdk Agent, not "
        f"{type(agent).__name__}."
    )


def plain(value: Any) -> Any:
    """Return a value as JSON knows it: models as dicts, without empty fields, secrets in clear."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        fields = {**dict(value), **(value.model_extra or {})}
        return {name: plain(field) for name, field in fields.items() if field is not None}
    if isinstance(value, dict):
        return {name: plain(field) for name, field in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
