"""`Conversation(agent, workspace)`: the way in for programs; tests use `agent_conversation`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from pydantic import SecretStr

from pytest_agent_sandbox.client.client_tools import by_specification
from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.client.events import Event
from pytest_agent_sandbox.client.token_callbacks import check_streams
from pytest_agent_sandbox.client.upstream_arguments import in_our_words
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.evidence.live_view import LiveView, terminal
from pytest_agent_sandbox.llm.live import live_source
from pytest_agent_sandbox.llm.pipeline import Policy
from pytest_agent_sandbox.sandbox.gateway import HostGateway, with_each_llm
from pytest_agent_sandbox.sandbox.tools import ServedTools
from pytest_agent_sandbox.sandbox.workspace import Workspace


def Conversation(  # noqa: N802 - programs written for the upstream SDK use it like a class
    agent: object,
    workspace: RemoteWorkspace,
    *,
    callbacks: Iterable[Callable[[Event], object]] = (),
    visualize: bool = False,
    client_tools: Sequence[object] = (),
    delete_on_close: bool = False,
    **options: Any,
) -> RemoteConversation:
    """Start a conversation with an agent in a workspace.

    In the workspace of a sandbox, such as a `DockerWorkspace`, an LLM with an API key is reached
    through a gateway on this machine, which puts the key in: the sandbox never sees it.

    Args:
        agent: An `Agent`, an `acp_agent`, a dict, or an openhands.sdk Agent.
        workspace: Where it works.
        callbacks: Called with every event, in order, in a thread of their own.
        visualize: Print the conversation to standard output as it happens.
        client_tools: Functions of this program that the agent may call: see `client_tool`. They are
            there as long as the workspace is, which has to be a `DockerWorkspace`. A dict with
            `name`, `description` and `parameters` is a tool that does nothing: callbacks see calls.
        delete_on_close: Have the server forget the conversation when it is closed.
        options: Everything else that `RemoteConversation` takes, and upstream's names for it:
            `max_iteration_per_run`, `hook_config`, `visualizer`, `token_callbacks`, `tags`,
            `user_id`, `plugins`, `stuck_detection`, `stuck_detection_thresholds`.

    Raises:
        TypeError: An argument is upstream's, and has another way here: the message names it.
        SettingsError: The agent, or what it is given, cannot be used.
        ServerError: The server refused.
    """
    if options.get("token_callbacks"):
        check_streams(agent)
    options, also = in_our_words(options)
    callbacks = [*also, *callbacks]
    if isinstance(workspace, Workspace):
        agent = with_each_llm(agent, partial(_keep_key_here, workspace.gateway))
    functions, specifications = by_specification(client_tools)
    if specifications:
        options["request"] = {"client_tools": specifications, **(options.get("request") or {})}
    if functions:
        if not isinstance(workspace, Workspace):
            raise SettingsError(
                "client_tools need a DockerWorkspace: from another server this process may be out "
                "of reach."
            )
        tools = ServedTools(functions, workspace.gateway)
        options["mcp_servers"] = {**tools.mcp_servers, **(options.get("mcp_servers") or {})}
        callbacks = [lambda _: tools.check(), *callbacks]
    if visualize:
        callbacks = [LiveView(terminal()), *callbacks]
    conversation = RemoteConversation(workspace, agent, callbacks=list(callbacks), **options)
    conversation.delete_on_close = delete_on_close
    return conversation


def _keep_key_here(gateway: HostGateway, llm: dict[str, Any]) -> dict[str, Any]:
    """Return what to change in an LLM's description for its requests to go through the gateway."""
    key = llm.get("api_key")
    if not key:
        return {}
    source = live_source(llm["model"], llm.get("base_url"), SecretStr(key))
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", str(llm.get("usage_id", "llm")))[:20]
    # What a program's agent may ask of its provider is the program's own business.
    lane = gateway.open_lane(source, name=name, policy=Policy(provider_tools=True))
    return gateway.llm_fields(lane, llm["model"])
