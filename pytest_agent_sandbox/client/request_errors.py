"""What the errors of requests mean."""

from __future__ import annotations

import httpx

from pytest_agent_sandbox.errors import ServerError


def is_silence(error: ServerError) -> bool:
    """Tell whether the server took a request and answered nothing in time."""
    return isinstance(error.__cause__, httpx.ReadTimeout)


def may_pass(error: Exception) -> bool:
    """Tell whether the same request may succeed a moment later."""
    if not isinstance(error, ServerError):
        return True
    return error.status == httpx.codes.TOO_MANY_REQUESTS or httpx.codes.is_server_error(
        error.status or 0
    )
