"""Where the sandboxes of a run come from: warm ones, used ones, new ones; and where they go."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Generic, Protocol

from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.background import Background
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.pool import NoRoomAheadError, Pool, PoolClosedError, Wanted
from pytest_agent_sandbox.host.scratch import ScratchFolder
from pytest_agent_sandbox.sandbox.allowance import Allowance, Seat
from pytest_agent_sandbox.sandbox.kinds import C, P
from pytest_agent_sandbox.sandbox.sandbox import Sandbox, User
from pytest_agent_sandbox.sandbox.statistics import SandboxStatistics

_log = seldom.logger(__name__)

# Milliseconds that tests have waited for used sandboxes of a kind to be renewed, from which on
# there is a second one: one is renewed while the other one is used.
_WORTH_ANOTHER = 150


class Starter(Protocol[P, C]):
    """What starts sandboxes."""

    def start(
        self,
        plan: P,
        user: User,
        *,
        dormant: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> Sandbox[P, C]:
        """Start one until its server answers.

        Args:
            plan: What it is to be.
            user: Whom it is for.
            dormant: Whether its user is not known yet: see `Sandbox.hand_over`.
            check: Called while waiting; what it raises ends that.

        Raises:
            SandboxError: It cannot be started.
        """
        ...


class SandboxSupply(Closing, Generic[P, C]):
    """The sandboxes of one pytest process: a `Supply` that starts ahead, uses again, and counts.

    Args:
        starter: What starts them.
        size: How many to start ahead; also how many used ones may lie idle, but at least one.
        most_reuses: How often a recycled one is used again.
        clean_log: Masks secrets in the logs of those that nobody has yet.
        allowance: How many the run may have at once, and who waits for room; by default, as many
            as there is room for.
    """

    def __init__(
        self,
        starter: Starter[P, C],
        *,
        size: int,
        most_reuses: int,
        clean_log: Callable[[str], str],
        allowance: Allowance | None = None,
    ) -> None:
        self.statistics = SandboxStatistics()
        self._starter = starter
        self._most_reuses = most_reuses
        self._clean_log = clean_log
        self._numbers = count(1)
        self._idle: list[Sandbox[P, C]] = []
        self._most_idle = max(1, size) + 1
        self._in_use: Counter[Hashable] = Counter()
        self._in_renewal: Counter[Hashable] = Counter()
        #: Milliseconds that tests have waited for renewals.
        self._waited: Counter[Hashable] = Counter()
        #: For all of these: a test may have threads of its own.
        self._changed = threading.Condition()
        self._is_closing = threading.Event()
        self._closing = ExitStack()
        self.scratch = self._closing.enter_context(ScratchFolder()).path
        self._background = self._closing.enter_context(Background())
        self._closing.callback(self._remove_idle)
        self._allowance = Allowance() if allowance is None else allowance
        self._pool = self._closing.enter_context(
            Pool[Sandbox[P, C]](size, is_good=_is_alive, discard=self._discard)
        )
        self._renewals = self._closing.enter_context(Background())
        if allowance is not None:
            self._allowance.give_up_by(self._give_up_one)

    def prepare(self, plans: Sequence[P]) -> None:
        """Have sandboxes ready for the next tests, as far as there are to be any.

        Args:
            plans: Theirs, in order.
        """
        wanted: list[Wanted[Sandbox[P, C]]] = []
        with self._changed:
            idle = Counter(sandbox.plan.kind for sandbox in self._idle)
            reusable = idle + self._in_use + self._in_renewal
            scarce = {kind for kind, waited in self._waited.items() if waited > _WORTH_ANOTHER}
        for plan in plans:
            kind = plan.kind
            if plan.isolation != "fresh":
                if reusable[kind] > (kind in scarce):
                    continue
                reusable[kind] += 1
            wanted.append(Wanted(kind, self._start_later(plan.for_anybody())))
        self._pool.prepare(wanted)

    def take(self, plan: P, user: User) -> Sandbox[P, C]:
        """Return a sandbox that answers.

        Raises:
            SandboxError: There is none, and none can be started.
        """
        began = time.monotonic()
        sandbox, origin = self._find(plan, user)
        sandbox.uses += 1
        if plan.isolation != "fresh":
            with self._changed:
                self._in_use[plan.kind] += 1
        waited = time.monotonic() - began
        self.statistics.add(plan.test, origin, waited, sandbox.start_seconds)
        return sandbox

    def release(self, sandbox: Sandbox[P, C], *, wait: bool) -> None:
        """Take one back: used again, or removed.

        Raises:
            SandboxError: It is to be removed at once, and that failed.
        """
        plan, container = sandbox.plan, sandbox.container
        if plan.isolation != "fresh":
            with self._changed:
                self._in_use[plan.kind] -= 1
            if not container.is_kept and self._is_put_aside(sandbox):
                return
        if wait:
            sandbox.close()
            _remove_now(sandbox)
        else:
            self._remove(sandbox)

    def do_later(self, work: Callable[[], object]) -> None:
        """Have something done in the background, at the latest when this is closed."""
        self._background.do(work)

    def close(self) -> None:
        """Remove all that nobody uses.

        Raises:
            SandboxError: Something could not be removed.
        """
        self._is_closing.set()
        self._closing.close()

    def _find(self, plan: P, user: User) -> tuple[Sandbox[P, C], str]:
        kind = plan.kind
        is_ready = self._pool.is_ready(kind)
        while (used := self._take_idle(kind, wait=not is_ready)) is not None:
            if self._hand_over(used, plan, user):
                return used, "reused"
        while (warm := self._pool.take(kind)) is not None:
            if self._hand_over(warm, plan, user):
                return warm, "warm" if is_ready else "awaited"
        # One that others will use too says of no test that it is its own.
        is_single = plan.isolation == "fresh"
        seat = self._allowance.take()
        sandbox = self._start(seat, plan if is_single else plan.for_anybody(), user)
        sandbox.plan = plan
        if not is_single:
            sandbox.container.rename(plan.name_prefix)
        return sandbox, "started"

    def _take_idle(self, kind: Hashable, *, wait: bool) -> Sandbox[P, C] | None:
        """Return a used one that is as new; with `wait`, also one that is being renewed."""
        began = time.monotonic()
        with self._changed:
            while True:
                for sandbox in self._idle:
                    if sandbox.plan.kind == kind:
                        self._idle.remove(sandbox)
                        return sandbox
                if not (wait and self._in_renewal[kind]):
                    return None
                self._changed.wait()  # each renewal bounds itself
                self._waited[kind] += int(1000 * (time.monotonic() - began))
                began = time.monotonic()

    def _hand_over(self, sandbox: Sandbox[P, C], plan: P, user: User) -> bool:
        """Hand a sandbox to its new user; remove it and return False where that cannot be."""
        scratch_log = sandbox.container.log_path
        _seat(sandbox).use()
        try:
            sandbox.hand_over(plan, user)
        except SandboxError:
            _log.debug("a sandbox could not be handed over", exc_info=True)
            self._remove(sandbox)
            return False
        except BaseException:  # the user is interrupted, or has no place for its log
            self._remove(sandbox)
            raise
        scratch_log.unlink(missing_ok=True)
        return True

    def _start_later(self, plan: P) -> Callable[[Callable[[], None]], Sandbox[P, C]]:
        def start(check: Callable[[], None]) -> Sandbox[P, C]:
            seat = self._allowance.take_spare()
            if seat is None:
                raise NoRoomAheadError("Others need the room.")
            user = User(self._new_log(), clean_log=self._clean_log, is_nobody=True)
            return self._start(seat, plan, user, dormant=plan.is_deferrable, check=check)

        return start

    def _start(
        self,
        seat: Seat,
        plan: P,
        user: User,
        *,
        dormant: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> Sandbox[P, C]:
        try:
            sandbox = self._starter.start(plan, user, dormant=dormant, check=check)
        except BaseException:
            seat.give_back()
            raise
        sandbox.seat = seat
        return sandbox

    def _give_up_one(self) -> None:
        """Give up one that nobody uses: first of those that nobody has used."""
        if self._pool.give_up():
            return
        with self._changed:
            idle = self._idle.pop(0) if self._idle else None
        if idle is not None:
            self._remove(idle)

    def _is_put_aside(self, sandbox: Sandbox[P, C]) -> bool:
        """Put a sandbox aside for its next use; return False where it cannot be used again."""
        try:
            reason = self._why_not_again(sandbox)
            if not reason:
                sandbox.end_use()
                sandbox.container.move_log(self._new_log(), self._clean_log, with_past=False)
        except (SandboxError, OSError) as error:
            reason = str(error)
        except BaseException:  # an interrupt: nobody knows how it is
            self._remove(sandbox)
            raise
        if reason:
            self._note_thrown_away(sandbox, reason)
            return False
        _seat(sandbox).spare()
        if sandbox.recycler is None:
            self._put_aside(sandbox)
            return True
        with self._changed:
            self._in_renewal[sandbox.plan.kind] += 1
        self._renewals.do(partial(self._renew, sandbox))
        return True

    def _why_not_again(self, sandbox: Sandbox[P, C]) -> str:
        """Return why a sandbox cannot be used again, if so."""
        if not _is_alive(sandbox):
            return "its container has ended"
        if sandbox.container.is_paused:
            sandbox.container.unpause()
        if sandbox.plan.isolation == "shared":  # tests leave it to each other as it is
            return "" if sandbox.answers() else "its server does not answer"
        if sandbox.uses > self._most_reuses:
            return f"it was used again {self._most_reuses} times"
        return ""

    def _renew(self, sandbox: Sandbox[P, C]) -> None:
        """Bring a sandbox back to its first state, while the next test has another one perhaps."""
        began = time.monotonic()
        try:
            problems = sandbox.renew(self._check_open)
        except PoolClosedError:
            self._put_aside(sandbox, is_good=False)
            return
        except (SandboxError, OSError) as error:
            problems = [str(error)]
        except BaseException:
            self._put_aside(sandbox, is_good=False)
            raise
        self.statistics.resets.append(time.monotonic() - began)
        if problems:
            self._note_thrown_away(sandbox, problems[0])
        self._put_aside(sandbox, is_good=not problems)

    def _check_open(self) -> None:
        if self._is_closing.is_set():
            raise PoolClosedError("It is not needed any more.")

    def _put_aside(self, sandbox: Sandbox[P, C], *, is_good: bool = True) -> None:
        surplus = [] if is_good else [sandbox]
        with self._changed:
            if sandbox.recycler is not None:
                self._in_renewal[sandbox.plan.kind] -= 1
            if is_good:
                self._idle.append(sandbox)
                surplus = self._idle[: -self._most_idle]
                self._idle = self._idle[-self._most_idle :]
            self._changed.notify_all()
        for one in surplus:
            self._remove(one)

    def _note_thrown_away(self, sandbox: Sandbox[P, C], reason: str) -> None:
        # It counts how often which reason was: so it must not name the container.
        reason = reason.replace(sandbox.container.name, "…")
        self.statistics.thrown_away.append(reason.partition("\n")[0])

    def _new_log(self) -> Path:
        return self.scratch / f"{next(self._numbers)}.log"

    def _remove_idle(self) -> None:
        with self._changed:
            idle, self._idle = self._idle, []
        for sandbox in idle:
            self._remove(sandbox)

    def _discard(self, sandbox: Sandbox[P, C]) -> None:
        """Remove one that nobody has used."""
        self.statistics.unused += 1
        self._remove(sandbox)

    def _remove(self, sandbox: Sandbox[P, C]) -> None:
        _seat(sandbox).leave()
        sandbox.close()
        sandbox.container.let_go()
        self._background.do(partial(_remove_now, sandbox))


def _remove_now(sandbox: Sandbox[P, C]) -> None:
    _seat(sandbox).leave()
    try:
        sandbox.container.remove()
    finally:
        _seat(sandbox).give_back()


def _seat(sandbox: Sandbox[P, C]) -> Seat:
    assert sandbox.seat is not None  # the supply has started it
    return sandbox.seat


def _is_alive(sandbox: Sandbox[P, C]) -> bool:
    try:
        sandbox.container.check()
    except SandboxError:
        return False
    return True
