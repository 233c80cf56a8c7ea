"""Whatever DNS answers, and whatever the egress proxy is asked."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from pytest_agent_sandbox.host import egress
from tests.support.hostile import lookups


def test_no_answer_leads_to_this_machine() -> None:
    """SECURITY.md: "the name is not followed there". For longer: scripts/fuzz lookups."""
    lookups.run(seed=0, count=300)


def test_it_would_have_been_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "why_near", lambda _: "")
    request = f"CONNECT {lookups.NAME}:80 HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    for near in ("127.0.0.1", "::ffff:127.0.0.1"):
        with pytest.raises(AssertionError):
            lookups.check((request, [((ip_address(near), False), "")]))


@pytest.mark.parametrize("name", ["a..b", f"{'x' * 70}.example"])
def test_a_name_that_no_name_can_be_is_an_answer_too(name: str) -> None:
    lookups.check((f"CONNECT {name}:80 HTTP/1.1\r\nHost: a\r\n\r\n".encode(), []))
