"""What an agent's LLM is in one test: a script, or a live provider."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import pytest
from pydantic import SecretStr

from pytest_agent_sandbox.host_gateway import HostGateway, with_each_llm
from pytest_agent_sandbox.llm.live import upstream_for
from pytest_agent_sandbox.llm.script import Script

if TYPE_CHECKING:
    from pytest_agent_sandbox.llm.exchange import LLMCall, Source
    from pytest_agent_sandbox.llm.lane import Lane
    from pytest_agent_sandbox.llm.replies import Entry

#: The name of the model in scripted tests. LiteLLM's prefix chooses the dialect.
SCRIPTED_MODEL = "openai/scripted"
# US dollars; an agent's own LLM may say otherwise. The server warns of models without a price.
_SCRIPTED_PRICE = {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0}


class AgentLLM:
    """The fixture `agent_llm`: `agent_llm.script([…])` decides what the agent's LLM answers.

    Without a script the LLM is the live one that `LLM_MODEL`, `LLM_API_KEY` and `LLM_BASE_URL`
    name; where these are not set, a test that starts a conversation is skipped. In either case the
    agent's requests go through the gateway on this machine: the API key never enters the sandbox.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._script: Script | None = None
        self._lanes: list[Lane] = []

    @property
    def mode(self) -> Literal["scripted", "live"]:
        """`scripted` once `script` was called, `live` before."""
        return "live" if self._script is None else "scripted"

    @property
    def calls(self) -> list[LLMCall]:
        """The LLM calls of all conversations so far, each conversation's in order."""
        return [call for lane in self._lanes for call in lane.calls]

    def script(self, replies: Sequence[Entry]) -> None:
        """Sets what the LLM answers, reply by reply, to the conversations of this test.

        The test fails when an agent asks for more than that, or leaves some unused. Call it before
        the conversation starts; called again, it adds replies. With several conversations, give
        each its own by `agent_conversation(script=[…])`.

        Args:
            replies: Made by `say`, `tool`, `error` and `delay`, or functions of the request.

        Raises:
            SettingsError: A reply cannot be used; the message names its place.
        """
        if self._script is None:
            self._script = Script(replies)
        else:
            self._script.extend(replies)

    def connect(
        self, agent: object, gateway: HostGateway, *, script: Sequence[Entry] | None, name: str
    ) -> tuple[dict[str, Any], Lane]:
        """The agent's description with its LLMs led through a new lane, and the lane.

        Skips the test where it has no script and no live LLM is configured.
        """
        source: Source
        if script is not None:
            source = Script(script)
        else:
            source = self._live() if self._script is None else self._script
        lane = gateway.open_lane(source, name=name)
        self._lanes.append(lane)
        if isinstance(source, Script):
            fields, defaults = gateway.llm_fields(lane, SCRIPTED_MODEL), _SCRIPTED_PRICE
        else:
            fields, defaults = gateway.llm_fields(lane, self._environment["LLM_MODEL"]), {}
        return with_each_llm(agent, lambda llm: {**defaults, **llm, **fields}), lane

    def verify(self) -> None:
        """Raises what is wrong with the script's use, now that the test is over."""
        for lane in self._lanes:
            lane.verify()
        if self._script is not None:  # it may be that no conversation was started
            self._script.verify()

    def close(self) -> None:
        """Closes the lanes."""
        for lane in self._lanes:
            lane.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _live(self) -> Source:
        missing = [name for name in ("LLM_MODEL", "LLM_API_KEY") if not self._environment.get(name)]
        if missing:
            pytest.skip(
                f"the test has no agent_llm.script([…]), and {' and '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} not set: set LLM_MODEL and LLM_API_KEY "
                "to run it with a live LLM"
            )
        return upstream_for(
            self._environment["LLM_MODEL"],
            self._environment.get("LLM_BASE_URL") or None,
            SecretStr(self._environment["LLM_API_KEY"]),
        )
