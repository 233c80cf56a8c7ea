"""The live events of a conversation: complete, in order, each once, however the socket fares."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from urllib.parse import quote, urlsplit

from websockets.exceptions import ConnectionClosed, WebSocketException

from pytest_agent_sandbox.client import versions
from pytest_agent_sandbox.client.answers import a_number, decode
from pytest_agent_sandbox.client.event_log import EventLog
from pytest_agent_sandbox.client.event_socket import EventSocket
from pytest_agent_sandbox.client.events import (
    ConversationStateUpdateEvent,
    Event,
    parse_event,
)
from pytest_agent_sandbox.client.lookups import addresses_of
from pytest_agent_sandbox.client.pages import items
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import (
    ConversationClosed,
    SandboxError,
    SandboxPaused,
    ServerError,
)
from pytest_agent_sandbox.host import seldom

logger = seldom.logger(__name__)

#: Gets each new event and whether it belongs to the opening of a connection: the state as it was
#: when the connection was made, rather than news.
EventSink = Callable[[Event, bool], None]

#: Seconds for the server to accept a connection; its first frame may take longer.
_OPEN_TIMEOUT = 5.0
#: Seconds to wait for the first frame. The server sends it at once, or once a running tool is done,
#: or never.
_READY_TIMEOUT = 2.0
#: Seconds for the thread to end.
_JOIN_TIMEOUT = 0.05
#: Seconds without a frame after which the server is asked whether there is anything to hear.
_SILENCE = 3.0
#: The longest page of events that the server gives.
_PAGE_SIZE = 100
#: Bytes that one conversation may send.
_MOST_BYTES = 2 * 1024**3
_FIRST_DELAY = 0.05
_LONGEST_DELAY = 2.0
#: Close codes after which another try would end the same way.
_FATAL = {4001: "it refused the session key", 4004: "it knows no such conversation"}


class EventStream:
    """A thread that follows a conversation, and reconnects until it is closed.

    The server tells a new connection nothing of what happened before. So each connection begins
    with the part of the log that is missing, fetched over HTTP once the server is known to send:
    from then on whatever comes is the log's continuation.

    Args:
        connection: For the log, the address and the key; its guard ends the waiting.
        conversation_id: The conversation to follow.
        log: Grows with the events that the server keeps.
        sink: Gets every event, those that the server does not keep included. Called with a lock
            held, from more than one thread: it must be quick, and must not call the stream.
    """

    def __init__(
        self,
        connection: ServerConnection,
        conversation_id: str,
        log: EventLog,
        sink: EventSink,
    ) -> None:
        self._connection = connection
        self._conversation_id = conversation_id
        self._log = log
        self._sink = sink
        # Asked here, as the stream's thread must not wait for anything that `close` cannot end.
        self._key_in_frame = versions.has(connection.version, versions.FIRST_FRAME)
        self._message_first = versions.has(connection.version, versions.MESSAGE_FIRST)
        self._ingesting = threading.Lock()
        self._closing = threading.Event()
        self._ready = threading.Event()
        self._websocket: EventSocket | None = None
        self._connections = 0
        self._current: int | None = None
        self._error: SandboxError | None = None
        self._received = 0
        self._heard = 0.0
        # How many events the server had when it was asked, in this silence; and how many of them it
        # never gives.
        self._counted: int | None = None
        self._withheld = 0
        self._thread = threading.Thread(
            target=self._run, name=f"event-stream-{conversation_id}", daemon=True
        )

    def start(self) -> None:
        """Begin to follow the conversation."""
        self._thread.start()

    @property
    def connection_number(self) -> int | None:
        """Which connection this is, counted from one; None while there is none.

        As long as it stays the same, nothing can have been missed.
        """
        return self._current

    def check(self) -> None:
        """Raise the error that ended the stream, if one did.

        Raises:
            SandboxError: The server will not have us, or the guard knows that it is gone.
        """
        if self._error is not None:
            raise self._error

    def wait_until_ready(self, timeout: float) -> bool:
        """Wait until the log is complete up to now and live events come in.

        Args:
            timeout: Seconds.

        Returns:
            False when that did not happen in time.
        """
        return self._ready.wait(timeout)

    def catch_up(self, deadline: float = math.inf) -> None:
        """Fetch what the log lacks of the server's.

        Args:
            deadline: When to give up, by the monotonic clock.

        Raises:
            ServerError: The server refused or could not be reached.
        """
        # The page begins with the event of that id, which is known already.
        pages = items(
            self._connection,
            f"{self._events}/search",
            {"limit": _PAGE_SIZE},
            page_id=self._log.last_id,
            deadline=deadline,
        )
        for item in pages:
            self._ingest(parse_event(item))
            if self._closing.is_set():
                return

    def break_silence(self, deadline: float = math.inf) -> None:
        """Fetch what an open connection has long failed to bring, and have another one made.

        To be called every second or so by whoever waits for an event. A server that was about to be
        paused, and was not, keeps its connections and sends nothing more (1.58).

        Args:
            deadline: When to give up, by the monotonic clock.

        Raises:
            ServerError: The server refused or could not be reached.
        """
        websocket = self._websocket
        if websocket is None or time.monotonic() - self._heard < _SILENCE:
            self._counted = None
            return
        path = f"{self._events}/count"
        answer = self._connection.request("GET", path, deadline=deadline)
        # An event takes a moment to come: what counts is those of the time before.
        due, self._counted = self._counted, a_number(self._connection.decoded(answer), path)
        known = len(self._log)
        if due is None or known >= due - self._withheld:
            return
        self.catch_up(deadline)
        if len(self._log) > known:
            websocket.close()
        else:
            self._withheld = due - known

    def close(self) -> None:
        """End the stream and its threads, within 100 ms. May be called more than once."""
        self._closing.set()
        if self._websocket is not None:
            self._websocket.close()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_TIMEOUT)

    def _run(self) -> None:
        delay = _FIRST_DELAY
        while not self._closing.is_set():
            before = self._connections
            try:
                self._connection.check()
                self._follow()
            except ConnectionClosed as error:
                code = error.rcvd.code if error.rcvd is not None else None
                if code in _FATAL:
                    self._error = ServerError(f"The server ended the event stream: {_FATAL[code]}.")
                    return
                logger.debug("The event stream broke off: %s", error)
            except (OSError, EOFError, WebSocketException, ServerError, SandboxPaused) as error:
                logger.debug("The event stream could not be had: %s", error)
            except SandboxError as error:
                self._error = error
                return
            finally:
                self._current = None
                self._websocket = None
            worked = self._connections > before
            delay = _FIRST_DELAY if worked else min(2 * delay, _LONGEST_DELAY)
            self._closing.wait(delay)

    def _follow(self) -> None:
        """Make one connection and take what it brings, until it ends."""
        with self._connect() as websocket:
            self._websocket = websocket
            if self._closing.is_set():
                return
            websocket.wait_until_open()
            self._take(websocket)

    def _connect(self) -> EventSocket:
        url = self._connection.websocket_url(self._path())
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "wss" else 80)
        end = time.monotonic() + _OPEN_TIMEOUT
        first = ""
        if self._key and self._key_in_frame:
            first = json.dumps({"type": "auth", "session_api_key": self._key})
        return EventSocket(
            url,
            addresses_of(parts.hostname or "", port, end, self._check_open),
            first=first,
            timeout=_OPEN_TIMEOUT,
            tls=self._connection.tls,
            name=f"event-socket-{self._conversation_id}",
        )

    def _check_open(self) -> None:
        self._connection.check()
        if self._closing.is_set():
            raise ConversationClosed("The event stream has been closed.")

    @property
    def _events(self) -> str:
        return f"/api/conversations/{self._conversation_id}/events"

    @property
    def _key(self) -> str:
        key = self._connection.api_key
        return key.get_secret_value() if key is not None else ""

    def _path(self) -> str:
        path = f"/sockets/events/{self._conversation_id}"
        if self._key and not self._key_in_frame:
            return f"{path}?session_api_key={quote(self._key)}"
        return path

    def _take(self, websocket: EventSocket) -> None:
        """Complete the log, then pass on whatever comes, until the connection breaks."""
        try:
            event = self._next(websocket, _READY_TIMEOUT)
        except TimeoutError:
            # The server may not be listening yet; this is repeated once it is.
            self._complete_log()
            event = self._next(websocket)
        self._complete_log()
        self._heard = time.monotonic()
        self._connections += 1
        self._current = self._connections
        snapshot_due = True
        while True:
            opening = snapshot_due and _is_full_state(event)
            snapshot_due = snapshot_due and not opening
            if self._runs_ahead(event):
                self.catch_up()
            self._ingest(event, opening=opening)
            event = self._next(websocket)

    def _runs_ahead(self, event: Event) -> bool:
        """Tell whether this is news of a message that comes only after it on the stream."""
        return (
            isinstance(event, ConversationStateUpdateEvent)
            and event.key == "last_user_message_id"
            and not self._message_first
        )

    def _next(self, websocket: EventSocket, timeout: float | None = None) -> Event:
        """Return the next event of a connection.

        Raises:
            TimeoutError: There was none within `timeout` seconds.
            ConnectionClosed: There will be none.
            SandboxError: The server sends without end.
        """
        frame = websocket.receive(timeout)
        self._heard = time.monotonic()
        self._received += len(frame)
        if self._received > _MOST_BYTES:
            raise SandboxError(
                f"The server has sent over {_MOST_BYTES:,} bytes of events of one conversation."
            )
        try:
            return parse_event(decode(frame))
        except ValueError:
            return parse_event(frame if isinstance(frame, str) else frame.decode(errors="replace"))

    def _complete_log(self) -> None:
        self.catch_up()
        self._ready.set()

    def _ingest(self, event: Event, *, opening: bool = False) -> None:
        """Pass on an event that is new. The lock makes the sink's order the log's."""
        with self._ingesting:
            if not event.is_persisted or self._log.add(event):
                self._sink(event, opening)


def _is_full_state(event: Event) -> bool:
    return isinstance(event, ConversationStateUpdateEvent) and event.is_full
