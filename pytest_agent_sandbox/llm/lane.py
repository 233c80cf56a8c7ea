"""A lane: the way of one conversation through the gateway, opened by its token."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.host_route import host_in_url
from pytest_agent_sandbox.llm.calls import LLMCall
from pytest_agent_sandbox.llm.exchange import Exchange, Source
from pytest_agent_sandbox.llm.heavy import HeavyWork
from pytest_agent_sandbox.llm.models import speaks_anthropic
from pytest_agent_sandbox.llm.observer import Observer, Reader
from pytest_agent_sandbox.llm.pipeline import Policy
from pytest_agent_sandbox.llm.room import LaneRoom, Room

#: Providers hold ids to letters, digits, "-" and "_", and tool-call ids to 40 characters.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,20}")


class Lane(Closing):
    """One conversation's way to its LLM, made by `Gateway.open_lane`; a context manager.

    Args:
        source: Gives the answers.
        name: Part of the ids of answers and tool calls.
        port: Returns the gateway's port.
        on_close: Called once with the lane's token.
        policy: Decides about its requests before they reach the source.
        observer: Told of each call.
        room: Where the bodies of its requests are; by default in no gateway's.
        heavy: Where what takes long is done.
    """

    def __init__(
        self,
        source: Source,
        name: str,
        port: Callable[[], int],
        on_close: Callable[[str], None],
        policy: Policy,
        observer: Observer | None = None,
        room: LaneRoom | None = None,
        heavy: HeavyWork | None = None,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise SettingsError(
                f"A lane cannot be named {name!r}: give 1 to 20 letters, digits, '-' or '_'."
            )
        self.name = name
        self.source = source
        self.policy = policy
        self.room = room or Room().of_lane()
        self.heavy = heavy or HeavyWork()
        self._token = secrets.token_urlsafe(32)
        self._port = port
        self._on_close = on_close
        self._calls: list[LLMCall] = []
        self._observer = observer
        self._reader = Reader()

    def __repr__(self) -> str:
        # Without the token: a repr ends up in logs and reports.
        return f"Lane({self.name!r}, {len(self._calls)} calls)"

    @property
    def token(self) -> str:
        """The key that the agent gives as its LLM's API key. Nothing else opens this lane."""
        return self._token

    @property
    def calls(self) -> tuple[LLMCall, ...]:
        """The calls so far, in order of arrival."""
        return tuple(self._calls)

    def base_url(self, host: str, model: str = "", *, port: int | None = None) -> str:
        """Return the address to give the agent as its LLM's base URL.

        Args:
            host: The name or address by which the agent's container reaches the gateway.
            model: The agent's model. LiteLLM adds `/v1/messages` to the address of an Anthropic
                model, and `/chat/completions` to any other's: the former comes without `/v1`.
            port: The port by which the container reaches it, if that is not the gateway's own.
        """
        root = f"http://{host_in_url(host)}:{port or self._port()}"
        return root if speaks_anthropic(model) else f"{root}/v1"

    def check(self) -> None:
        """Raise what makes waiting for the agent pointless; cheap. A `Guard` of the client.

        Raises:
            LLMScriptExhausted: The agent asked for more than was scripted.
            CassetteMiss: The agent asked for something that was not recorded.
            BudgetExceeded: The budget is used up.
            BaseException: A function of the script raised it. It need not be a SandboxError: it may
                be an AssertionError, or what `pytest.fail` raises.
        """
        self.policy.check()
        self.source.check()

    def verify(self) -> None:
        """Raise what is wrong now that the agent is done.

        Raises:
            LLMScriptUnused: Scripted replies are left.
            CassetteUnused: Recorded answers are left.
            BaseException: `check` raises it.
        """
        self.policy.check()
        self.source.verify()

    def close(self) -> None:
        """Close the lane to new requests; answers under way go on. May be called twice."""
        self._on_close(self._token)

    def record(self, method: str, path: str) -> LLMCall:
        """Start the record of a request; for the gateway. A GET asks the model nothing."""
        if method == "GET":
            return LLMCall(0, datetime.now(UTC), path)
        call = LLMCall(len(self._calls) + 1, datetime.now(UTC), path)
        self._calls.append(call)
        return call

    def asked(self, exchange: Exchange) -> None:
        """Tell the observer of a request; for the gateway."""
        if self._observer is not None and exchange.call.number:
            self._observer.asked(exchange.call, self._reader.news(exchange))

    def answered(self, exchange: Exchange) -> None:
        """Tell the observer that a call is over; for the gateway."""
        if self._observer is not None and exchange.call.number:
            self._observer.answered(exchange.call, bytes(exchange.sent))
