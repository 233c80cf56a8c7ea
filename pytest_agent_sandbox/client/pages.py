"""Lists of an agent server, which come in pages; none is followed without end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_agent_sandbox.client.answers import an_object, shown
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import ServerError

# The most pages of one list: at 100 events each, more than a conversation of a million events.
_MOST_PAGES = 10_000
# The most bytes of one list.
_MOST_BYTES = 2 * 1024**3


def items(
    connection: ServerConnection,
    path: str,
    params: Mapping[str, Any],
    *,
    page_id: str | None = None,
    timeout: float | None = None,
    deadline: float = math.inf,
) -> Iterator[Any]:
    """Yield what a list of the server has, page by page.

    Args:
        connection: The way to the server.
        path: The list's.
        params: Query parameters.
        page_id: Where to begin; None for the first page.
        timeout: Seconds for a page; by default only silence is limited.
        deadline: When to give up, by the monotonic clock.

    Raises:
        ServerError: The server refused, answers with something else, or its pages do not end.
        SandboxError: Whatever the connection's guard knows to be the cause.
    """
    seen = {page_id}
    size = 0
    for _ in range(_MOST_PAGES):
        answer = connection.request(
            "GET",
            path,
            params={**params, "page_id": page_id},
            timeout=timeout,
            retry=True,
            deadline=deadline,
        )
        size += len(answer.content)
        if size > _MOST_BYTES:
            raise ServerError(f"{path} was answered with over {_MOST_BYTES:,} bytes.")
        page = an_object(connection.decoded(answer), path)
        found = page.get("items")
        if not isinstance(found, list):
            raise ServerError(f"{path} was answered with a page of {shown(found)}.")
        yield from found
        page_id = page.get("next_page_id")
        if not page_id:
            return
        if not isinstance(page_id, str) or page_id in seen:
            raise ServerError(f"{path} was answered with pages that do not end.")
        seen.add(page_id)
        if connection.time.is_over(deadline):
            raise ServerError(f"{path} was not answered with all of its pages in time.")
    raise ServerError(f"{path} was answered with over {_MOST_PAGES:,} pages.")
