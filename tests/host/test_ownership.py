"""Which process something belongs to, and whether it lives."""

from __future__ import annotations

from pytest_agent_sandbox.host.ownership import OWNER, PLACE, Owner, owner_file, owner_state


def test_owners() -> None:
    with Owner() as owner:
        assert owner_state(owner.labels) == "alive"
        assert owner_state({**owner.labels, PLACE: "elsewhere"}) == "unknown"
        assert owner_state({**owner.labels, OWNER: "../../etc/passwd"}) == "unknown"
        assert owner_state({}) == "unknown"
    assert owner_state(owner.labels) == "dead"
    assert not owner_file(owner.id).exists()
