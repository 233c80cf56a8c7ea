"""Requests that the engine answers with a stream of JSON events: pulls and builds."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import IO, Any

import requests

from pytest_agent_sandbox.containers.engine import ContainerEngine


@contextmanager
def engine_events(
    engine: ContainerEngine,
    path: str,
    parameters: Mapping[str, Any],
    *,
    headers: Mapping[str, str | bytes] | None = None,
    body: IO[bytes] | None = None,
    stall_timeout: float,
) -> Iterator[Iterator[dict[str, Any]]]:
    """Post a request and hand out the events of its answer.

    The SDK's own pull() waits for ever on a stream that falls silent, and neither its pull() nor
    its build() closes the connection when the reader stops early.

    Args:
        engine: The engine to ask.
        path: The address below the API's version, such as ``/build``.
        parameters: The query.
        headers: Further headers.
        body: What to send.
        stall_timeout: Seconds of silence after which the stream is given up.

    Yields:
        The events. A refusal of the whole request is an event with the key ``error`` too.

    Raises:
        requests.Timeout: The stream fell silent.
        requests.RequestException: The engine did not answer.
    """
    api = engine.client.api
    with (
        api.post(
            f"{api.base_url}/v{api.api_version}{path}",
            params=dict(parameters),
            headers=dict(headers or {}),
            data=body,
            stream=True,
            timeout=stall_timeout,
        ) as response,
        closing(_read(response)) as events,
    ):
        yield events


def _read(response: requests.Response) -> Generator[dict[str, Any]]:
    if not response.ok:
        yield {"error": _refusal(response)}
        return
    try:
        for line in response.iter_lines():
            if line:
                yield json.loads(line)
    except requests.ConnectionError as error:
        # A timeout in the middle of a stream comes as a lost connection.
        if "timed out" in str(error):
            raise requests.Timeout(str(error)) from error
        raise


def _refusal(response: requests.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError):
        return response.text or str(response.reason)
