"""What an agent's LLM is in one test: a script, a cassette, or a live provider."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import pytest

from pytest_agent_sandbox.client.acp import is_acp, with_variables
from pytest_agent_sandbox.errors import CassetteError, FaultUnused, SettingsError
from pytest_agent_sandbox.host.ci import is_in_ci
from pytest_agent_sandbox.llm.budgets import Budget, Limits
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
from pytest_agent_sandbox.llm.cassettes.player import CassettePlayer
from pytest_agent_sandbox.llm.fault_injection import (
    Cut,
    Delay,
    Faults,
    MalformedArguments,
    ProviderFailure,
)
from pytest_agent_sandbox.llm.models import check_model, speaks_anthropic
from pytest_agent_sandbox.llm.pipeline import Policy
from pytest_agent_sandbox.llm.prices import Prices
from pytest_agent_sandbox.llm.script import Script
from pytest_agent_sandbox.plugin.live_llm import LiveLLM
from pytest_agent_sandbox.plugin.opened import OpenResources
from pytest_agent_sandbox.plugin.report.llm_usage import LLMUsage
from pytest_agent_sandbox.sandbox.gateway import HostGateway, LLMEndpoint, with_each_llm

if TYPE_CHECKING:
    from pytest_agent_sandbox.host.redaction import Redactor
    from pytest_agent_sandbox.llm.calls import LLMCall
    from pytest_agent_sandbox.llm.exchange import Source
    from pytest_agent_sandbox.llm.lane import Lane
    from pytest_agent_sandbox.llm.observer import Observer
    from pytest_agent_sandbox.llm.replies import Entry
    from pytest_agent_sandbox.sandbox.workspace import Workspace
    from pytest_agent_sandbox.settings.table import SandboxSettings

#: The name of the model in scripted tests. LiteLLM's prefix chooses the dialect.
SCRIPTED_MODEL = "openai/scripted"
# US dollars; an agent's own LLM may say otherwise. The server warns of models without a price.
_SCRIPTED_PRICE = {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0}

#: The cassette of a failed test, among its evidence.
_KEPT = "cassette.json"


class AgentLLM:
    """The fixture `agent_llm`: what answers the agent's LLM calls in one test.

    `agent_llm.script([…])` says it in the test itself. Without a script, the answers are replayed
    from the test's cassette, or come from the live LLM that `LLM_MODEL`, `LLM_API_KEY` and
    `LLM_BASE_URL` name, to be recorded: the setting `llm_record` decides. Whatever answers, the
    agent's requests go through the gateway on this machine, and no API key enters the sandbox.

    Args:
        test: The test's node id.
        cassette: Where its cassette is, or is to be.
        settings: The test's settings.
        own: What the test itself says in a marker, and nothing else: its own budget.
        prices: What calls cost.
        run_budget: What all tests together may spend on a live LLM.
        secrets: Masks secret values, and learns the keys of this test.
        environment: Holds `LLM_MODEL` and its like.
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
        self._test = test
        self._cassette = cassette
        self._settings = settings
        self._is_in_ci = is_in_ci(environment)
        self._live = LiveLLM(environment, run_budget)
        self._secrets = secrets
        self._faults = Faults()
        limits = Limits(own.llm_max_cost, own.llm_max_tokens, own.llm_max_calls)
        self._policy = Policy(
            Budget("test", limits), prices, self._faults, settings.llm_provider_tools
        )
        self._normalise = Normaliser(
            secrets, settings.llm_volatile, fields=settings.llm_volatile_fields
        )
        self._script: Script | None = None
        self._script_model = SCRIPTED_MODEL
        self._player: CassettePlayer | None = None
        self._lanes = OpenResources["Lane"]("LLM")
        self._endpoints = itertools.count(1)
        self._notes: list[str] = []
        #: Makes what follows the calls of an `endpoint`, by its name.
        self.observe: Callable[[str], Observer] | None = None

    @property
    def mode(self) -> Literal["scripted", "replayed", "recorded", "live"]:
        """Who answers: a script, the cassette, a live LLM whose answers are recorded, or one."""
        if self._script is not None:
            return "scripted"
        if self._record_mode() == "live":
            return "live"
        return "recorded" if self._opened_player().records else "replayed"

    @property
    def calls(self) -> list[LLMCall]:
        """The LLM calls of all conversations so far, each conversation's in order."""
        return [call for lane in self._lanes for call in lane.calls]

    @property
    def usage(self) -> LLMUsage:
        """What these calls add up to."""
        usage = LLMUsage.of(self.calls)
        usage.notes = list(self._notes)
        return usage

    @property
    def asides(self) -> list[str]:
        """Which replies of scripts went to questions beside the agents' work, in words."""
        scripts = {id(lane.source): lane.source for lane in self._lanes}.values()
        told = [source.asides for source in scripts if isinstance(source, Script)]
        return [text.replace("\n", " ") for text in told if text]

    def script(self, replies: Sequence[Entry], *, model: str = "") -> None:
        """Sets what the LLM answers, reply by reply, to the conversations of this test.

        The test fails when an agent asks for more than that, or leaves some unused. Call it before
        the conversation starts; called again, it adds replies. With several conversations, give
        each its own by `agent_conversation(script=[…])`.

        Args:
            replies: Made by `say`, `tool`, `error` and `delay`, or functions of the request.
            model: The agent's model as LiteLLM spells it; it decides which dialect the agent
                speaks: `anthropic/claude-sonnet-5` Anthropic's. By default OpenAI's chat
                completions.

        Raises:
            SettingsError: A reply cannot be used, the message names its place; or the gateway does
                not speak the model's dialect.
        """
        if model:
            check_model(model)
        if self._script is None:
            self._script = Script(replies)
        else:
            self._script.extend(replies)
        self._script_model = model or self._script_model

    def fail_next(
        self,
        status: int,
        message: str = "",
        *,
        retry_after: float | None = None,
        times: int = 1,
    ) -> None:
        """Has the next LLM call fail, whoever would answer it: `fail_next(429, retry_after=1)`.

        Args:
            status: HTTP status of the error, 400 to 599.
            message: The provider's words.
            retry_after: Seconds that the client is told to wait before it tries again.
            times: How many calls fail.

        Raises:
            SettingsError: The status is none of an error, or a number makes no sense.
        """
        text = message or f"Failed on purpose with {status}."
        self._faults.add(ProviderFailure(status, text, retry_after), times)

    def delay_next(self, seconds: float, *, times: int = 1) -> None:
        """Has the answer to the next LLM call begin so many seconds later."""
        self._faults.add(Delay(seconds), times)

    def cut_next(self, *, after: int = 1, times: int = 1) -> None:
        """Has the connection break off in the middle of the next answer.

        Args:
            after: How many events of a streamed answer arrive; of a whole answer, half of it does.
            times: How many answers are cut.
        """
        self._faults.add(Cut(after), times)

    def malform_next(self, *, times: int = 1) -> None:
        """Has the arguments of the next tool call be no JSON, as models write them now and then."""
        self._faults.add(MalformedArguments(self._faults), times)

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
        """The agent's description with its LLMs led through a new lane, and the lane.

        Skips the test where it has neither a script nor a cassette, and no live LLM to record one.

        Args:
            agent: Whatever `agent_payload` takes.
            gateway: Where the lane is opened.
            script: The conversation's own.
            name: The lane's, the same in every run.
            known: Names of values in the conversation that are new in every run.
            observer: Told of each call.
        """
        lane, model, defaults = self._open(gateway, script, name, known, observer)
        fields = gateway.llm_fields(lane, model)
        described = with_each_llm(agent, lambda llm: {**defaults, **llm, **fields})
        if is_acp(described) and not described.get("acp_model"):
            variables = _model_variables(model)
            if "OPENAI_MODEL" in variables:  # read by codex-acp, the address in it too
                config = {"model": variables["OPENAI_MODEL"], "openai_base_url": fields["base_url"]}
                if not self._policy.provider_tools:  # it asks for this one of its own accord
                    config["web_search"] = "disabled"
                variables["CODEX_CONFIG"] = json.dumps(config)
            described = with_variables(described, variables)
        return described, lane

    def connect_program(
        self,
        gateway: HostGateway,
        *,
        name: str,
        known: Mapping[str, str],
        observer: Observer | None = None,
    ) -> tuple[dict[str, str], Lane]:
        """The variables that lead a program's LLM calls through a new lane, and the lane.

        Args:
            gateway: Where the lane is opened.
            name: The lane's, the same in every run.
            known: Names of values in the calls that are new in every run.
            observer: Told of each call.
        """
        lane, model, _ = self._open(gateway, None, name, known, observer)
        return {**gateway.llm_variables(lane), **_model_variables(model)}, lane

    def _open(
        self,
        gateway: HostGateway,
        script: Sequence[Entry] | None,
        name: str,
        known: Mapping[str, str],
        observer: Observer | None,
    ) -> tuple[Lane, str, dict[str, float]]:
        """A new lane, the model's name, and what its LLM says by default."""
        self._normalise.learn(known)
        source, model, defaults = self._source(script, name)
        lane = gateway.open_lane(source, name=name, policy=self._policy, observer=observer)
        self._secrets.add(lane.token)
        self._lanes.add(lane)
        return lane, model, defaults

    def endpoint(
        self, workspace: Workspace, *, script: Sequence[Entry] | None = None, name: str = ""
    ) -> LLMEndpoint:
        """Where a program in a workspace finds the LLM of this test.

        For whatever asks its LLM by itself: openhands-sdk (see `workspace.as_openhands`), a program
        that `execute_command` starts. Its calls are scripted, replayed, recorded or live as those
        of a conversation are. Each call of this is the beginning of another conversation.

        Args:
            workspace: Where the program runs, or the server that the program uses.
            script: What this LLM answers; by default that of `agent_llm.script`.
            name: Of the conversation in a cassette, the same in each run; by default its number.

        Raises:
            SettingsError: The way from the workspace to this machine is not known.
        """
        name = name or f"endpoint-{next(self._endpoints)}"
        observer = self.observe(name) if self.observe is not None else None
        lane, model, _ = self._open(workspace.gateway, script, name, workspace.identity, observer)
        return workspace.gateway.endpoint(lane, model)

    def verify(self) -> None:
        """Raises what is wrong with the use of script, cassette and faults after the test."""
        for lane in self._lanes:
            lane.verify()
        if self._script is not None:  # it may be that no conversation was started
            self._script.verify()
        self._verify_player()
        left = self._faults.left
        if left:
            raise FaultUnused(
                f"{len(left)} of the faults that were to happen to LLM calls did not, "
                f"{left[0]!r} first: the agent made no more calls that they could happen to."
            )

    def finish(self, *, passed: bool, evidence: Callable[[], Path | None]) -> None:
        """Writes the cassette where the test has passed.

        Args:
            passed: Whether it has. What a failed test recorded replaces nothing.
            evidence: Tells a folder for what a failed test has recorded, if there is one.

        Raises:
            CassetteError: The cassette cannot be written.
        """
        player = self._player
        if player is None:
            return
        model = self._live.model or player.model
        self._notes += player.drift
        if passed:
            try:
                problem = player.save(model)
            except CassetteError as error:
                folder = evidence()
                if folder is not None and not player.save(model, folder / _KEPT):
                    error.add_note(f"What was recorded is in {folder / _KEPT}")
                raise
            self._notes += [problem] if problem else []
        elif any(call.origin == "recorded" for call in self.calls):
            self._keep_as_evidence(player, model, evidence())

    def _keep_as_evidence(self, player: CassettePlayer, model: str, folder: Path | None) -> None:
        note = f"{player.where} was left as it is, for the test did not pass"
        if folder is not None:
            problem = player.save(model, folder / _KEPT)
            note += f"; {problem or f'what was recorded is in {folder / _KEPT}'}"
        self._notes.append(note)

    def close(self) -> None:
        """Closes the lanes."""
        for lane in self._lanes.end():
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

    def _source(
        self, script: Sequence[Entry] | None, name: str
    ) -> tuple[Source, str, dict[str, float]]:
        """Who answers a conversation, as which model, and what its LLM says by default."""
        if script is not None:
            return Script(script), self._script_model, _SCRIPTED_PRICE
        if self._script is not None:
            return self._script, self._script_model, _SCRIPTED_PRICE
        if self._record_mode() == "live":
            self._skip_without_live()
            return self._live_source(), self._live.model, {}
        player = self._opened_player()
        if player.records:
            self._check_can_record(player)
            return player.source(name, self._live_source()), self._live.model, {}
        if not player.is_there and not self._settings.llm_record and not self._is_in_ci:
            self._skip_without_live()
        return player.source(name, None), player.model or SCRIPTED_MODEL, {}

    def _record_mode(self) -> Literal["none", "once", "new_episodes", "all", "live"]:
        if self._settings.llm_record is not None:
            return self._settings.llm_record
        return "none" if self._is_in_ci or self._live.missing else "once"

    def _opened_player(self) -> CassettePlayer:
        if self._player is None:
            mode = self._record_mode()
            assert mode != "live"
            self._player = CassettePlayer(
                self._cassette,
                test=self._test,
                mode=mode,
                match=self._settings.llm_match or ("strict" if self._is_in_ci else "lenient"),
                normalise=self._normalise,
            )
        return self._player

    def _verify_player(self) -> None:
        player = self._player
        if player is None:  # no conversation has asked for it
            return
        player.check()
        if self._settings.llm_unused == "fail":
            player.verify()
        elif player.unused():
            self._notes.append(player.unused())

    def _live_source(self) -> Source:
        self._secrets.add(self._live.key)
        self._policy.prices.prepare()
        return self._live.source()

    def _check_can_record(self, player: CassettePlayer) -> None:
        if self._live.missing:
            raise SettingsError(
                f"llm_record = {self._settings.llm_record} has to ask a live LLM, and "
                f"{self._live.missing}."
            )
        if player.model and player.model != self._live.model:
            raise SettingsError(
                f"{player.where} was recorded with {player.model}, and LLM_MODEL is "
                f"{self._live.model}: set it to that, or record all anew with --llm-record=all."
            )

    def _skip_without_live(self) -> None:
        if self._live.missing:
            pytest.skip(
                "the test has no agent_llm.script([…]) and no cassette, and "
                f"{self._live.missing}: set LLM_MODEL and LLM_API_KEY to run it with a live LLM"
            )


def _model_variables(model: str) -> dict[str, str]:
    """The environment variables that tell a program which model it is to ask for.

    Args:
        model: As LiteLLM spells it.
    """
    if model == SCRIPTED_MODEL:
        return {}  # no program knows such a model: it had better ask for its own
    own = "ANTHROPIC_MODEL" if speaks_anthropic(model) else "OPENAI_MODEL"
    return {"LLM_MODEL": model, own: model.partition("/")[2] or model}
