"""A tape: one test's cassette in use, played, recorded, or both."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_agent_sandbox.errors import CassetteMiss, CassetteUnused
from pytest_agent_sandbox.llm.cassettes.canonical import canonical_request
from pytest_agent_sandbox.llm.cassettes.cassette import Cassette, Interaction, Interactions
from pytest_agent_sandbox.llm.cassettes.tape_lane import Match, Slot, TapeLane, TapeState

if TYPE_CHECKING:
    from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
    from pytest_agent_sandbox.llm.exchange import Source

RecordMode = Literal["none", "once", "new_episodes", "all"]

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
        self._test = test
        #: Whether a cassette is there.
        self.is_there = file.exists()
        #: Whether requests that are not in the cassette go to the provider.
        self.records = mode in ("all", "new_episodes") or (mode == "once" and not self.is_there)
        if self.is_there and mode != "all":
            self._recorded = Cassette.load(file)
        else:
            self._recorded = Cassette(test, "")
        anew = "all" if self.is_there else "once"
        self._state = TapeState(
            self.where,
            self.is_there,
            len(self._recorded.lanes),
            self.records,
            match,
            normalise,
            f"pytest {test!r} --llm-record={anew}, with LLM_MODEL and LLM_API_KEY set",
        )
        self._lanes: dict[str, TapeLane] = {}

    @property
    def where(self) -> str:
        """The cassette's place as people look for it: below the current folder where it is."""
        here = Path.cwd()
        return str(self.file.relative_to(here) if here in self.file.parents else self.file)

    @property
    def model(self) -> str:
        """The agent's model at the time of the recording; empty where there is none to replay."""
        return self._recorded.model

    def lane(self, name: str, upstream: Source | None) -> TapeLane:
        """One conversation's part of the tape.

        Args:
            name: The same in every run.
            upstream: Where what is not recorded comes from; needed where this tape records.
        """
        # With today's patterns: those of the day of recording may have been fewer.
        recorded = Interactions(
            Interaction(canonical_request(one.request, self._state.normalise), one.answer)
            for one in self._recorded.lanes.get(name, ())
        )
        slots = [Slot(*held) for held in recorded.held]
        self._lanes[name] = TapeLane(self._state, name, slots, upstream)
        return self._lanes[name]

    def check(self) -> None:
        """Raise what was missed.

        Raises:
            CassetteMiss: The agent asked for something that was not recorded.
        """
        if self._state.missed:
            raise CassetteMiss(self._state.missed)

    def unused(self) -> str:
        """Which recorded answers nobody has asked for; empty where there are none."""
        if self.records:  # then they are no longer there after the test
            return ""
        left = self._left()
        if not left:
            return ""
        return (
            f"The agent never asked for {len(left)} of the answers in {self.where}:\n"
            + "\n".join(left)
            + f"\nWhere that is meant, record anew: {self._state.how_to_record}. "
            "--llm-unused=warn lets it pass."
        )

    def _left(self) -> list[str]:
        left = []
        for name, recorded in self._recorded.lanes.items():
            lane = self._lanes.get(name)
            slots = lane.recorded if lane else [Slot(*held) for held in Interactions(recorded).held]
            left += [
                f"  conversation {name}, recording {number}: {slot.request.path}"
                for number, slot in enumerate(slots, start=1)
                if not slot.is_used and slot.request.method != "GET"
            ]
        return left

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
            What is to be said about it: why it was not written although there is something new,
            or what is no longer in it. Mostly nothing.

        Raises:
            CassetteError: The file cannot be written.
        """
        if not self.records:
            return ""
        self._settle()
        broken = [line for lane in self._lanes.values() for line in lane.broken()]
        if broken:
            return f"{self.where} was not written: {'; '.join(broken)}"
        lanes: dict[str, Sequence[Interaction]] = {
            name: Interactions(lane.interactions()) for name, lane in self._lanes.items()
        }
        if any(lanes.values()) and (file or not self._is_as_recorded()):
            Cassette(self._test, model, lanes).save(file or self.file)
            left = self._left()
            if left:
                return f"{self.where} no longer holds {len(left)} answers that nobody asked for"
        return ""

    def _is_as_recorded(self) -> bool:
        """Whether all that was asked for was in the cassette, and the other way round."""
        return all(lane.is_as_recorded for lane in self._lanes.values()) and (
            set(self._recorded.lanes) <= set(self._lanes)
        )

    def _settle(self) -> None:
        """Wait a little for answers whose last bytes are on their way."""
        deadline = time.monotonic() + _SETTLE_TIMEOUT
        while any(lane.is_open for lane in self._lanes.values()) and time.monotonic() < deadline:
            time.sleep(0.005)
