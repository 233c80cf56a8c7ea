"""The player of one test's cassette: it replays, records, or both."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_agent_sandbox.errors import CassetteUnused
from pytest_agent_sandbox.llm.cassettes.canonical import canonical_request
from pytest_agent_sandbox.llm.cassettes.cassette import Cassette, Interaction, Interactions
from pytest_agent_sandbox.llm.cassettes.source import CassetteSource, Match, PlayerState

if TYPE_CHECKING:
    from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
    from pytest_agent_sandbox.llm.exchange import Source

RecordMode = Literal["none", "once", "new_episodes", "all"]

#: Seconds that the last answers get to be complete, once the agent is done.
_SETTLE_TIMEOUT = 2.0
#: Answers that cannot be kept, as far as they are listed.
_MOST_BROKEN = 3


class CassettePlayer:
    """The player of one test's cassette.

    Args:
        file: The cassette's file, which need not exist yet.
        test: The test's node id.
        mode: `none` only replays; `once` replays a cassette that exists, and records one that does
            not; `new_episodes` replays what was recorded and records the rest; `all` records
            everything again.
        match: `strict`, or `lenient` to replay an interaction also where requests differ in nothing
            but what tools printed.
        normalise: Removes from requests what differs in every run.

    Raises:
        CassetteError: The file is not a cassette, or cannot be read.
    """

    def __init__(
        self, file: Path, *, test: str, mode: RecordMode, match: Match, normalise: Normaliser
    ) -> None:
        self.file = file
        self._test = test
        #: Whether the cassette exists.
        self.is_there = file.exists()
        #: Whether requests that are not in the cassette go to the provider.
        self.records = mode in ("all", "new_episodes") or (mode == "once" and not self.is_there)
        if self.is_there and mode != "all":
            self._recorded = Cassette.load(file)
        else:
            self._recorded = Cassette(test, "")
        anew = "all" if self.is_there else "once"
        self._state = PlayerState(
            where=self.where,
            is_there=self.is_there,
            conversations=len(self._recorded.lanes),
            records=self.records,
            match=match,
            normalise=normalise,
            how_to_record=(
                f"pytest {test!r} --llm-record={anew}, with LLM_MODEL and LLM_API_KEY set"
            ),
        )
        self._sources: dict[str, CassetteSource] = {}
        #: Whether `save` has written the cassette's own file.
        self.is_written = False

    @property
    def where(self) -> str:
        """The cassette's path for messages: relative if it is below the current folder."""
        here = Path.cwd()
        return str(self.file.relative_to(here) if here in self.file.parents else self.file)

    @property
    def model(self) -> str:
        """The agent's model when the cassette was recorded; empty if there is none to replay."""
        return self._recorded.model

    def source(self, name: str, live: Source | None) -> CassetteSource:
        """Return the source of answers for one conversation.

        Args:
            name: The name of the conversation's lane, the same in every run.
            live: Answers what is not in the cassette; needed if this player records.
        """
        # Normalised again: when the cassette was recorded, there may have been fewer patterns.
        recorded = Interactions(
            Interaction(canonical_request(one.request, self._state.normalise), one.answer)
            for one in self._recorded.lanes.get(name, ())
        )
        self._sources[name] = CassetteSource(self._state, name, recorded.stored, live)
        return self._sources[name]

    def check(self) -> None:
        """Raise if a request was not in the cassette.

        Raises:
            CassetteMiss: The agent asked for something that was not recorded.
        """
        self._state.check()

    def unused(self) -> str:
        """List the recorded answers that the agent never asked for; empty if there are none."""
        if self.records:  # then the new cassette no longer holds them
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
            source = self._sources.get(name)
            interactions = source.recorded if source else Interactions(recorded).stored
            left += [
                f"  conversation {name}, recording {number}: {interaction.request.path}"
                for number, interaction in enumerate(interactions, start=1)
                if not interaction.is_used and interaction.request.method != "GET"
            ]
        return left

    def verify(self) -> None:
        """Raise what is wrong now that the agents are done.

        Raises:
            CassetteMiss: The agent asked for something that was not recorded.
            CassetteUnused: Recorded answers are left.
        """
        self.check()
        unused = self.unused()
        if unused:
            raise CassetteUnused(unused)

    @property
    def drift(self) -> list[str]:
        """Calls that were replayed although a tool had printed something else."""
        return [line for source in self._sources.values() for line in source.drift]

    def incomplete(self) -> str:
        """Say which answers of this run cannot be kept; empty if there are none."""
        if not self.records:
            return ""
        self._settle()
        broken = [line for source in self._sources.values() for line in source.broken()]
        if len(broken) > _MOST_BROKEN:
            broken[_MOST_BROKEN:] = [f"and {len(broken) - _MOST_BROKEN} more"]
        return "; ".join(broken)

    def save(self, model: str, file: Path | None = None) -> str:
        """Write what was replayed and recorded, unless the cassette holds just that already.

        Args:
            model: The agent's model as LiteLLM spells it.
            file: The file to write, if not the cassette's own.

        Returns:
            A remark for people: why the cassette was not written although there is something new,
            or what it no longer holds. Empty in most cases.

        Raises:
            CassetteError: The file cannot be written.
        """
        if not self.records:
            return ""
        incomplete = self.incomplete()
        if incomplete:
            return f"{self.where} was not written: {incomplete}"
        lanes: dict[str, Sequence[Interaction]] = {
            name: Interactions(source.interactions()) for name, source in self._sources.items()
        }
        if any(lanes.values()) and (file or not self._is_as_recorded()):
            Cassette(self._test, model, lanes).save(file or self.file)
            self.is_written = self.is_written or file is None
            left = self._left()
            if left:
                return f"{self.where} no longer holds {len(left)} answers that nobody asked for"
        return ""

    def _is_as_recorded(self) -> bool:
        """Tell whether this run asked for just what the cassette holds."""
        return all(source.is_as_recorded for source in self._sources.values()) and (
            set(self._recorded.lanes) <= set(self._sources)
        )

    def _settle(self) -> None:
        """Wait a little for answers whose last bytes are still on their way."""
        deadline = time.monotonic() + _SETTLE_TIMEOUT
        while time.monotonic() < deadline and any(
            source.is_open for source in self._sources.values()
        ):
            time.sleep(0.005)
