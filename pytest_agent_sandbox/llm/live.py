"""The live LLM: requests passed on to a real provider, with the real key put in on this side."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

import httpx
from pydantic import SecretStr

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.llm.budgets import Budget
from pytest_agent_sandbox.llm.encodings import can_decode, decoded, encodings_of, why_unreadable
from pytest_agent_sandbox.llm.exchange import (
    FIRST_ERROR,
    Answer,
    BrokenAnswerError,
    Exchange,
    whole_answer,
)
from pytest_agent_sandbox.llm.models import check_model, speaks_anthropic

_OPENAI = "https://api.openai.com/v1"
_ANTHROPIC = "https://api.anthropic.com/v1"

#: Headers that belong to one connection, not to the message (RFC 9110, section 7.6.1).
_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
#: The headers of a request that go to the provider: what says how to answer, and who asks. What
#: would choose whose money is spent (`openai-organization`), say who is there (`cookie`), or turn
#: the request into another (`x-http-method-override`) is the sandbox's to say nowhere.
_PASSED = {
    *("accept", "accept-language", "user-agent", "idempotency-key"),
    *("anthropic-version", "anthropic-beta", "openai-beta"),
    # OpenRouter's names of the program that asks, Codex's and Claude Code's of themselves
    *("http-referer", "x-title", "originator", "version", "session_id", "conversation_id", "x-app"),
}
#: How the libraries of OpenAI and Anthropic begin the names of what they say of themselves.
_PASSED_BEGINNING = "x-stainless-"
#: Headers that say how to read a body; one that is written anew is plain JSON.
_OF_BODY = {"content-type", "content-encoding"}

#: Headers that no longer hold once the body is decoded here.
_ENCODING = {b"content-length", b"content-encoding"}


class LiveSource:
    """A source that passes requests on to a provider.

    The path below `/v1` is added to the provider's address, the body is sent as the gateway has
    read it, most headers are left alone, and the answer is passed on chunk by chunk as it comes,
    errors and rate-limit headers included; redirects are not followed. The lane's token is replaced
    by the real key, in the header that the client used, so the key never enters a sandbox: should
    an error of the provider quote it, it is masked. Answers are asked for uncompressed, so that
    chunks arrive when they are made; one that is compressed all the same is decoded, or passed on
    with its header where that cannot be.

    Args:
        base_url: The provider's address, such as "https://api.openai.com/v1".
        api_key: The provider's key; None for a provider that wants none.
        budget: The budget for requests that are passed on, shared by all lanes that have it.

    Raises:
        SettingsError: The address or the key cannot be used.
    """

    def __init__(
        self, base_url: str, api_key: SecretStr | None, *, budget: Budget | None = None
    ) -> None:
        self._budget = budget
        self._base_url = _usable_url(base_url)
        key = "" if api_key is None else api_key.get_secret_value().strip()
        if not (key.isascii() and key.isprintable()):
            raise SettingsError(
                "The LLM's API key holds a character that no HTTP header can: was it copied whole?"
            )
        self._api_key = SecretStr(key)

    def __repr__(self) -> str:
        return f"LiveSource({self.base_url!r})"

    @property
    def base_url(self) -> str:
        """The provider's address, without a slash at the end."""
        return str(self._base_url)

    def check(self) -> None:
        """Raise if the budget is used up; whatever the provider answers is the agent's business.

        Raises:
            BudgetExceeded: A call was refused because the budget was used up.
        """
        if self._budget is not None:
            self._budget.check()

    def verify(self) -> None:
        """Raise what `check` does."""
        self.check()

    async def answer(self, exchange: Exchange) -> Answer:
        """Pass a request on, and its answer back."""
        refusal = "" if self._budget is None else exchange.charge_to(self._budget)
        if refusal:
            return exchange.refuse(refusal)
        exchange.call.origin = "live"
        url = httpx.URL(
            f"{self.base_url}{exchange.path}" + (f"?{exchange.query}" if exchange.query else "")
        )
        headers = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in self._headers(exchange)
        ]
        request = httpx.Request(exchange.method, url, headers=headers, content=exchange.body)
        try:
            answer = await exchange.connections.send(request)
        except httpx.HTTPError as problem:
            return self._unreachable(exchange, problem)
        try:
            if answer.status_code >= FIRST_ERROR:
                return await self._passed_error(exchange, answer)
        except httpx.HTTPError as problem:
            return self._unreachable(exchange, problem)
        encodings = encodings_of(answer.headers)
        is_readable = can_decode(encodings)
        passed = _end_to_end(answer.headers)
        if is_readable and "content-encoding" in answer.headers:
            passed = [pair for pair in passed if pair[0] not in _ENCODING]
        # Without either header, only the end of the connection tells that the body is whole.
        is_framed = not encodings and not (
            {"content-length", "transfer-encoding"}.isdisjoint(answer.headers)
        )
        body = _body(answer, encodings if is_readable else [])
        return Answer(answer.status_code, passed, body, is_framed)

    def _headers(self, exchange: Exchange) -> list[tuple[str, str]]:
        given, is_read = exchange.headers, exchange.given is not None
        passed = (_PASSED if is_read else _PASSED | _OF_BODY) - _named_in_connection(
            given.get("connection", "")
        )
        headers = [
            (name, value)
            for name, value in given.items()
            if name.lower() in passed or name.lower().startswith(_PASSED_BEGINNING)
        ]
        headers.append(("accept-encoding", "identity"))
        if is_read:
            headers.append(("content-type", "application/json"))
        key = self._api_key.get_secret_value()
        if key and "authorization" in given:
            headers.append(("authorization", f"Bearer {key}"))
        elif key:
            headers.append(("x-api-key", key))
        return headers

    async def _passed_error(self, exchange: Exchange, answer: httpx.Response) -> Answer:
        """Pass on an error in the provider's words, with the key masked if they quote it."""
        encodings = encodings_of(answer.headers)
        exchange.call.problem = f"The provider answered {answer.status_code}."
        try:
            if can_decode(encodings):
                chunks = decoded(answer.aiter_raw(), encodings)
                body = self._masked(b"".join([chunk async for chunk in chunks]))
            else:  # it cannot be searched for the key
                body = _unreadable_error(exchange, answer.status_code, ", ".join(encodings))
        except httpx.DecodingError:
            body = _unreadable_error(exchange, answer.status_code, ", ".join(encodings))
        finally:
            await answer.aclose()
        passed = whole_answer(body, answer.status_code)
        passed.headers = [
            *(
                (name, self._masked(value))
                for name, value in _end_to_end(answer.headers)
                if name not in _ENCODING
            ),
            (b"content-length", str(len(body)).encode("ascii")),
        ]
        return passed

    def _unreachable(self, exchange: Exchange, problem: httpx.HTTPError) -> Answer:
        reason = self._masked(str(problem).encode()).decode() or type(problem).__name__
        message = f"The LLM at {self.base_url} cannot be reached: {reason}"
        seldom.logger(__name__).warning("%s", message)
        exchange.call.origin = "unanswered"
        return exchange.refuse(message, status=502)

    def _masked(self, text: bytes) -> bytes:
        key = self._api_key.get_secret_value().encode("ascii")
        return text.replace(key, b"***") if key else text


