"""One conversation's part of a tape: what is played, what is recorded, what is missed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_agent_sandbox.errors import CassetteMiss
from pytest_agent_sandbox.llm.cassettes import miss
from pytest_agent_sandbox.llm.cassettes.canonical import (
    CanonicalRequest,
    canonical_request,
    request_as_it_came,
)
from pytest_agent_sandbox.llm.cassettes.cassette import Interaction, RecordedAnswer
from pytest_agent_sandbox.llm.cassettes.held import HeldRequest, Shelf
from pytest_agent_sandbox.llm.cassettes.recording import Recording, play, scrubbed_answer
from pytest_agent_sandbox.llm.encodings import told

if TYPE_CHECKING:
    from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
    from pytest_agent_sandbox.llm.exchange import Answer, Exchange, Source

Match = Literal["strict", "lenient"]


@dataclass
class Slot:
    """A recorded interaction, which is served once."""

    request: HeldRequest
    answer: RecordedAnswer
    is_used: bool = False


@dataclass
class TapeState:
    """What the lanes of a tape share."""

    #: Where the cassette is, as people look for it.
    where: str
    #: Whether a cassette is there, and how many conversations it holds.
    is_there: bool
    conversations: int
    #: Whether requests that are not in the cassette go to the provider.
    records: bool
    match: Match
    normalise: Normaliser
    #: The command that records the test.
    how_to_record: str
    #: The first request that was not there, in words; empty where there is none.
    missed: str = ""


class TapeLane:
    """One conversation's part of a tape, as a source of answers.

    Args:
        tape: What all lanes of the tape share.
        name: The conversation's.
        recorded: What may be played.
        upstream: Where the rest comes from.
    """

    def __init__(
        self, tape: TapeState, name: str, recorded: list[Slot], upstream: Source | None
    ) -> None:
        self.recorded = recorded
        #: What was asked for in this run, in order: played or recorded.
        self.used: list[Slot | Recording] = []
        self.drift: list[str] = []
        self._drifted: set[str] = set()
        self._tape = tape
        self._name = name
        self._upstream = upstream
        #: Of what is recorded, as it came: all that is a secret is known only in the end.
        self._shelf = Shelf()

    async def answer(self, exchange: Exchange) -> Answer:
        """The recorded answer, or the provider's where the tape records."""
        if self.recorded:
            request = canonical_request(request_as_it_came(exchange), self._tape.normalise)
            slot = self._find(request, exchange)
            if slot is not None:
                if not slot.is_used:
                    self.used.append(slot)
                slot.is_used = True
                return play(slot.answer, exchange)
        if self._tape.records and self._upstream is not None:
            return await self._record(exchange, self._upstream)
        request = canonical_request(request_as_it_came(exchange), self._tape.normalise)
        message = self._miss(request, exchange)
        if exchange.method != "GET":  # which models there are decides nothing
            self._tape.missed = self._tape.missed or message
        return exchange.refuse(message)

    def check(self) -> None:
        """Raise what makes it pointless to wait for the agent any longer.

        Raises:
            CassetteMiss: It asked for something that was not recorded.
            BudgetExceeded: A call was refused for want of budget.
        """
        if self._tape.missed:
            raise CassetteMiss(self._tape.missed)
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
        """Answers that cannot be kept, and that the agent has not got by asking again."""
        recordings = [use for use in self.used if isinstance(use, Recording)]
        for position, recording in enumerate(recordings):
            again = recordings[position + 1 :]
            is_made_up = any(
                other.state == "kept" and other.digest == recording.digest for other in again
            )
            call = f"call {recording.call.number} of conversation {self._name}"
            if recording.state in ("open", "broken") and not is_made_up:
                yield f"the answer to {call} is not complete"
            elif recording.state == "unreadable" and not is_made_up:
                yield f"the answer to {call} cannot be read: {told(recording.encoding)}"
            elif recording.state == "dropped" and recording.was_asked and not is_made_up:
                yield f"{call} ended in an error of the provider"

    def interactions(self) -> Iterator[Interaction]:
        """What a cassette is to hold of this conversation after this run."""
        normalise = self._tape.normalise
        for use in self.used:
            if isinstance(use, Slot):
                answer = scrubbed_answer(use.answer, normalise.scrub)
                yield Interaction(use.request.whole(), answer)
            elif use.state == "kept":
                request = canonical_request(use.request.whole(), normalise)
                yield use.interaction(request, normalise.scrub)

    async def _record(self, exchange: Exchange, upstream: Source) -> Answer:
        recording = Recording(exchange, self._shelf.hold(request_as_it_came(exchange)))
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

    def _find(self, request: CanonicalRequest, exchange: Exchange) -> Slot | None:
        """The recording to serve."""
        unused = [slot for slot in self.recorded if not slot.is_used or request.method == "GET"]
        for slot in unused:
            if slot.request.key == request.key:
                return slot
        if self._tape.match == "strict":
            return None
        for slot in unused:
            if slot.request.skeleton == request.skeleton:
                self._note_drift(slot.request.whole(), request, exchange)
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
                f"{tape.how_to_record}. Or give the test a script: agent_llm.script([…])."
            )
        if not self.recorded:
            return (
                f"The agent's LLM call {call} is of conversation {self._name}, and {tape.where} "
                f"holds {tape.conversations} in all. If there is to be one more, record anew: "
                f"{tape.how_to_record}."
            )
        asked = f"The agent's LLM call {call} in conversation {self._name} is not in {tape.where}."
        unused = [
            (slot, number)
            for number, slot in enumerate(self.recorded, start=1)
            if not slot.is_used and slot.request.method != "GET"
        ]
        if not unused:
            return (
                f"{asked} All {len(self.recorded)} recorded answers of that conversation are used "
                f"up. If the agent is meant to ask more, record anew: {tape.how_to_record}."
            )
        nearest, number = max(
            unused,
            key=lambda pair: (miss.likeness(pair[0].request.whole(), request), -pair[1]),
        )
        recorded = nearest.request.whole()
        advice = f"If the change is meant, record anew: {tape.how_to_record}."
        if recorded.skeleton == request.skeleton:
            advice = (
                "Only what a tool printed is different: --llm-match=lenient serves the recording "
                f"all the same, and a pattern in llm_volatile hides what never stays. {advice}"
            )
        difference = miss.describe_difference(recorded, request)
        return (
            f"{asked} The nearest is recording {number}, which differs in:\n{difference}\n{advice}"
        )
