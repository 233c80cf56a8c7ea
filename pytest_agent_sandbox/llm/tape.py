"""A tape: one test's cassette in use, played, recorded, or both."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_agent_sandbox.errors import CassetteMiss, CassetteUnused
from pytest_agent_sandbox.llm import miss
from pytest_agent_sandbox.llm.canonical import CanonicalRequest, canonical, canonical_request
from pytest_agent_sandbox.llm.cassette import Cassette, Interaction
from pytest_agent_sandbox.llm.recording import Recording, play

if TYPE_CHECKING:
    from pytest_agent_sandbox.llm.exchange import Answer, Exchange, Source
    from pytest_agent_sandbox.llm.normalising import Normaliser

RecordMode = Literal["none", "once", "new_episodes", "all"]
Match = Literal["strict", "lenient"]

#: Seconds that the last answers get to be complete, once the agent is done.
_SETTLE_TIMEOUT = 2.0


class Tape:
    """One test's cassette in use.

    Args:
        file: Where the cassette is, or is to be.
        test: The test's node id.
        mode: `none` replays and nothing else; `once` replays where there is a cassette, and records
            where there is none; `new_episodes` replays what was recorded and records the rest;
            `all` records everything anew.
        match: `strict`, or `lenient` to serve a recording as well where nothing but what tools
            printed is different.
        normalise: Takes out of requests what differs in every run.

    Raises:
        CassetteError: The file is no cassette that can be read.
    """

    def __init__(
        self, file: Path, *, test: str, mode: RecordMode, match: Match, normalise: Normaliser
    ) -> None:
        self.file = file
        self.normalise = normalise
        self.match = match
        self._test = test
        self._mode = mode
        #: Whether a cassette is there.
        self.is_there = file.exists()
        #: Whether requests that are not in the cassette go to the provider.
        self.records = mode in ("all", "new_episodes") or (mode == "once" and not self.is_there)
        self._lanes: dict[str, TapeLane] = {}
        self._failure: CassetteMiss | None = None
        if self.is_there and mode != "all":
            self._recorded = Cassette.load(file)
        else:
            self._recorded = Cassette(test, "")

    @property
    def where(self) -> str:
        """The cassette's place as people look for it: below the current folder where it is."""
        here = Path.cwd()
        return str(self.file.relative_to(here) if here in self.file.parents else self.file)

    @property
    def model(self) -> str:
        """The agent's model at the time of the recording; empty where there is none to replay."""
        return self._recorded.model

    @property
    def conversations(self) -> int:
        """How many conversations the cassette holds."""
        return len(self._recorded.lanes)

    def lane(self, name: str, upstream: Source | None) -> TapeLane:
        """One conversation's part of the tape.

        Args:
            name: The same in every run.
            upstream: Where what is not recorded comes from; needed where this tape records.
        """
        recorded = [
            _Slot(self._renormalised(interaction))
            for interaction in self._recorded.lanes.get(name, ())
        ]
        self._lanes[name] = TapeLane(self, name, recorded, upstream)
        return self._lanes[name]

    def miss(self, message: str) -> None:
        """Note that something was asked for that is not there."""
        if self._failure is None:
            self._failure = CassetteMiss(message)

    def check(self) -> None:
        """Raise what was missed.

        Raises:
            CassetteMiss: The agent asked for something that was not recorded.
        """
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    def unused(self) -> str:
        """Which recorded answers nobody has asked for; empty where there are none."""
        if self.records:  # then they are no longer there after the test
            return ""
        left = []
        for name, recorded in self._recorded.lanes.items():
            used = (
                self._lanes[name].recorded if name in self._lanes else [_Slot(r) for r in recorded]
            )
            left += [
                f"  conversation {name}, recording {number}: {slot.interaction.request.path}"
                for number, slot in enumerate(used, start=1)
                if not slot.is_used and slot.interaction.request.method != "GET"
            ]
        if not left:
            return ""
        return (
            f"The agent never asked for {len(left)} of the answers in {self.where}:\n"
            + "\n".join(left)
            + f"\nWhere that is meant, record anew: pytest {self._test!r} --llm-record=all. "
            "--llm-unused=warn lets it pass."
        )

    def verify(self) -> None:
        """Raise what is wrong now that the agents are done.

        Raises:
            CassetteMiss: See `check`.
            CassetteUnused: Recorded answers are left.
        """
        self.check()
        unused = self.unused()
        if unused:
            raise CassetteUnused(unused)

    @property
    def drift(self) -> list[str]:
        """What was served although a tool had printed something else."""
        return [line for lane in self._lanes.values() for line in lane.drift]

    def save(self, model: str, file: Path | None = None) -> str:
        """Write what was played and recorded; nothing where the cassette holds just that.

        Args:
            model: The agent's model as LiteLLM spells it.
            file: Where to, if not to the cassette's own place.

        Returns:
            Why it was not written although there is something new; else empty.

        Raises:
            CassetteError: The file cannot be written.
        """
        if not self.records:
            return ""
        self._settle()
        broken = [line for lane in self._lanes.values() for line in lane.broken()]
        if broken:
            return f"{self.where} was not written: {'; '.join(broken)}"
        lanes = {name: list(lane.interactions()) for name, lane in self._lanes.items()}
        if any(lanes.values()) and (file or not self._is_as_recorded()):
            Cassette(self._test, model, lanes).save(file or self.file)
        return ""

    def how_to_record(self) -> str:
        """The command that records this test."""
        mode = "all" if self.is_there else "once"
        return f"pytest {self._test!r} --llm-record={mode}, with LLM_MODEL and LLM_API_KEY set"

    def _is_as_recorded(self) -> bool:
        """Whether all that was asked for was in the cassette, and the other way round."""
        return all(lane.is_as_recorded for lane in self._lanes.values()) and (
            set(self._recorded.lanes) <= set(self._lanes)
        )

    def _renormalised(self, interaction: Interaction) -> Interaction:
        """With today's patterns: those of the day of recording may have been fewer."""
        old = interaction.request
        new = canonical(old.dialect, old.method, old.path, old.body, self.normalise)
        return Interaction(new, interaction.answer)

    def _settle(self) -> None:
        """Wait a little for answers whose last bytes are on their way."""
        deadline = time.monotonic() + _SETTLE_TIMEOUT
        while any(lane.is_open for lane in self._lanes.values()) and time.monotonic() < deadline:
            time.sleep(0.005)


