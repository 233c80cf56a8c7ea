"""The fixture `agent_llm`: what a test says of its agent's LLM, and learns of its calls."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest

from pytest_agent_sandbox.errors import FaultUnused
from pytest_agent_sandbox.host.ci import is_in_ci
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.llm.budgets import Budget, Limits
from pytest_agent_sandbox.llm.fault_injection import (
    Cut,
    Delay,
    Faults,
    MalformedArguments,
    ProviderFailure,
)
from pytest_agent_sandbox.llm.pipeline import Policy
from pytest_agent_sandbox.llm.prices import Prices
from pytest_agent_sandbox.llm.script import Script
from pytest_agent_sandbox.plugin.agent_connection import connected_agent, model_variables
from pytest_agent_sandbox.plugin.live_llm import LiveLLM
from pytest_agent_sandbox.plugin.llm_sources import LLMSources
from pytest_agent_sandbox.plugin.opened import OpenResources
from pytest_agent_sandbox.plugin.report.llm_usage import LLMUsage
from pytest_agent_sandbox.plugin.unanswered import Unanswered
from pytest_agent_sandbox.sandbox.gateway import HostGateway, LLMEndpoint

if TYPE_CHECKING:
    from pytest_agent_sandbox.host.redaction import Redactor
    from pytest_agent_sandbox.llm.calls import LLMCall
    from pytest_agent_sandbox.llm.lane import Lane
    from pytest_agent_sandbox.llm.observer import Observer
    from pytest_agent_sandbox.llm.replies import Entry
    from pytest_agent_sandbox.sandbox.workspace import Workspace
    from pytest_agent_sandbox.settings.table import SandboxSettings


class AgentLLM(Closing):
    """The fixture `agent_llm`: the LLM of the agents in one test.

    `agent_llm.script([…])` has the test itself say what the LLM answers. Without a script, the
    answers are replayed from the test's cassette, or recorded from the live LLM that `LLM_MODEL`,
    `LLM_API_KEY` and `LLM_BASE_URL` name: the setting `llm_record` decides. Whatever answers, the
    agent's requests go through the gateway on this machine, and no API key enters the sandbox.

    Args:
        test: The test's node id.
        cassette: The file of its cassette, which need not exist yet.
        settings: The test's settings.
        own: The settings in the test's own markers, and no others: its own budget.
        prices: The prices of LLM calls.
        run_budget: The budget for live LLMs that all tests share.
        secrets: Masks secret values, and learns the keys of this test.
        environment: Holds `LLM_MODEL` and the like.
    """

    def __init__(
        self,
        *,
        test: str,
        cassette: Path,
        settings: SandboxSettings,
        own: SandboxSettings,
        prices: Prices,
        run_budget: Budget,
        secrets: Redactor,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._secrets = secrets
        self._faults = Faults()
        limits = Limits(own.llm_max_cost, own.llm_max_tokens, own.llm_max_calls)
        self._policy = Policy(
            Budget("test", limits),
            prices,
            self._faults,
            settings.llm_provider_tools,
            settings.llm_allow_paths,
        )
        self._sources = LLMSources(
            test=test,
            cassette=cassette,
            settings=settings,
            live=LiveLLM(environment, run_budget),
            prices=prices,
            secrets=secrets,
            is_in_ci=is_in_ci(environment),
        )
        self._lanes = OpenResources["Lane"]("LLM")
        self._endpoints = itertools.count(1)
        #: Why the test is skipped at the latest when it has come to its end.
        self._unanswered = ""
        #: Makes the observer of an endpoint's calls, given the endpoint's name.
        self.observe: Callable[[str], Observer] | None = None

    @property
    def mode(self) -> Literal["scripted", "replayed", "recorded", "live"]:
        """Who answers: a script, the cassette, or a live LLM, whose answers may be recorded."""
        return self._sources.mode

    @property
    def calls(self) -> list[LLMCall]:
        """The LLM calls of all conversations so far, each conversation's in order."""
        return [call for lane in self._lanes for call in lane.calls]

    @property
    def usage(self) -> LLMUsage:
        """The sum of these calls."""
        usage = LLMUsage.of(self.calls)
        usage.notes = list(self._sources.notes)
        usage.cassettes = list(self._sources.written)
        return usage

    @property
    def asides(self) -> list[str]:
        """Sentences that say which scripted replies went to questions beside the agents' work."""
        scripts = {id(lane.source): lane.source for lane in self._lanes}.values()
        asides = [source.asides for source in scripts if isinstance(source, Script)]
        return [text.replace("\n", " ") for text in asides if text]

    def script(self, replies: Sequence[Entry], *, model: str = "") -> None:
        """Set what the LLM answers, reply by reply, to the conversations of this test.

        The test fails if an agent asks for more replies than these, or leaves some unused. Call it
        before the conversation starts; another call adds replies. If there are several
        conversations, give each its own script by `agent_conversation(script=[…])`.

        Args:
            replies: Made by `say`, `tool`, `error` and `delay`, or functions of the request.
            model: The agent's model as LiteLLM spells it. It decides which dialect the agent
                speaks: with `anthropic/claude-sonnet-5` Anthropic's, by default OpenAI's chat
                completions; what `conversation.cost` makes of its tokens; and whether it sees
                images, as the default does.

        Raises:
            SettingsError: A reply cannot be used (the message says which), or the gateway does not
                speak the model's dialect.
            LLMScriptError: A conversation of the test has already started without a script.
        """
        self._sources.script(replies, model)

    def fail_next(
        self,
        status: int,
        message: str = "",
        *,
        retry_after: float | None = None,
        times: int = 1,
    ) -> None:
        """Make the next LLM call fail, whoever would answer it: `fail_next(429, retry_after=1)`.

        Args:
            status: HTTP status of the error, 400 to 599.
            message: The provider's words.
            retry_after: Seconds that the client is told to wait before it tries again.
            times: How many calls fail.

        Raises:
            SettingsError: The status is not that of an error, or a number makes no sense.
        """
        text = message or f"Failed on purpose with {status}."
        self._faults.add(ProviderFailure(status, text, retry_after), times)

    def delay_next(self, seconds: float, *, times: int = 1) -> None:
        """Make the answer to the next LLM call begin so many seconds later."""
        self._faults.add(Delay(seconds), times)

    def cut_next(self, *, after: int = 1, times: int = 1) -> None:
        """Make the connection break off in the middle of the next answer.

        Args:
            after: How many events of a streamed answer arrive; of a whole answer, half of it does.
            times: How many answers are cut.
        """
        self._faults.add(Cut(after), times)

    def malform_next(self, *, times: int = 1) -> None:
        """Make the arguments of the next tool call invalid JSON, as models sometimes write them."""
        self._faults.add(MalformedArguments(self._faults), times)

    def endpoint(
        self, workspace: Workspace, *, script: Sequence[Entry] | None = None, name: str = ""
    ) -> LLMEndpoint:
        """Return where a program in a workspace finds the LLM of this test.

        It is for whatever asks its LLM by itself: openhands-sdk (see `workspace.as_openhands`), or
        a program that `execute_command` starts. Its calls are scripted, replayed, recorded or live
        just as those of a conversation are. Each endpoint counts as another conversation.

        Args:
            workspace: Where the program runs, or the server that the program uses.
            script: What this LLM answers; by default the script of `agent_llm.script`.
            name: The conversation's name in a cassette, the same in each run; by default its
                number.

        Raises:
            SettingsError: The way from the workspace to this machine is not known.
        """
        unanswered = "" if script is not None else self.begin_unscripted("agent_llm.endpoint()")
        if unanswered:
            return cast(LLMEndpoint, Unanswered(unanswered))
        name = name or f"endpoint-{next(self._endpoints)}"
        observer = self.observe(name) if self.observe is not None else None
        lane, model, _ = self._open(workspace.gateway, script, name, workspace.identity, observer)
        return workspace.gateway.endpoint(lane, model)

    def begin_unscripted(self, who: str) -> str:
        """Note that a conversation begins without a script of its own.

        Args:
            who: What begins it, for messages: "agent_conversation()".

        Returns:
            Why nobody would answer it; empty if somebody does.
        """
        self._sources.note_unscripted(who)
        self._unanswered = self._unanswered or self._sources.missing
        return self._sources.missing

    def connect(
        self,
        agent: object,
        gateway: HostGateway,
        *,
        script: Sequence[Entry] | None,
        name: str,
        known: Mapping[str, str],
        observer: Observer | None = None,
    ) -> tuple[dict[str, Any], Lane]:
        """Return the agent's description with its LLMs led through a new lane, and the lane.

        Args:
            agent: Whatever `agent_payload` takes.
            gateway: The gateway that opens the lane.
            script: The conversation's own script, if it has one.
            name: The lane's name, the same in every run.
            known: Names of values in the conversation that are new in every run.
            observer: Told of each call.
        """
        lane, model, defaults = self._open(gateway, script, name, known, observer)
        described = connected_agent(
            agent,
            model,
            gateway.llm_fields(lane, model),
            defaults,
            provider_tools=self._policy.provider_tools,
        )
        return described, lane

    def connect_program(
        self,
        gateway: HostGateway,
        *,
        name: str,
        known: Mapping[str, str],
        observer: Observer | None = None,
    ) -> tuple[dict[str, str], Lane]:
        """Return variables that lead a program's LLM calls through a new lane, and the lane.

        Skip the test if it has neither script nor cassette, nor a live LLM to record one.

        Args:
            gateway: The gateway that opens the lane.
            name: The lane's name, the same in every run.
            known: Names of values in the calls that are new in every run.
            observer: Told of each call.
        """
        if self._sources.missing:
            pytest.skip(self._sources.missing)
        lane, model, _ = self._open(gateway, None, name, known, observer)
        return {**gateway.llm_variables(lane), **model_variables(model)}, lane

    def _open(
        self,
        gateway: HostGateway,
        script: Sequence[Entry] | None,
        name: str,
        known: Mapping[str, str],
        observer: Observer | None,
    ) -> tuple[Lane, str, Mapping[str, float]]:
        """Open a lane; return it, the model's name, and the default fields of the agent's LLM."""
        source, model, defaults = self._sources.choose(script, name, known)
        lane = gateway.open_lane(source, name=name, policy=self._policy, observer=observer)
        self._secrets.add(lane.token)
        self._lanes.add(lane)
        return lane, model, defaults

    def verify(self) -> None:
        """Raise what is wrong with the use of script, cassette and faults after the test."""
        for lane in self._lanes:
            lane.verify()
        self._sources.verify()
        if self._unanswered:
            pytest.skip(self._unanswered)
        left = self._faults.left
        if left:
            raise FaultUnused(
                f"{len(left)} of the faults that were to happen to LLM calls did not, "
                f"{left[0]!r} first: the agent made no more calls that they could happen to."
            )

    def finish(self, *, passed: bool, evidence: Callable[[], Path | None]) -> None:
        """Write the cassette if the test has passed.

        Args:
            passed: Whether the test has passed. The recording of a failed test replaces nothing.
            evidence: Returns a folder for the recording of a failed test, if there is one.

        Raises:
            CassetteError: The cassette cannot be written.
        """
        has_recorded = any(call.origin == "recorded" for call in self.calls)
        self._sources.finish(passed=passed, has_recorded=has_recorded, evidence=evidence)

    def __repr__(self) -> str:
        return f"<AgentLLM: {self._sources.known_mode or 'unused'}, calls: {len(self.calls)}>"

    def close(self) -> None:
        """Close the lanes."""
        for lane in self._lanes.end():
            lane.close()
