"""The allowance: how many sandboxes a run may have at once, which its processes share."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from pytest_agent_sandbox.errors import SandboxError, SettingsError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.lock_folder import lock_folder_path
from pytest_agent_sandbox.sandbox.accounts_of_run import LEAVING, SPARE, USED, AccountsOfRun, Wait

_log = seldom.logger(__name__)

# Seconds between two looks, and of waiting until the first line says so and the next ones do.
_LOOK, _FIRST_LINE, _NEXT_LINE = 0.1, 2.0, 10.0
# Seconds between two looks whether somebody waits for what this process could spare.
_WATCH = 0.25
# Seconds for which all may wait for one another, where other threads may still end that.
_PATIENCE = 120.0
_CLOSE_PATIENCE = 5.0


class _Numbered(threading.local):
    """A number for each thread: Python gives the identity of one that has ended to another."""

    def __init__(self) -> None:
        self.number = next(_numbers)


_numbers = count()
_threads = _Numbered()


def _this_thread() -> int:
    return _threads.number


def shared_file(run: str) -> Path:
    """Return the file by which the processes of a run share an allowance."""
    return lock_folder_path() / f"sandboxes-{run}"


def remove_shared(run: str) -> None:
    """Remove that file and those beside it, if there are any, once the run is over."""
    file = shared_file(run)
    for suffix in ("", ".lock", ".new"):
        with suppress(OSError):  # on Windows: a process that is just ending still has it open
            file.with_name(f"{file.name}{suffix}").unlink(missing_ok=True)


class Seat:
    """What one sandbox takes of an allowance, from before its start until it is removed."""

    def __init__(self, allowance: Allowance, state: str) -> None:
        self._allowance = allowance
        self._state = state
        self._taker = _this_thread()

    def use(self) -> None:
        """Say that a test uses its sandbox."""
        self._move(USED)
        self._taker = _this_thread()

    def spare(self) -> None:
        """Say that nobody uses its sandbox, which others may want the room of."""
        self._move(SPARE)

    def leave(self) -> None:
        """Say that its sandbox is being removed."""
        self._move(LEAVING)

    def give_back(self) -> None:
        """Say that its sandbox is gone; a second call does nothing."""
        self._move("")

    def _move(self, state: str) -> None:
        if state != self._state and self._state:
            self._allowance.move(self._taker, self._state, state)
            self._state = state


class Allowance(Closing):
    """How many sandboxes a run may have at once, counted in all its processes.

    Those that tests ask for come first: in the order of asking, and before those that are started
    ahead. While somebody waits, none is started ahead, and spare ones are given up.

    Args:
        most: How many; None for as many as there is room for.
        file: What the processes share; None for a process that is alone.
        tell: Given a line for people, while a test waits.
    """

    def __init__(
        self,
        most: int | None = None,
        file: Path | None = None,
        tell: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.most = most
        self._accounts = AccountsOfRun(file)
        self._tell = tell
        #: Sandboxes in use, by the thread that took them.
        self._taken: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._watch: threading.Thread | None = None

    def take(self, check: Callable[[], None] = lambda: None) -> Seat:
        """Take a seat for a sandbox that a test asks for, once there is one.

        Args:
            check: Called while waiting; what it raises ends that.

        Raises:
            SettingsError: Waiting would have no end: all are in use by those who wait.
        """
        wait = Wait(secrets.token_hex(8), time.time())
        since = time.monotonic()
        due, stuck_since = since + _FIRST_LINE, float("inf")
        is_noted = False
        try:
            while True:
                wait.is_certain = self._holds_all_of_process()
                with self._accounts.changing() as accounts:
                    if accounts.has_room(self.most, wait):
                        accounts.move("", USED)
                        with self._lock:
                            self._taken[_this_thread()] += 1
                        return Seat(self, USED)
                    accounts.note(wait)
                    is_noted = True
                    how = accounts.deadlock(self.most, wait)
                    held = accounts.held
                    own = accounts.own_used
                now = time.monotonic()
                stuck_since = min(now, stuck_since) if how else float("inf")
                if how == "certain" or now - stuck_since > _PATIENCE:
                    raise self._no_end(own)
                if now >= due:
                    due = now + _NEXT_LINE
                    self._tell(
                        f"waiting for a sandbox: {held} of the {self.most} that --sandbox-max "
                        f"allows are there ({now - since:.0f} s)"
                    )
                check()
                time.sleep(_LOOK)
        finally:
            if is_noted:
                self.forget(wait)

    def take_spare(self) -> Seat | None:
        """Take a seat for a sandbox that nobody has asked for; None while others need the room."""
        with self._accounts.changing() as accounts:
            if accounts.waits or not accounts.has_room(self.most):
                return None
            accounts.move("", SPARE)
        return Seat(self, SPARE)

    def wait_elsewhere(self) -> Wait:
        """Note a wait for room that is not of this allowance: others give up spare ones for it."""
        wait = Wait(secrets.token_hex(8), time.time(), is_elsewhere=True)
        with self._accounts.changing() as accounts:
            accounts.note(wait)
        return wait

    def forget(self, wait: Wait) -> None:
        """Note that a wait is over."""
        with self._accounts.changing() as accounts:
            accounts.forget(wait)

    @property
    def is_short(self) -> bool:
        """Whether somebody waits for room."""
        with self._accounts.changing() as accounts:
            return bool(accounts.waits)

    def move(self, taker: int, old: str, new: str) -> None:
        """Note that a sandbox is no more one thing but another; see `Seat`."""
        with self._accounts.changing() as accounts:
            accounts.move(old, new)
        with self._lock:
            self._taken[taker] -= old == USED
            self._taken[_this_thread()] += new == USED
            self._taken += Counter()  # keeps what is above zero

    def give_up_by(self, give_up: Callable[[], object]) -> None:
        """Have spare sandboxes of this process given up when somebody waits for room.

        Args:
            give_up: Gives up one, if there is one.
        """
        self._watch = threading.Thread(
            target=self._give_up, args=[give_up], name="agent-sandbox-allowance", daemon=True
        )
        self._watch.start()

    def close(self) -> None:
        """End its part in what the processes share."""
        self._closing.set()
        if self._watch is not None:
            self._watch.join(_CLOSE_PATIENCE)
        self._accounts.close()

    def _give_up(self, give_up: Callable[[], object]) -> None:
        while not self._closing.wait(_WATCH):
            try:
                with self._accounts.changing() as accounts:
                    is_asked = accounts.asks_for_spare(self.most)
                if is_asked:
                    give_up()
            except (SandboxError, OSError):
                _log.warning("a spare sandbox could not be given up", exc_info=True)

    def _holds_all_of_process(self) -> bool:
        """Tell whether nobody but this thread could give back what this process holds."""
        here = _this_thread()
        with self._lock:
            return not any(number for taker, number in self._taken.items() if taker != here)

    def _no_end(self, own: int) -> SettingsError:
        if own >= (self.most or 0):
            why = f"This test holds {own} of them and asks for one more."
        else:
            why = (
                f"Tests of this run hold all of them and wait for more; {own} of them are of this "
                "process."
            )
        noun = "sandbox" if self.most == 1 else "sandboxes"
        return SettingsError(
            f"--sandbox-max={self.most} allows the run {self.most} {noun} at once. {why} Close one "
            "before the next one is asked for, or allow more."
        )
