"""The workspace of an agent server that an API runs: started, paused and stopped by requests."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from typing import Any, Literal

from pytest_agent_sandbox.client.commands import left_until
from pytest_agent_sandbox.engines.hosted.api import Hosting
from pytest_agent_sandbox.engines.hosted.watch import Watch
from pytest_agent_sandbox.errors import (
    SandboxError,
    SandboxPaused,
    SandboxStartFailed,
    ServerError,
)
from pytest_agent_sandbox.host.host_route import HostRoute
from pytest_agent_sandbox.sandbox import started
from pytest_agent_sandbox.sandbox.gateway import HostGateway
from pytest_agent_sandbox.sandbox.server_route import route_from_server
from pytest_agent_sandbox.sandbox.workspace import Workspace

# Seconds from one look to the next, while a server starts.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0
# Seconds for one question, and for an end.
_QUESTION, _END = 60.0, 30.0
# Answers that will be the same a moment later.
_FINAL = range(400, 429)

#: What `close` does with the server.
AtEnd = Literal["stop", "pause", "keep"]


class HostedWorkspace(Workspace):
    """A workspace on a server that an API starts for it, and stops when it is closed.

    Args:
        hosting: The server.
        image: What it is started from, for reports.
        working_dir: The workspace's folder.
        start_timeout: Seconds from the first request until the server answers.
        read_timeout: Seconds of silence after which a request to the server is given up.
        at_end: What `close` does with the server.
        gateway_address: The address of this machine at which the server reaches it.
        gateway: An LLM gateway to share; by default the workspace has its own.

    Raises:
        SandboxStartFailed: The API did not start it, or the server never answered.
    """

    def __init__(
        self,
        hosting: Hosting,
        *,
        image: str,
        working_dir: str,
        start_timeout: float,
        read_timeout: float,
        at_end: AtEnd,
        gateway_address: str | None,
        gateway: HostGateway | None,
    ) -> None:
        began = time.monotonic()
        self._hosting = hosting
        self._image = image
        self._read_timeout = read_timeout
        self._folder = working_dir
        self._pause_is_ours = False
        self._watch: Watch | None = None
        with ExitStack() as undo:
            undo.callback(hosting.close)
            if gateway is None:
                gateway = undo.enter_context(HostGateway(partial(_route, hosting, gateway_address)))
            self.gateway = gateway
            try:
                _begin(hosting, began + start_timeout)
                self._reach(start_timeout, began + start_timeout, may_resume=True)
                self._start_seconds = round(time.monotonic() - began, 3)
                started.tell(self)
            except BaseException as error:
                self._undo(error, at_end)
                raise
            # Also where nobody closes it: it may cost money.
            self._end = weakref.finalize(self, _end, hosting, at_end, undo.pop_all())

    @property
    def name(self) -> str:
        """The API's name of it."""
        return self._hosting.id

    @property
    def identity(self) -> Mapping[str, str]:
        """What is different in this workspace from any other, and what to call it."""
        return {self._hosting.id: self._hosting.noun, self.host: "server"}

    def secrets(self) -> Iterable[str]:
        """Return what is to be masked wherever it is told of the sandbox."""
        return tuple(self._hosting.secrets)

    def facts(self) -> Mapping[str, Any]:
        """Return what a report says of it once it has started."""
        return {
            "image": self._image,
            "server": self.server_info().get("version"),
            "runs as": self._hosting.place,
            "start_seconds": self._start_seconds,
        }

    def end_facts(self) -> Mapping[str, Any]:
        """Return what a report says of it at the end of a test."""
        try:
            return {"state": self._hosting.state(_QUESTION).words}
        except ServerError as error:
            return {"state": f"unknown: {error}"}

    def pause(self, *, timeout: float = 60.0) -> None:
        """Have the API pause the server. Open requests may fail; `resume` lets it go on.

        Args:
            timeout: Seconds for the API to answer.

        Raises:
            ServerError: The API refused.
        """
        self._stop_watching()
        self._pause_is_ours = True
        try:
            self._hosting.pause(timeout)
        except BaseException:
            self._pause_is_ours = False
            self._watch = Watch(self._hosting)
            raise

    def resume(self, *, timeout: float = 300.0) -> None:
        """Have the API let a paused server go on, and wait until it answers.

        It may then have another address and another key, as the API decides: the workspace and its
        conversations follow.

        Args:
            timeout: Seconds for all of that.

        Raises:
            SandboxStartFailed: The server did not answer in time, or has ended.
            ServerError: The API refused.
        """
        end = time.monotonic() + timeout
        self._stop_watching()
        self._hosting.resume(timeout)
        self._reach(timeout, end, may_resume=False)

    def close(self, *, wait: bool = True) -> None:  # noqa: ARG002 - as of other workspaces
        """Stop the server, or leave it as was asked for. May be called more than once.

        Raises:
            SandboxError: It may be running still.
        """
        if self.is_closed:
            return
        try:
            self._begin_close()
            self._stop_watching()
            super().close()
        finally:
            self._end()

    def _reach(self, timeout: float, end: float, *, may_resume: bool) -> None:
        """Wait until the API says that the server runs, and the server that it is ready.

        Raises:
            SandboxStartFailed: It did not get so far in time, or will not.
        """
        pause = _FIRST_PAUSE
        problem = ""
        while True:
            try:
                state = self._hosting.state(left_until(end))
                problem = state.words
                if state.phase == "failed":
                    why = f"{state.words}. {self._hosting.advice}"
                    raise SandboxStartFailed(
                        f"{self._hosting.name} did not start: {why}", log=state.log
                    )
                if state.phase == "paused" and may_resume:
                    may_resume = False
                    self._hosting.resume(left_until(end))
                elif state.phase == "running" and self._hosting.url:
                    unready = self._try(end)
                    if unready is None:
                        self._watch = Watch(self._hosting)
                        return
                    problem = str(unready)
            except ServerError as error:
                if error.status in _FINAL:
                    raise self._hosting.explained(error) from error
                problem = str(error)
            if time.monotonic() + pause >= end:
                raise SandboxStartFailed(
                    self._hosting.mask(
                        f"{self._hosting.name} was not ready within {timeout:g} s: {problem}"
                    )
                )
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)

    def _try(self, end: float) -> ServerError | None:
        """Return why the server does not answer; None if it does."""
        url, key = self._hosting.url, self._hosting.session_key
        if "connection" not in vars(self):
            super().__init__(
                url, key, self._folder, read_timeout=self._read_timeout, guard=self._check
            )
        elif (url, key) != (self.connection.host, self.connection.api_key):
            self.connection.move(url, key)
        for secret in self._hosting.secrets:
            self._learn_secret(secret)
        self._pause_is_ours = False
        problem = self._probe("/ready", end)
        if problem is not None and problem.status == HTTPStatus.NOT_FOUND:
            problem = self._probe("/health", end)  # of agent servers before 1.11
        return problem

    def _check(self) -> None:
        if self._pause_is_ours:
            raise SandboxPaused(
                f"{self._hosting.name} is paused. `resume()` of its workspace lets it go on."
            )
        watch = self._watch
        if watch is not None:
            watch.check()

    def _stop_watching(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def _undo(self, error: BaseException, at_end: AtEnd) -> None:
        """Leave nothing of a start that has failed."""
        self._stop_watching()
        if "connection" in vars(self):
            self.connection.close()
        try:
            _leave(self._hosting, "stop" if self._hosting.was_started else at_end)
        except SandboxError as left:
            error.add_note(str(left))


def _route(hosting: Hosting, address: str | None) -> HostRoute:
    return route_from_server(hosting.url, address, "gateway_address=ADDRESS")


def _begin(hosting: Hosting, end: float) -> None:
    try:
        hosting.begin(end)
    except ServerError as error:
        raise hosting.explained(error) from error


def _end(hosting: Hosting, at_end: AtEnd, closing: ExitStack) -> None:
    with closing:
        _leave(hosting, at_end)


def _leave(hosting: Hosting, at_end: AtEnd) -> None:
    try:
        if at_end == "stop":
            hosting.stop(_END)
        elif at_end == "pause":
            hosting.pause(_END)
    except ServerError as error:
        raise SandboxError(
            f"{hosting.name} could not be told to {at_end}, and may be running still: {error}"
        ) from error
