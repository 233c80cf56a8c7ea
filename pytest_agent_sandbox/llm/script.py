"""The scripted LLM: a list of replies, given in order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

from pytest_agent_sandbox.errors import (
    LLMScriptExhausted,
    LLMScriptMismatch,
    LLMScriptUnused,
    SettingsError,
)
from pytest_agent_sandbox.llm import asides
from pytest_agent_sandbox.llm.dialects.dialect import (
    MalformedRequestError,
    usage_of,
    wants_stream,
)
from pytest_agent_sandbox.llm.dialects.foreign import spoken
from pytest_agent_sandbox.llm.entries import check_entry, describe, shorten
from pytest_agent_sandbox.llm.exchange import (
    Answer,
    Exchange,
    error_answer,
    json_answer,
    raw_headers,
)
from pytest_agent_sandbox.llm.heavy import in_own_thread
from pytest_agent_sandbox.llm.offered_tools import why_refused
from pytest_agent_sandbox.llm.replies import (
    DelayedReply,
    Entry,
    ErrorReply,
    LLMRequest,
    Reply,
    ScriptedToolCall,
)
from pytest_agent_sandbox.llm.sse import MEDIA_TYPE

#: Characters of the agent's last message that a complaint quotes.
_LONGEST_QUOTE = 300
#: The answer to the question which models there are.
_MODEL = {"id": "scripted", "object": "model", "created": 0, "owned_by": "pytest-agent-sandbox"}


class Script:
    """Replies that are given in order, one for each request, whatever it says.

    An entry is used up when its request arrives, in order of arrival: an `error(429)` that the
    client retries is one reply and the retry takes the next, and a client that goes away before
    it has its answer has used that answer up. A request that asks for no completion at all uses up
    nothing. Several lanes may share a script; all methods may be called from any thread.

    Args:
        replies: Made by `say`, `tool`, `error` and `delay`, or functions that get the
            `LLMRequest` and return one of these. A function runs in a thread of its own; an
            exception of it is raised by `check`, in the test.

    Raises:
        SettingsError: An entry cannot be used; the message says which.

    Example:
        ```python
        Script([
            tool("terminal", command="ls"),
            lambda request: say(f"You said: {request.last_message}"),
        ])
        ```
    """

    def __init__(self, replies: Sequence[Entry]) -> None:
        self._replies: tuple[Entry, ...] = ()
        self._lock = threading.Lock()
        self._requests = 0
        self._questions: list[asides.Question] = []
        self._has_told_asides = False
        self._failure: BaseException | None = None
        self._traceback: TracebackType | None = None
        self.extend(replies)

    def extend(self, replies: Sequence[Entry]) -> None:
        """Add replies at the end, for what the agent does next.

        Raises:
            SettingsError: An entry cannot be used; the message says which.
        """
        given: Any = replies
        if isinstance(given, str) or not isinstance(given, Sequence):
            kind = type(given).__name__
            raise SettingsError(f"A script is a list of replies, and this is of type {kind}.")
        for position, entry in enumerate(replies, start=len(self) + 1):
            check_entry(entry, f"Reply {position} of the script")
        self._replies += tuple(replies)

    def __len__(self) -> int:
        return len(self._replies)

    def __repr__(self) -> str:
        return f"Script({len(self)} replies, {self.used} used)"

    @property
    def used(self) -> int:
        """How many replies are used up."""
        return min(self._requests, len(self))

    @property
    def asides(self) -> str:
        """Which replies went to questions beside the agent's work, unless an error has said so."""
        return "" if self._has_told_asides else self._asides(guess=False)

    def check(self) -> None:
        """Raise what went wrong so far.

        Raises:
            LLMScriptExhausted: The agent asked for more than the script holds.
            LLMScriptMismatch: The agent does not have a tool that the script calls, or the tool
                does not take the arguments.
            BaseException: A function of the script raised it; it has its own traceback.
        """
        if self._failure is not None:
            # Without this, each raise would add its own frames to the traceback.
            raise self._failure.with_traceback(self._traceback)

    def verify(self) -> None:
        """Raise what `check` raises, or complain about replies that are left.

        Raises:
            LLMScriptUnused: The agent never asked for some of the replies; the message lists them.
        """
        self.check()
        left = list(enumerate(self._replies, start=1))[self.used :]
        if left:
            listed = "\n".join(f"  {position}. {describe(entry)}" for position, entry in left)
            raise LLMScriptUnused(
                f"The agent used {self.used} of the script's {len(self)} replies. "
                f"It never asked for:\n{listed}{self._describe_asides()}"
            )

    def _asides(self, *, guess: bool) -> str:
        return asides.describe(self._questions, len(self), guess=guess)

    def _describe_asides(self) -> str:
        """Describe these questions for an error's message."""
        text = self._asides(guess=True)
        self._has_told_asides = bool(text)
        return f"\n{text}" if text else ""

    async def answer(self, exchange: Exchange) -> Answer:
        """Answer a request."""
        if (exchange.method, exchange.path) == ("GET", "/models"):
            return json_answer({"object": "list", "data": [_MODEL]})
        if (exchange.method, exchange.path) == ("POST", exchange.dialect.path):
            return await self._complete(exchange)
        message = (
            f"{exchange.method} /v1{exchange.path} is not served by a script, only {spoken()}."
        )
        return exchange.refuse(message, status=404)

    async def _complete(self, exchange: Exchange) -> Answer:
        call, dialect = exchange.call, exchange.dialect
        try:
            request, entry = await exchange.work(lambda: self._take(exchange))
        except MalformedRequestError as problem:
            return exchange.refuse(str(problem))
        # The status of both refusals is one that no client retries: a retry would end the same way.
        if entry is None:
            answer = f"No reply is left in the script, which holds {len(self)}."
            return exchange.refuse(f"Request {request.number}: {answer}")
        call.origin, call.cost = "scripted", 0.0
        try:
            reply = await self._resolve(entry, request)
            await exchange.work(lambda: self._check_tools(reply, request))
        except _NoReplyError as problem:
            return exchange.refuse(str(problem))
        if isinstance(reply, ErrorReply):
            call.problem = reply.message
            return error_answer(dialect, reply.status, reply.message, reply.headers)
        call.usage = usage_of(request, reply)
        label = f"{exchange.lane}_{call.number}"
        if wants_stream(request.body):
            chunks = _each(dialect.stream(request, reply, label))
            return Answer(200, raw_headers({"content-type": MEDIA_TYPE}), chunks)
        return json_answer(dialect.completion(request, reply, label))

    def _take(self, exchange: Exchange) -> tuple[LLMRequest, Entry | None]:
        """Take the next reply; return it with the parsed request, or None if no reply is left."""
        # Read before the lock is taken: others must not wait while a large request is read.
        asked = exchange.dialect.parse(exchange.content, 0)
        question = asides.Question.of(asked)
        with self._lock:
            self._requests += 1
            request = replace(asked, number=self._requests)
            self._questions.append(replace(question, number=request.number))
        if request.number <= len(self):
            _ = request.length  # worked out here, where it holds up nobody
            return request, self._replies[request.number - 1]
        self._fail(
            LLMScriptExhausted(
                f"The agent asked its LLM for reply {request.number}, and the script holds "
                f"{len(self)}. The last it was told: "
                f"{shorten(request.last_message, _LONGEST_QUOTE)!r}. Add the reply, or end "
                'the script with what ends a turn: say("...") or tool("finish", message="...").'
                + self._describe_asides()
            )
        )
        return request, None

    def _check_tools(self, reply: Reply | ErrorReply, request: LLMRequest) -> None:
        """Check that the agent has the tools that a reply calls, and that they take its arguments.

        Raises:
            _NoReplyError: It does not have them, or they do not; `check` says so too.
        """
        for call in reply.calls if isinstance(reply, Reply) else ():
            refused = why_refused(call, request) if call.is_checked else ""
            if refused:
                message = f"Reply {request.number} of the script {refused}"
                meant = f" If that is meant: unchecked(tool({call.name!r}, …))."
                self._fail(LLMScriptMismatch(f"{message}{meant}"))
                raise _NoReplyError(message)

    async def _resolve(self, entry: Entry, request: LLMRequest) -> Reply | ErrorReply:
        """Wait, and ask functions, until there is a plain reply."""
        match entry:
            case Reply() | ErrorReply():
                return entry
            case ScriptedToolCall():
                return Reply(calls=(entry,))
            case DelayedReply():
                await asyncio.sleep(entry.seconds)
                return await self._resolve(entry.reply, request)
        function = entry

        def ask() -> Entry | None:
            try:
                result = function(request)
                where = f"What reply {request.number} of the script, a function, returned"
                check_entry(result, where, functions=False)
            except BaseException as failure:  # noqa: BLE001 - pytest.fail() raises one
                self._fail(failure)
                return None
            return result

        result = await in_own_thread(ask)
        if result is None:
            raise _NoReplyError(f"Reply {request.number} of the script, a function, failed.")
        return await self._resolve(result, request)

    def _fail(self, failure: BaseException) -> None:
        with self._lock:
            if self._failure is None:
                self._traceback = failure.__traceback__
                self._failure = failure


class _NoReplyError(Exception):
    """There is no reply that the agent could be given; `check` has the reason."""


async def _each(chunks: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield chunk
