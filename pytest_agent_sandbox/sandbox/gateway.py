"""The LLM gateway on this machine, placed where the sandboxes of one engine reach it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from pytest_agent_sandbox.client.agents import agent_payload
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.host_route import HostRoute, host_in_url
from pytest_agent_sandbox.sandbox.network import WayToGateway

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from pytest_agent_sandbox.llm.exchange import Source
    from pytest_agent_sandbox.llm.gateway import Gateway
    from pytest_agent_sandbox.llm.lane import Lane
    from pytest_agent_sandbox.llm.observer import Observer
    from pytest_agent_sandbox.llm.pipeline import Policy


@dataclass(frozen=True)
class LLMEndpoint:
    """The place where a program finds the LLM of a test.

    Attributes:
        model: The model's name, as LiteLLM spells it.
        base_url: The LLM's address, as seen from the program.
        api_key: Stands for a key: the real one stays with the gateway.
    """

    model: str
    base_url: str
    api_key: SecretStr


@dataclass(frozen=True)
class HostService:
    """A service of this process, as containers reach it.

    Attributes:
        url: Its address, as seen from a container.
        token: What a request has to show, as a bearer token.
        close: Ends it. May be called more than once.
    """

    url: str
    token: str = field(repr=False)
    close: Callable[[], None]


class HostGateway(Closing):
    """One gateway for the sandboxes of an engine; it starts listening with its first lane.

    Args:
        route: Tells how sandboxes reach this machine; raises `SettingsError` where they have no
            way, or where it has to be given.
    """

    def __init__(self, route: Callable[[], HostRoute]) -> None:
        self._find_route = route
        self._lock = threading.Lock()
        self._route: HostRoute | None = None
        self._gateway: Gateway | None = None

    @property
    def route(self) -> HostRoute:
        """How sandboxes reach this machine.

        Raises:
            SettingsError: They have no way, or it cannot be found out and has to be given.
        """
        if self._route is None:
            self._route = self._find_route()
        return self._route

    def address(self) -> tuple[str, int] | None:
        """Return where it listens on this machine; None as long as it does not."""
        gateway = self._gateway
        return None if gateway is None else (self.route.bind_address, gateway.port)

    @property
    def way(self) -> WayToGateway:
        """The facts that a container needs to reach it; few if the way is not known."""
        try:
            route = self.route
        except SettingsError:
            # A workspace without agents needs no way; a lane raises this again.
            return WayToGateway(self.address)
        is_tunneled = route.container_port is not None
        return WayToGateway(self.address, route.container_host_name, route.extra_hosts, is_tunneled)

    def open_lane(
        self,
        source: Source,
        *,
        name: str,
        policy: Policy | None = None,
        observer: Observer | None = None,
    ) -> Lane:
        """Open one conversation's way to an LLM; close it with the conversation."""
        return self._listening().open_lane(source, name, policy, observer)

    def open_service(self, application: ASGIApp) -> HostService:
        """Let sandboxes reach a service of this process; close it with the conversation."""
        gateway = self._listening()
        token = gateway.open_service(application)
        port = self.route.container_port or gateway.port
        address = f"http://{host_in_url(self.route.container_host_name)}:{port}"
        return HostService(address, token, lambda: gateway.close_service(token))

    def _listening(self) -> Gateway:
        from pytest_agent_sandbox.llm.gateway import Gateway

        with self._lock:
            if self._gateway is None:
                gateway = Gateway(self.route.bind_address)
                gateway.start()
                self._gateway = gateway
            return self._gateway

    def endpoint(self, lane: Lane, model: str) -> LLMEndpoint:
        """Return a lane as an endpoint, for a program that asks its LLM by itself."""
        fields = self.llm_fields(lane, model)
        return LLMEndpoint(model, fields["base_url"], SecretStr(lane.token))

    def llm_fields(self, lane: Lane, model: str) -> dict[str, str]:
        """Return the fields of an agent's LLM that lead it to a lane, as seen from a sandbox."""
        route = self.route
        return {
            "model": model,
            "base_url": lane.base_url(route.container_host_name, model, port=route.container_port),
            "api_key": lane.token,
        }

    def llm_variables(self, lane: Lane) -> dict[str, str]:
        """Return the environment variables that lead an agent with its own LLM client to a lane.

        They are those of the OpenAI and Anthropic libraries, of LiteLLM, and the key of Codex.
        """
        base_url = self.llm_fields(lane, "")["base_url"]
        return {
            "OPENAI_BASE_URL": base_url,
            "OPENAI_API_BASE": base_url,
            "OPENAI_API_KEY": lane.token,
            "CODEX_API_KEY": lane.token,
            # This library adds /v1 itself.
            "ANTHROPIC_BASE_URL": base_url.removesuffix("/v1"),
            "ANTHROPIC_API_KEY": lane.token,
        }

    def close(self) -> None:
        """Stop listening; open lanes end. May be called more than once."""
        with self._lock:
            gateway, self._gateway = self._gateway, None
        if gateway is not None:
            gateway.close()


def with_each_llm(agent: object, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Return an agent's description with all of its LLMs changed, its condenser's too.

    Args:
        agent: Whatever `agent_payload` takes.
        change: Is given each LLM's description, and returns the fields to put in its place.
    """
    return _changed(agent_payload(agent), change)


def _changed(
    value: Any, change: Callable[[dict[str, Any]], dict[str, Any]], field: str = ""
) -> Any:
    if isinstance(value, list):
        return [_changed(item, change, field) for item in value]
    if not isinstance(value, dict):
        return value
    fields = {name: _changed(item, change, name) for name, item in value.items()}
    # Everything but the model's name may be missing: the server fills it in.
    marks = {"usage_id", "api_key", "base_url"}
    is_llm = "model" in value and (field == "llm" or not marks.isdisjoint(value))
    return {**fields, **change(fields)} if is_llm else fields
