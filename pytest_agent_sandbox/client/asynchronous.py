"""Awaitable forms of blocking methods: the same code, in a worker thread.

A thread cannot be stopped from outside. What blocks here asks at least every 0.25 s whether there
is still a use in waiting (`ServerConnection.check`), and so it also learns that its caller was
cancelled. anyio's own way to learn it, `from_thread.check_cancelled` (4.16), knows only of anyio's
cancel scopes, and nothing of tasks that asyncio itself cancels, as `asyncio.timeout` does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import partial
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from pytest_agent_sandbox.host.closing import Closing

Owner = TypeVar("Owner")
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

#: Seconds that a cancelled call may take to end before its caller goes on without it.
_PATIENCE = 0.9
#: Seconds between two looks at whether it has.
_LOOK = 0.01

_CALL: ContextVar[_Call | None] = ContextVar("call", default=None)


class CallerGone(BaseException):
    """The caller of a blocking function was cancelled. No `Exception`: nothing is to catch it."""


class _Call:
    """One call of a blocking function, in a thread of its own."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self.has_begun = False
        self.has_ended = threading.Event()

    def run(self, function: Callable[[], Result]) -> Result:
        _CALL.set(self)  # in a context of its own, which anyio has made for it
        self.has_begun = True
        try:
            if self.is_cancelled:  # before a thread was free for it
                raise CallerGone
            return function()
        finally:
            self.has_ended.set()


def check_caller() -> None:
    """Raise where the caller of this thread was cancelled: once, for what ends it may still ask.

    Raises:
        CallerGone: It was.
    """
    call = _CALL.get()
    if call is not None and call.is_cancelled:
        _CALL.set(None)
        raise CallerGone


async def run_in_thread(function: Callable[[], Result]) -> Result:
    """Return what a blocking function returns, without blocking the event loop.

    On asyncio and on trio. Where this is cancelled, the function ends at its next look around, and
    this with it; after 0.9 s at most, also without it.
    """
    import anyio
    import anyio.to_thread

    call = _Call()
    try:
        return await anyio.to_thread.run_sync(call.run, function, abandon_on_cancel=True)
    except BaseException:
        call.is_cancelled = True
        with anyio.CancelScope(shield=True), anyio.move_on_after(_PATIENCE):
            while call.has_begun and not call.has_ended.is_set():
                await anyio.sleep(_LOOK)
        raise


async def finish_in_thread(function: Callable[[], Result]) -> Result:
    """Do as `run_in_thread`, also where the caller is cancelled already: closing is always due."""
    import anyio

    with anyio.CancelScope(shield=True):
        result = await run_in_thread(function)
    return result


class InThread(Generic[Owner, Parameters, Result]):
    """The awaitable form of a blocking method, as an attribute of its class.

    Example:
        ```python
        class Workspace:
            def read_text(self, path: str) -> str: ...

            aread_text = InThread(read_text)
        ```

    Args:
        method: The method; where a subclass has its own, that one is called.
        finishes: It does its work to the end also where the caller is cancelled: it closes things.
    """

    def __init__(
        self, method: Callable[Concatenate[Owner, Parameters], Result], *, finishes: bool = False
    ) -> None:
        self._name = method.__name__
        self._await = finish_in_thread if finishes else run_in_thread
        self.__doc__ = f"As `{self._name}`, without blocking the event loop."

    @overload
    def __get__(
        self, instance: None, owner: type[Owner]
    ) -> InThread[Owner, Parameters, Result]: ...

    @overload
    def __get__(
        self, instance: Owner, owner: type[Owner]
    ) -> Callable[Parameters, Coroutine[Any, Any, Result]]: ...

    def __get__(self, instance: Owner | None, owner: type[Owner]) -> Any:
        if instance is None:
            return self
        method = getattr(instance, self._name)

        async def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Any:
            return await self._await(partial(method, *args, **kwargs))

        return call


class AwaitableClosing(Closing):
    """Something that `async with` closes too, without blocking the event loop."""

    aclose = InThread(Closing.close, finishes=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await finish_in_thread(partial(self.__exit__, *raised))
