"""A warm pool: what takes long to start is started ahead of its use, and used once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.closing import Closing

logger = seldom.logger(__name__)

# Failed starts of a kind after which it is no longer started ahead.
_MOST_FAILURES = 2

T = TypeVar("T")


class PoolClosedError(SandboxError):
    """A start that is given up, for whoever would have used the result is gone."""


class NoRoomAheadError(SandboxError):
    """A start ahead that is given up, for others need the room; it may be tried again."""


@dataclass(frozen=True)
class Wanted(Generic[T]):
    """A thing that is going to be used.

    Attributes:
        kind: Two of a kind are as good as each other.
        start: Starts one, in a thread of the pool. It is given a function to call now and then,
            which raises `PoolClosedError` where it has become pointless to go on.
    """

    kind: Hashable
    start: Callable[[Callable[[], None]], T]


@dataclass
class _Entry(Generic[T]):
    kind: Hashable
    future: Future[T]


class Pool(Generic[T], Closing):
    """Things that are started ahead; safe to use from several threads.

    Args:
        size: How many there may be at a time, ready or starting.
        is_good: Whether one that waited is still fit for use.
        discard: Does away with one that is not, or is not wanted any more. It should be quick.
    """

    def __init__(
        self, size: int, *, is_good: Callable[[T], bool], discard: Callable[[T], object]
    ) -> None:
        self.size = size
        self._is_good = is_good
        self._discard = discard
        self._entries: list[_Entry[T]] = []
        #: The number of failed starts of each kind.
        self._failures: Counter[Hashable] = Counter()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._executor = ThreadPoolExecutor(max(size, 1), thread_name_prefix="agent-sandbox-pool")

    def prepare(self, wanted: Sequence[Wanted[T]]) -> None:
        """Have these ready, the first of them as far as there is room, and nothing else."""
        hopeful = (one for one in wanted if self._failures[one.kind] < _MOST_FAILURES)
        wanted = list(islice(hopeful, self.size))
        with self._lock:
            if self._closing.is_set():
                return
            self._entries = [entry for entry in self._entries if not _had_no_room(entry.future)]
            self._drop_unwanted(Counter(one.kind for one in wanted))
            there = Counter(entry.kind for entry in self._entries)
            for one in wanted:
                there[one.kind] -= 1
                if there[one.kind] < 0 and len(self._entries) < self.size:
                    future = self._executor.submit(one.start, self._check)
                    self._entries.append(_Entry(one.kind, future))

    def take(self, kind: Hashable) -> T | None:
        """Return one that was started ahead, or is being started now; None where there is none."""
        while (entry := self._next(kind)) is not None:
            if entry.future.cancel():  # not begun yet: whoever asks may start it at once
                continue
            try:
                found = entry.future.result()
            except (CancelledError, NoRoomAheadError):
                continue
            except SandboxError:
                logger.debug("a start ahead of its use has failed", exc_info=True)
                self._failures[kind] += 1
                continue
            except BaseException:  # whoever asks is interrupted
                self._drop(entry)
                raise
            if self._is_good(found):
                return found
            self._discard(found)
        return None

    def is_ready(self, kind: Hashable) -> bool:
        """Tell whether `take` would not have to wait."""
        with self._lock:
            return any(
                entry.kind == kind and entry.future.done() and not _had_no_room(entry.future)
                for entry in self._entries
            )

    def give_up(self) -> bool:
        """Discard one that is ready, the one whose use is furthest off; tell whether one was."""
        with self._lock:
            for entry in reversed(self._entries):
                if entry.future.done() and entry.future.exception() is None:
                    self._entries.remove(entry)
                    break
            else:
                return False
        self._discard(entry.future.result())
        return True

    def close(self) -> None:
        """Discard all that nobody took; what is being started is given up."""
        self._closing.set()
        with self._lock:
            entries, self._entries = self._entries, []
        for entry in entries:
            self._drop(entry)
        self._executor.shutdown(cancel_futures=True)

    def _next(self, kind: Hashable) -> _Entry[T] | None:
        with self._lock:
            found = [entry for entry in self._entries if entry.kind == kind]
            found.sort(key=lambda entry: (not entry.future.done(), not entry.future.running()))
            if not found:
                return None
            self._entries.remove(found[0])
            return found[0]

    def _drop_unwanted(self, wanted: Counter[Hashable]) -> None:
        for entry in list(self._entries):
            wanted[entry.kind] -= 1
            if wanted[entry.kind] < 0:
                self._entries.remove(entry)
                self._drop(entry)

    def _drop(self, entry: _Entry[T]) -> None:
        if not entry.future.cancel():
            entry.future.add_done_callback(self._discard_result)

    def _discard_result(self, done: Future[T]) -> None:
        if done.exception() is None:
            self._discard(done.result())

    def _check(self) -> None:
        if self._closing.is_set():
            raise PoolClosedError("It is not needed any more.")


def _had_no_room(future: Future[T]) -> bool:
    if not future.done() or future.cancelled():
        return False
    return isinstance(future.exception(), NoRoomAheadError)
