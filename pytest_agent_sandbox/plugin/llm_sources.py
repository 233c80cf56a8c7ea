"""The sources of one test's LLM answers: its script, its cassette, or a live LLM."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pytest_agent_sandbox.errors import CassetteError, LLMScriptError, SettingsError
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
from pytest_agent_sandbox.llm.cassettes.player import CassettePlayer
from pytest_agent_sandbox.llm.models import check_model
from pytest_agent_sandbox.llm.script import Script
from pytest_agent_sandbox.plugin.report.skips import nobody_answers

if TYPE_CHECKING:
    from pytest_agent_sandbox.host.redaction import Redactor
    from pytest_agent_sandbox.llm.exchange import Source
    from pytest_agent_sandbox.llm.prices import Prices
    from pytest_agent_sandbox.llm.replies import Entry
    from pytest_agent_sandbox.plugin.live_llm import LiveLLM
    from pytest_agent_sandbox.settings.table import SandboxSettings

#: The name of the model in scripted tests. LiteLLM's prefix chooses the dialect.
SCRIPTED_MODEL = "openai/scripted"
# Unless an agent's own LLM sets them: the server (1.58) warns of models without a price, and keeps
# images from those that it does not know.
_SCRIPTED = {
    "input_cost_per_token": 0.0,
    "output_cost_per_token": 0.0,
    "capability_overrides": {"supports_vision": True},
}

#: The cassette of a failed test, among its evidence.
_KEPT = "cassette.json"


class ChosenSource(NamedTuple):
    """The source that answers one conversation.

    Attributes:
        source: The source.
        model: The model's name for the agent, as LiteLLM spells it.
        defaults: Fields of the agent's LLM that apply unless the agent sets them itself.
    """

    source: Source
    model: str
    defaults: Mapping[str, Any]


class LLMSources:
    """The sources of one test's LLM answers, and the choice among them.

    Args:
        test: The test's node id.
        cassette: The file of its cassette, which need not exist yet.
        settings: The test's settings.
        live: The live LLM.
        prices: The prices of LLM calls.
        secrets: Masks secret values, and learns the live LLM's key.
        is_in_ci: Whether the run is in CI.
    """

    def __init__(
        self,
        *,
        test: str,
        cassette: Path,
        settings: SandboxSettings,
        live: LiveLLM,
        prices: Prices,
        secrets: Redactor,
        is_in_ci: bool,
    ) -> None:
        self._test = test
        self._cassette = cassette
        self._settings = settings
        self._live = live
        self._prices = prices
        self._secrets = secrets
        self._is_in_ci = is_in_ci
        self._normalise = Normaliser(
            secrets, settings.llm_volatile, fields=settings.llm_volatile_fields
        )
        self._script: Script | None = None
        self._script_model = SCRIPTED_MODEL
        self._player: CassettePlayer | None = None
        #: Who was given another source than a script, first of all.
        self._unscripted = ""
        #: Remarks for the end of the run.
        self.notes: list[str] = []
        #: The cassettes that were written, as paths for messages.
        self.written: list[str] = []

    @property
    def mode(self) -> Literal["scripted", "replayed", "recorded", "live"]:
        """The kind of source that answers a conversation without a script of its own."""
        if self._script is not None:
            return "scripted"
        if self._record_mode() == "live":
            return "live"
        return "recorded" if self._opened_player().records else "replayed"

    @property
    def known_mode(self) -> str:
        """The same, where it is known without a look at the cassette; else empty."""
        if self._script is None and self._player is None and self._record_mode() != "live":
            return ""
        return self.mode

    def script(self, replies: Sequence[Entry], model: str) -> None:
        """Start the test's script, or add replies to it.

        Args:
            replies: The replies.
            model: The agent's model as LiteLLM spells it; empty to leave it as it is.

        Raises:
            SettingsError: A reply cannot be used, or the gateway does not speak the model's
                dialect.
            LLMScriptError: A conversation has started without it.
        """
        if self._script is None and self._unscripted:
            raise LLMScriptError(
                f"agent_llm.script([…]) comes too late: {self._unscripted} was called before it, "
                "and so has no script. Call agent_llm.script([…]) first, then "
                f"{self._unscripted}; or give it a script of its own, by script=[…]."
            )
        if model:
            check_model(model)
        if self._script is None:
            self._script = Script(replies)
        else:
            self._script.extend(replies)
        self._script_model = model or self._script_model

    @property
    def missing(self) -> str:
        """Why nobody answers a conversation without a script of its own; empty if somebody does."""
        if self._script is not None:
            return ""
        settings = self._settings
        if settings.llm_record != "live" and (
            settings.llm_record or self._is_in_ci or self._cassette.exists()
        ):
            return ""
        return nobody_answers(self._live.missing) if self._live.missing else ""

    def note_unscripted(self, who: str) -> None:
        """Note who is without a script unless the test has one by now: "agent_conversation()"."""
        if self._script is None:
            self._unscripted = self._unscripted or who

    def choose(
        self, script: Sequence[Entry] | None, name: str, known: Mapping[str, str]
    ) -> ChosenSource:
        """Return the source for a conversation, which somebody answers: see `missing`.

        Args:
            script: The conversation's own script, if it has one.
            name: The name of its lane, the same in every run.
            known: Names of values in the conversation that are new in every run.

        Raises:
            CassetteError: The cassette cannot be read.
            SettingsError: A live LLM is needed, and none is set or it is another than recorded.
        """
        self._normalise.learn(known)
        if script is not None:
            return ChosenSource(Script(script), self._script_model, self._scripted_fields)
        if self._script is not None:
            return ChosenSource(self._script, self._script_model, self._scripted_fields)
        if self._record_mode() == "live":
            return ChosenSource(self._live_source(), self._live.model, {})
        player = self._opened_player()
        if player.records:
            self._check_can_record(player)
            source = player.source(name, self._live_source())
            return ChosenSource(source, self._live.model, {})
        return ChosenSource(player.source(name, None), player.model or SCRIPTED_MODEL, {})

    @property
    def _scripted_fields(self) -> Mapping[str, Any]:
        """Return what the server is to know of a scripted model; of others it has a list."""
        return _SCRIPTED if self._script_model == SCRIPTED_MODEL else {}

    def verify(self) -> None:
        """Raise what is wrong with the use of script and cassette, or note it if it is let pass."""
        if self._script is not None:  # also if no conversation has started
            self._script.verify()
        player = self._player
        if player is None:  # no conversation has asked for it
            return
        player.check()
        if self._settings.llm_unused == "fail":
            player.verify()
        elif player.unused():
            self.notes.append(player.unused())

    def finish(
        self, *, passed: bool, has_recorded: bool, evidence: Callable[[], Path | None]
    ) -> None:
        """Write the cassette if the test has passed.

        Args:
            passed: Whether the test has passed. The recording of a failed test replaces nothing.
            has_recorded: Whether the test has recorded anything.
            evidence: Returns a folder for the recording of a failed test, if there is one.

        Raises:
            CassetteError: The cassette cannot be written.
        """
        player = self._player
        if player is None:
            return
        model = self._live.model or player.model
        self.notes += player.drift
        if passed:
            try:
                problem = player.save(model)
            except CassetteError as error:
                folder = evidence()
                if folder is not None and not player.save(model, folder / _KEPT):
                    error.add_note(f"What was recorded is in {folder / _KEPT}")
                raise
            self.notes += [problem] if problem else []
            self.written += [player.where] if player.is_written else []
        elif has_recorded:
            self._keep_as_evidence(player, model, evidence())

    def _keep_as_evidence(self, player: CassettePlayer, model: str, folder: Path | None) -> None:
        left = "left as it is" if player.is_there else "not written"
        note = f"{player.where} was {left}, for the test did not pass"
        if folder is not None:
            incomplete = player.incomplete()
            if not incomplete:
                player.save(model, folder / _KEPT)
            note += f"; {incomplete or f'what was recorded is in {folder / _KEPT}'}"
        self.notes.append(note)

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

    def _live_source(self) -> Source:
        self._secrets.add(self._live.key)
        self._prices.prepare()
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
