"""How many sandboxes a run may have at once, whatever its processes and threads ask for."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.sandbox import allowance as module
from pytest_agent_sandbox.sandbox.allowance import Allowance, Seat
from tests.support.timing import eventually

#: Makes the allowance of one more process of the run.
Process = Callable[..., Allowance]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    with ExitStack() as made:

        def make(most: int | None = 2, **given: object) -> Allowance:
            found = Allowance(most, tmp_path / "sandboxes", **given)  # type: ignore[arg-type]
            return made.enter_context(found)

        yield make


class Asking:
    """A thread that asks for a seat."""

    def __init__(self, allowance: Allowance) -> None:
        self.seat: Seat | None = None
        self.error: SettingsError | None = None
        self._allowance = allowance
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        try:
            self.seat = self._allowance.take()
        except SettingsError as error:
            self.error = error

    def got(self) -> Seat:
        self._thread.join(10)
        assert self.seat is not None
        return self.seat

    @property
    def waits(self) -> bool:
        self._thread.join(0.3)
        return self._thread.is_alive()


def test_all_processes_together_have_no_more(process: Process) -> None:
    first, second = process(), process()
    one, _ = first.take(), second.take()
    third = Asking(process())
    assert third.waits
    one.leave()
    assert third.waits  # it is there until it is removed
    one.give_back()
    one.give_back()  # counts once
    third.got()
    assert Asking(process()).waits


def test_who_has_waited_longest_is_next(process: Process) -> None:
    one = process(1).take()
    earlier = Asking(process(1))
    assert earlier.waits
    later = Asking(process(1))
    assert later.waits
    one.give_back()
    earlier.got().give_back()
    later.got()


def test_none_is_started_ahead_past_the_limit_or_while_somebody_waits(process: Process) -> None:
    mine, other = process(), process()
    used = mine.take()
    spare = mine.take_spare()
    assert spare is not None
    assert mine.take_spare() is None
    asking = Asking(other)
    assert asking.waits
    used.give_back()
    asking.got().give_back()
    wait = other.wait_elsewhere()
    assert mine.take_spare() is None
    other.forget(wait)
    assert mine.take_spare() is not None


def test_spare_ones_are_given_up_for_who_waits(process: Process) -> None:
    mine, other = process(), process()
    spares = [seat for _ in range(2) if (seat := mine.take_spare())]
    given: list[Seat] = []

    def give_up() -> None:
        given.append(spares.pop())
        given[-1].leave()
        given[-1].give_back()

    mine.give_up_by(give_up)
    assert Asking(other).got()
    assert len(given) == 1  # no more than there are who wait


def test_spare_ones_are_given_up_for_room_that_the_engine_lacks(process: Process) -> None:
    mine, other = process(None), process(None)
    spare = mine.take_spare()
    assert spare is not None
    mine.give_up_by(spare.leave)
    assert not mine.is_short
    other.wait_elsewhere()
    eventually(lambda: mine.take_spare() is None, 5)
    assert mine.is_short


def test_a_test_that_asks_for_more_than_all_is_told(process: Process) -> None:
    mine = process()
    mine.take()
    mine.take()
    with pytest.raises(SettingsError, match=r"--sandbox-max=2 .*holds 2 of them and asks for one"):
        mine.take()
    assert not mine.is_short


def test_processes_that_wait_for_each_other_are_told(process: Process) -> None:
    mine, other = process(), process()
    seats = []

    def hold_and_ask() -> None:
        seats.append(other.take())
        other.take()

    thread = threading.Thread(target=hold_and_ask, daemon=True)
    seats.append(mine.take())
    thread.start()
    eventually(lambda: other.is_short, 5)
    with pytest.raises(SettingsError, match=r"--sandbox-max=2 .*Tests of this run hold all"):
        mine.take()
    seats[0].give_back()  # as the failed test does
    thread.join(10)
    assert not thread.is_alive()


def test_threads_of_one_test_wait_for_each_other(process: Process) -> None:
    mine = process()
    seats: list[Seat] = []
    for _ in range(2):
        holder = threading.Thread(target=lambda: seats.append(mine.take()))
        holder.start()
        holder.join()
    third = Asking(mine)
    assert third.waits
    seats[0].give_back()
    third.got()


def test_who_waits_says_so(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_LINE", 0.2)
    monkeypatch.setattr(module, "_NEXT_LINE", 0.2)
    lines: list[str] = []
    seat = process(1).take()
    asking = Asking(process(1, tell=lines.append))
    eventually(lambda: len(lines) > 1, 5)
    seat.give_back()
    asking.got()
    for line in lines:
        assert re.fullmatch(
            r"waiting for a sandbox: 1 of the 1 that --sandbox-max allows are there \(\d+ s\)", line
        )


def test_what_a_killed_process_held_is_free_again(process: Process, tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib\n"
        "from pytest_agent_sandbox.sandbox.allowance import Allowance\n"
        "Allowance(1, pathlib.Path(sys.argv[1])).take()\n"
        "os._exit(1)\n"
    )
    file = tmp_path / "sandboxes"
    subprocess.run([sys.executable, "-c", program, file], check=False)
    assert '"used": 1' in file.read_text("utf-8")
    assert Asking(process(1)).got()


def test_a_check_ends_the_wait(process: Process) -> None:
    class OverError(Exception): ...

    def check() -> None:
        raise OverError

    mine, other = process(1), process(1)
    mine.take()
    with pytest.raises(OverError):
        other.take(check)
    assert not mine.is_short


def test_a_process_alone_needs_no_file() -> None:
    with Allowance(1) as alone:
        alone.take()
        with pytest.raises(SettingsError):
            alone.take()
    with Allowance() as unlimited:
        for _ in range(50):
            unlimited.take()
