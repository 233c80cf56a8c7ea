"""Which keepers belong to processes that live."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pytest_agent_sandbox.engines.kubernetes.cleanup import use_of_keeper

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("minutes", "status", "is_pending", "use"),
    [
        (1, {}, False, "alive"),  # its pod is still to come
        (5, {}, False, "unknown"),  # as where a quota leaves no room for one
        (600, {"active": 1}, False, "alive"),
        (5, {"active": 1}, True, "alive"),  # its image is being pulled
        # Its process was killed before the pod could run, which it never will.
        (31, {"active": 1}, True, "dead"),
        (1, {"conditions": [{"type": "Complete", "status": "True"}]}, False, "dead"),
        (1, {"conditions": [{"type": "Failed", "status": "True"}]}, False, "dead"),
    ],
)
def test_a_keeper(minutes: int, status: dict[str, Any], is_pending: bool, use: str) -> None:
    made = (NOW - timedelta(minutes=minutes)).isoformat()
    job = {"metadata": {"creationTimestamp": made}, "status": status}
    assert use_of_keeper(job, NOW, is_pending=is_pending) == use


def test_one_that_is_being_deleted() -> None:
    job = {"metadata": {"creationTimestamp": NOW.isoformat(), "deletionTimestamp": "now"}}
    assert use_of_keeper(job, NOW, is_pending=False) == "dead"
