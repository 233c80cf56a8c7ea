"""An agent's description, or a program's environment, that leads its LLM calls to the gateway."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pytest_agent_sandbox.client.acp import is_acp, with_variables
from pytest_agent_sandbox.llm.models import speaks_anthropic
from pytest_agent_sandbox.plugin.llm_sources import SCRIPTED_MODEL
from pytest_agent_sandbox.sandbox.gateway import with_each_llm


def connected_agent(
    agent: object,
    model: str,
    fields: Mapping[str, str],
    defaults: Mapping[str, Any],
    *,
    provider_tools: bool,
) -> dict[str, Any]:
    """Return an agent's description with each of its LLMs led to the gateway.

    Args:
        agent: Whatever `agent_payload` takes.
        model: The model's name, as LiteLLM spells it.
        fields: The fields of an LLM that lead it to its lane.
        defaults: Fields of an LLM that apply unless the agent sets them itself.
        provider_tools: Whether the agent may use tools that the provider runs.
    """
    described: dict[str, Any] = with_each_llm(agent, lambda llm: {**defaults, **llm, **fields})
    if not is_acp(described) or described.get("acp_model"):
        return described
    variables = model_variables(model)
    if "OPENAI_MODEL" in variables:  # codex-acp reads both the model and the address from here
        config = {"model": variables["OPENAI_MODEL"], "openai_base_url": fields["base_url"]}
        if not provider_tools:  # it asks for web searches of its own accord
            config["web_search"] = "disabled"
        variables["CODEX_CONFIG"] = json.dumps(config)
    return with_variables(described, variables)


def model_variables(model: str) -> dict[str, str]:
    """Return the environment variables that tell a program which model to ask for.

    Args:
        model: The model's name, as LiteLLM spells it.
    """
    if model == SCRIPTED_MODEL:
        return {}  # no program knows this model: let it ask for its own
    own = "ANTHROPIC_MODEL" if speaks_anthropic(model) else "OPENAI_MODEL"
    return {"LLM_MODEL": model, own: model.partition("/")[2] or model}
