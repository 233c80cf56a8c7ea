"""The cassette as a source of answers: it replays and records the calls of one conversation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_agent_sandbox.errors import CassetteMiss
from pytest_agent_sandbox.llm.cassettes import differences
from pytest_agent_sandbox.llm.cassettes.canonical import (
    CanonicalRequest,
    canonical_request,
    request_as_it_came,
)
from pytest_agent_sandbox.llm.cassettes.cassette import Interaction, StoredInteraction
from pytest_agent_sandbox.llm.cassettes.new_interaction import NewInteraction
from pytest_agent_sandbox.llm.cassettes.replay import replay
from pytest_agent_sandbox.llm.cassettes.request_store import RequestStore
from pytest_agent_sandbox.llm.cassettes.scrubbing import scrubbed_answer
from pytest_agent_sandbox.llm.encodings import why_unreadable
from pytest_agent_sandbox.llm.heavy import LARGE

if TYPE_CHECKING:
    from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
    from pytest_agent_sandbox.llm.exchange import Answer, Exchange, Source

#: Characters that are normalised while the event loop waits: in 10 ms, at worst in 40.
_MOST_NEW = 32 * 1024
#: Seconds that the event loop waits for a recording to be found.
_AT_ONCE = 0.01

Match = Literal["strict", "lenient"]


@dataclass(frozen=True)
class Miss:
    """A request that is not in the cassette.

    Attributes:
        message: Ten lines, with the difference first.
        difference: The whole difference to the nearest recording; empty if the message holds it.
    """

    message: str
    difference: str = ""


@dataclass
class PlayerState:
    """The state that all sources of a player share."""

    #: The cassette's path for messages.
    where: str
    #: Whether the cassette exists, and how many conversations it holds.
    is_there: bool
    conversations: int
    #: Whether requests that are not in the cassette go to the provider.
    records: bool
    match: Match
    normalise: Normaliser
    #: The command that records the test.
    how_to_record: str
    #: What there is to say of the first request that was not in the cassette.
    missed: Miss | None = None

    def check(self) -> None:
        """Raise if a request was not in the cassette.

        Raises:
            CassetteMiss: One was not.
        """
        if self.missed is not None:
            raise CassetteMiss(self.missed.message, difference=self.missed.difference)


class CassetteSource:
    """A source of answers for one conversation: the cassette, and the provider if it records.

    Args:
        player: The state that all sources of the player share.
        name: The name of the conversation's lane.
        recorded: The interactions to replay.
        live: Answers what is not among them, to be recorded.
    """

    def __init__(
        self,
        player: PlayerState,
        name: str,
        recorded: list[StoredInteraction],
        live: Source | None,
    ) -> None:
        self.recorded = recorded
        #: The interactions of this run, in order: replayed or recorded.
        self.used: list[StoredInteraction | NewInteraction] = []
        self.drift: list[str] = []
        self._drifted: set[str] = set()
        self._player = player
        self._name = name
        self._live = live
        #: New requests as they came; they are scrubbed at the end, when all secrets are known.
        self._new_requests = RequestStore()

    async def answer(self, exchange: Exchange) -> Answer:
        """Return the recorded answer, or the provider's if the player records."""
        if self.recorded:
            request = await self._canonical(exchange)
            interaction = await exchange.work(lambda: self._take_near(request))
            if interaction is None:
                interaction = await exchange.work(
                    lambda: self._take_any(request, exchange), is_heavy=True
                )
            if interaction is not None:
                return replay(interaction.answer, exchange)
        if self._player.records and self._live is not None:
            return await self._record(exchange, self._live)
        request = await self._canonical(exchange)
        miss = await exchange.work(lambda: self._explain_miss(request, exchange), is_heavy=True)
        if exchange.method != "GET":  # a list of models decides nothing
            self._player.missed = self._player.missed or miss
        return exchange.refuse(miss.message)

    def check(self) -> None:
        """Raise what makes it pointless to wait for the agent any longer.

        Raises:
            CassetteMiss: The agent asked for something that was not recorded.
            BudgetExceeded: A call was refused because the budget was used up.
        """
        self._player.check()
        if self._live is not None:
            self._live.check()

    def verify(self) -> None:
        """Raise what `check` raises; the player's own `verify` finds answers that are left."""
        self.check()

    @property
    def is_open(self) -> bool:
        """True while an answer is under way."""
        return any(new.state == "open" for new in self._new())

    @property
    def is_as_recorded(self) -> bool:
        """True if everything was replayed, and nothing recorded."""
        return all(interaction.is_used for interaction in self.recorded) and not any(
            new.state == "kept" for new in self._new()
        )

    def broken(self) -> Iterator[str]:
        """List the answers that cannot be kept, and that no retry of the agent has replaced."""
        new = self._new()
        for position, interaction in enumerate(new):
            is_replaced = any(
                later.state == "kept" and later.digest == interaction.digest
                for later in new[position + 1 :]
            )
            if is_replaced:
                continue
            call = f"call {interaction.call.number} of conversation {self._name}"
            if interaction.state in ("open", "broken"):
                yield f"the answer to {call} is not complete"
            elif interaction.state == "unreadable":
                reason = why_unreadable(interaction.encoding)
                yield f"the answer to {call} cannot be read: {reason}"
            elif interaction.state == "dropped" and interaction.was_asked:
                is_unanswered = interaction.call.origin == "unanswered"
                error = "did not reach" if is_unanswered else "ended in an error of"
                yield f"{call} {error} the provider"

    def interactions(self) -> Iterator[Interaction]:
        """Return what the cassette is to hold of this conversation after this run."""
        normalise = self._player.normalise
        for interaction in self.used:
            if isinstance(interaction, StoredInteraction):
                answer = scrubbed_answer(interaction.answer, normalise.scrub)
                yield Interaction(interaction.request.whole(), answer)
            elif interaction.state == "kept":
                request = canonical_request(interaction.request.whole(), normalise)
                yield interaction.interaction(request, normalise.scrub)

    def _new(self) -> list[NewInteraction]:
        return [used for used in self.used if isinstance(used, NewInteraction)]

    def _unused(self, request: CanonicalRequest) -> Iterator[StoredInteraction]:
        return (one for one in self.recorded if not one.is_used or request.method == "GET")

    async def _canonical(self, exchange: Exchange) -> CanonicalRequest:
        """Return an exchange's request in canonical form, with its key made."""

        def make() -> CanonicalRequest:
            request = canonical_request(request_as_it_came(exchange), self._player.normalise)
            _ = request.key
            return request

        is_large = len(exchange.body) > LARGE
        is_heavy = is_large or self._player.normalise.new_in(exchange.content) > _MOST_NEW
        return await exchange.work(make, is_heavy=is_heavy)

    async def _record(self, exchange: Exchange, live: Source) -> Answer:
        interaction = await exchange.work(
            lambda: NewInteraction(exchange, self._new_requests.add(request_as_it_came(exchange)))
        )
        self.used.append(interaction)
        try:
            answer = await live.answer(exchange)
        except BaseException:
            interaction.abandon()
            raise
        if exchange.call.origin is None:  # refused before it reached the provider
            interaction.state = "dropped"
            return answer
        return interaction.keep(answer)

    def _take_near(self, request: CanonicalRequest) -> StoredInteraction | None:
        """Take the interaction to replay, if it is found at once: most often it is the next."""
        deadline = time.monotonic() + _AT_ONCE
        for interaction in self._unused(request):
            if interaction.request.key == request.key:
                return self._taken(interaction)
            if time.monotonic() > deadline:
                return None
        return None

    def _take_any(self, request: CanonicalRequest, exchange: Exchange) -> StoredInteraction | None:
        """Take the interaction to replay, if there is one."""
        unused = list(self._unused(request))
        for interaction in unused:
            if interaction.request.key == request.key:
                return self._taken(interaction)
        if self._player.match == "strict":
            return None
        for interaction in unused:
            if interaction.request.skeleton == request.skeleton:
                self._note_drift(interaction.request.whole(), request, exchange)
                return self._taken(interaction)
        return None

    def _taken(self, interaction: StoredInteraction) -> StoredInteraction:
        if not interaction.is_used:
            self.used.append(interaction)
        interaction.is_used = True
        return interaction

    def _note_drift(
        self, recorded: CanonicalRequest, asked: CanonicalRequest, exchange: Exchange
    ) -> None:
        # All later calls repeat what this one says: each drift is reported once.
        drifted = differences.drifted_messages(recorded, asked)
        if drifted <= self._drifted:
            return
        self._drifted |= drifted
        difference = differences.describe_difference(recorded, asked)
        self.drift.append(
            f"call {exchange.call.number} of conversation {self._name} was served from the "
            f"cassette although a tool printed something else:\n{difference}"
        )

    def _explain_miss(self, request: CanonicalRequest, exchange: Exchange) -> Miss:
        """Word why a request has no answer here: no cassette, none left, or the nearest one."""
        player, call = self._player, exchange.call.number
        if not player.is_there:
            return Miss(
                f"There is no cassette {player.where} for the agent's LLM calls. Record it: "
                f"{player.how_to_record}. Or give the test a script: agent_llm.script([…])."
            )
        if not self.recorded:
            return Miss(
                f"The agent's LLM call {call} is of conversation {self._name}, and {player.where} "
                f"holds {player.conversations} in all. If there is to be one more, record anew: "
                f"{player.how_to_record}."
            )
        asked = (
            f"The agent's LLM call {call} in conversation {self._name} is not in {player.where}."
        )
        unused = [
            (interaction, number)
            for number, interaction in enumerate(self.recorded, start=1)
            if not interaction.is_used and interaction.request.method != "GET"
        ]
        if not unused:
            return Miss(
                f"{asked} All {len(self.recorded)} recorded answers of that conversation are used "
                f"up. If the agent is meant to ask more, record anew: {player.how_to_record}."
            )
        nearest, number = max(
            unused,
            key=lambda pair: (differences.likeness(pair[0].request.whole(), request), -pair[1]),
        )
        recorded = nearest.request.whole()
        advice = f"If the change is meant, record anew: {player.how_to_record}."
        if recorded.skeleton == request.skeleton:
            advice = (
                "Only what a tool printed is different: --llm-match=lenient serves the recording "
                f"all the same, and a pattern in llm_volatile hides what never stays. {advice}"
            )
        summary = differences.summarise_difference(recorded, request)
        return Miss(
            f"Not as recorded: {summary.lstrip()}\n{asked} The nearest is recording {number}.\n"
            f"{advice}",
            differences.describe_difference(recorded, request),
        )
