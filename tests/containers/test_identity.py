"""What tells a container apart from all others."""

import pytest

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.identity import identity
from pytest_agent_sandbox.errors import SandboxDied

from .starting import Start


def test_what_programs_inside_print_is_known(engine: ContainerEngine, start: Start) -> None:
    container = start(
        "hostname; cat /etc/hosts /sys/class/net/eth0/address; echo end; exec sleep 60"
    )
    known = identity(engine, container)
    assert set(known.values()) == {"address", "container", "gateway", "host", "mac"}
    while "end" not in container.log_tail().split():
        assert not container.wait_for_end(0.05)
    printed = set(container.log_tail().split())
    assert {known[word] for word in printed & set(known)} == {"address", "host", "mac"}


def test_no_two_are_the_same(engine: ContainerEngine, start: Start) -> None:
    one, other = (identity(engine, start("exec sleep 60")) for _ in range(2))
    assert {name for value, name in one.items() if value in other} == {"gateway"}


def test_a_container_that_is_gone_says_so(engine: ContainerEngine, start: Start) -> None:
    container = start("exit 3")
    assert container.wait_for_end(20)
    with pytest.raises(SandboxDied):
        identity(engine, container)