def live_source(
    model: str, base_url: str | None, api_key: SecretStr | None, *, budget: Budget | None = None
) -> LiveSource:
    """Return the source for a model as LiteLLM spells it, such as "anthropic/claude-sonnet-5".

    Args:
        model: Provider and model.
        base_url: The provider's address (`LLM_BASE_URL`); by default OpenAI's or Anthropic's own.
        api_key: The provider's key (`LLM_API_KEY`).
        budget: The budget for calls there.

    Raises:
        SettingsError: No address is given for a model of another provider than these two, or the
            gateway does not speak the model's dialect.
    """
    check_model(model)
    if speaks_anthropic(model):
        # LiteLLM adds "/v1/messages" to the address; a lane's path comes without its "/v1".
        root = (base_url or _ANTHROPIC).rstrip("/").removesuffix("/messages").removesuffix("/v1")
        return LiveSource(f"{root}/v1", api_key, budget=budget)
    if base_url:
        return LiveSource(base_url, api_key, budget=budget)
    if "/" in model and not model.startswith("openai/"):
        raise SettingsError(
            f"The address of the provider of {model!r} is not known: set LLM_BASE_URL to it."
        )
    return LiveSource(_OPENAI, api_key, budget=budget)


def _unreadable_error(exchange: Exchange, status: int, encodings: str) -> bytes:
    message = (
        f"The provider answered {status}; its words cannot be read: {why_unreadable(encodings)}."
    )
    exchange.call.problem = message
    return json.dumps(exchange.dialect.error(status, message)).encode("ascii")


async def _body(answer: httpx.Response, encodings: list[str]) -> AsyncGenerator[bytes, None]:
    """Yield the body piece by piece, with the encodings undone."""
    try:
        async for chunk in decoded(answer.aiter_raw(), encodings):
            yield chunk
    except httpx.DecodingError as problem:
        named = ", ".join(encodings)
        message = f"The provider's answer is no {named}, as its content-encoding says: {problem}"
        raise BrokenAnswerError(message) from problem
    except httpx.HTTPError as problem:
        message = f"The provider's answer broke off: {str(problem) or type(problem).__name__}"
        raise BrokenAnswerError(message) from problem
    finally:
        await answer.aclose()
        # Stream, answer and request refer to one another: without this, the large bodies of a long
        # conversation would wait for the garbage collector.
        answer.stream = httpx.ByteStream(b"")


def _end_to_end(headers: httpx.Headers) -> list[tuple[bytes, bytes]]:
    dropped = _HOP_BY_HOP | _named_in_connection(headers.get("connection", ""))
    return [
        (name.lower(), value)
        for name, value in headers.raw
        if name.decode("latin-1").lower() not in dropped
    ]


def _named_in_connection(value: str) -> set[str]:
    return {name.strip().lower() for name in value.split(",")} - {""}


def _usable_url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text.strip().rstrip("/"))
    except httpx.InvalidURL:
        # Not quoted, nor why: what makes it unusable may be a password in it.
        raise SettingsError("The LLM's base URL is not an address.") from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query:
        # The value is not quoted: what makes it unusable may be a password in it.
        raise SettingsError(
            "The LLM's base URL must begin with http:// or https:// and a host, and hold no user "
            "name, password or question mark."
        )
    return url