@dataclass
class _Slot:
    """A recorded interaction, which is served once."""

    interaction: Interaction
    is_used: bool = False


class TapeLane:
    """One conversation's part of a tape, as a source of answers.

    Args:
        tape: What it is a part of.
        name: The conversation's.
        recorded: What may be played.
        upstream: Where the rest comes from.
    """

    def __init__(
        self, tape: Tape, name: str, recorded: list[_Slot], upstream: Source | None
    ) -> None:
        self.recorded = recorded
        #: What was asked for in this run, in order: played or recorded.
        self.used: list[Interaction | Recording] = []
        self.drift: list[str] = []
        self._drifted: set[str] = set()
        self._tape = tape
        self._name = name
        self._upstream = upstream

    async def answer(self, exchange: Exchange) -> Answer:
        """The recorded answer, or the provider's where the tape records."""
        if self.recorded:
            request = canonical_request(exchange, self._tape.normalise)
            slot = self._find(request, exchange)
            if slot is not None:
                slot.is_used = True
                self.used.append(slot.interaction)
                return play(slot.interaction.answer, exchange)
        if self._tape.records and self._upstream is not None:
            return await self._record(exchange, self._upstream)
        request = canonical_request(exchange, self._tape.normalise)
        message = self._miss(request, exchange)
        if exchange.method != "GET":  # which models there are decides nothing
            self._tape.miss(message)
        return exchange.refuse(message)

    def check(self) -> None:
        """Raise what makes it pointless to wait for the agent any longer.

        Raises:
            CassetteMiss: It asked for something that was not recorded.
            BudgetExceeded: A call was refused for want of budget.
        """
        self._tape.check()
        if self._upstream is not None:
            self._upstream.check()

    def verify(self) -> None:
        """Raise what `check` does; the whole tape's `verify` tells what was not used."""
        self.check()

    @property
    def is_open(self) -> bool:
        """Whether an answer is still under way."""
        return any(isinstance(use, Recording) and use.state == "open" for use in self.used)

    @property
    def is_as_recorded(self) -> bool:
        """Whether everything was played, and nothing recorded."""
        return all(slot.is_used for slot in self.recorded) and not any(
            isinstance(use, Recording) and use.state == "kept" for use in self.used
        )

    def broken(self) -> Iterator[str]:
        """Answers that cannot be kept."""
        for use in self.used:
            if isinstance(use, Recording) and use.state in ("open", "broken"):
                number = use.exchange.call.number
                yield f"the answer to call {number} of conversation {self._name} is not complete"

    def interactions(self) -> Iterator[Interaction]:
        """What a cassette is to hold of this conversation after this run."""
        normalise = self._tape.normalise
        for use in self.used:
            if isinstance(use, Interaction):
                yield use
            elif use.state == "kept":
                request = canonical_request(use.exchange, normalise)
                yield use.interaction(request, normalise.scrub)

    async def _record(self, exchange: Exchange, upstream: Source) -> Answer:
        recording = Recording(exchange)
        self.used.append(recording)
        try:
            answer = await upstream.answer(exchange)
        except BaseException:
            recording.abandon()
            raise
        if exchange.call.origin is None:  # refused before it reached the provider
            recording.state = "dropped"
            return answer
        exchange.call.origin = "recorded"
        return recording.keep(answer)

    def _find(self, request: CanonicalRequest, exchange: Exchange) -> _Slot | None:
        """The recording to serve."""
        unused = [slot for slot in self.recorded if not slot.is_used or request.method == "GET"]
        for slot in unused:
            if slot.interaction.request.key == request.key:
                return slot
        if self._tape.match == "strict":
            return None
        for slot in unused:
            if slot.interaction.request.skeleton == request.skeleton:
                self._note_drift(slot.interaction.request, request, exchange)
                return slot
        return None

    def _note_drift(
        self, recorded: CanonicalRequest, asked: CanonicalRequest, exchange: Exchange
    ) -> None:
        # What one call has seen, all calls after it see again.
        drifted = miss.drifted_messages(recorded, asked)
        if drifted <= self._drifted:
            return
        self._drifted |= drifted
        difference = miss.describe_difference(recorded, asked)
        self.drift.append(
            f"call {exchange.call.number} of conversation {self._name} was served from the "
            f"cassette although a tool printed something else:\n{difference}"
        )

    def _miss(self, request: CanonicalRequest, exchange: Exchange) -> str:
        tape, call = self._tape, exchange.call.number
        if not tape.is_there:
            return (
                f"There is no cassette {tape.where} for the agent's LLM calls. Record it: "
                f"{tape.how_to_record()}. Or give the test a script: agent_llm.script([…])."
            )
        if not self.recorded:
            return (
                f"The agent's LLM call {call} is of conversation {self._name}, and {tape.where} "
                f"holds {tape.conversations} in all. If there is to be one more, record anew: "
                f"{tape.how_to_record()}."
            )
        asked = f"The agent's LLM call {call} in conversation {self._name} is not in {tape.where}."
        unused = [
            (slot, number)
            for number, slot in enumerate(self.recorded, start=1)
            if not slot.is_used and slot.interaction.request.method != "GET"
        ]
        if not unused:
            return (
                f"{asked} All {len(self.recorded)} recorded answers of that conversation are used "
                f"up. If the agent is meant to ask more, record anew: {tape.how_to_record()}."
            )
        nearest, number = max(
            unused,
            key=lambda pair: (miss.likeness(pair[0].interaction.request, request), -pair[1]),
        )
        recorded = nearest.interaction.request
        advice = f"If the change is meant, record anew: {tape.how_to_record()}."
        if recorded.skeleton == request.skeleton:
            advice = (
                "Only what a tool printed is different: --llm-match=lenient serves the recording "
                f"all the same, and a pattern in llm_volatile hides what never stays. {advice}"
            )
        difference = miss.describe_difference(recorded, request)
        return (
            f"{asked} The nearest is recording {number}, which differs in:\n{difference}\n{advice}"
        )
