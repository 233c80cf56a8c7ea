"""Heavy work: what takes long for a large body goes to a thread, so that other lanes do not wait.

The event loop serves all lanes. A thread that works in Python lets it have its turn every few
milliseconds, so work is done in pieces that are short where they are not Python's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

#: Bytes of a body that are read while the event loop waits: in 2 ms, at worst in 30 ms.
LARGE = 96 * 1024
#: How many threads do such work for all lanes. More would not do more: Python runs one at a time.
_THREADS = 2


class HeavyWork:
    """The work of one lane: one piece after the other, so that no lane takes all threads.

    Args:
        threads: Counts the threads that are left, for all lanes.
    """

    def __init__(self, threads: asyncio.Semaphore | None = None) -> None:
        self._threads = threads or new_threads()
        self._turn = asyncio.Lock()

    async def do(self, work: Callable[[], _T], *, is_heavy: bool) -> _T:
        """Do some work, in a thread if it is heavy; return or raise what it does.

        Who is cancelled meanwhile does not wait for it, but the lane's next piece of work does.
        """
        await self._turn.acquire()
        if not is_heavy:
            try:
                return work()
            finally:
                self._turn.release()
        try:
            await self._threads.acquire()
        except BaseException:
            self._turn.release()
            raise

        def free() -> None:
            self._threads.release()
            self._turn.release()

        return await in_own_thread(work, free)


def new_threads() -> asyncio.Semaphore:
    """Return a count of the threads that may work at once."""
    return asyncio.Semaphore(_THREADS)


async def in_own_thread(work: Callable[[], _T], at_end: Callable[[], None] | None = None) -> _T:
    """Do work that may take long, even for ever: nothing, not even exit, waits for its thread.

    An executor's threads are joined when the interpreter ends, so none of them would do.

    Args:
        work: The work; what it raises is raised here.
        at_end: Called on the event loop when the thread is done, even if nobody waits for it.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_T] = loop.create_future()

    def deliver(settle: Callable[[], None]) -> None:
        if at_end is not None:
            at_end()
        if not answer.done():
            settle()

    def run() -> None:
        try:
            result = work()
        except BaseException as failure:  # noqa: BLE001 - whoever waits gets it
            problem = failure
            _call(loop, lambda: deliver(lambda: answer.set_exception(problem)))
        else:
            _call(loop, lambda: deliver(lambda: answer.set_result(result)))

    threading.Thread(target=run, name="agent-sandbox-work", daemon=True).start()
    return await answer


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(function)
