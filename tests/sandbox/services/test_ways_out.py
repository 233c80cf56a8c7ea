"""Which other services a service reaches by name."""

from __future__ import annotations

import pytest

from pytest_agent_sandbox import Service
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.sandbox.forwards import Place
from pytest_agent_sandbox.sandbox.services.bring_up import unreachable
from pytest_agent_sandbox.sandbox.services.starting import check_names

PLACES: list[Place] = [("db", 5432), ("cache", 6379), ("web", 8000), ("web", 8001), ("api", 18000)]


@pytest.mark.parametrize(
    ("name", "ports", "lost"),
    [
        ("db", [5432], set()),
        # Its own server would answer under the other's name.
        ("api", ["18000:8000"], {"web"}),
        ("other", [5432, 6379], {"db", "cache"}),
        ("worker", [], set()),
    ],
)
def test_a_service_does_not_reach_what_has_a_port_of_its_own(
    name: str, ports: list[int | str], lost: set[str]
) -> None:
    assert unreachable(name, Service("x", ports=ports), PLACES) == lost


def test_one_that_comes_after_another_with_its_port_is_told() -> None:
    first, second = Service("x", ports=[8000]), Service("x", ports=[8000], after=["first"])
    with pytest.raises(SettingsError, match=r"Service second: after names 'first', which it"):
        check_names({"first": first, "second": second})
    check_names({"first": Service("x", ports=["18000:8000"]), "second": second})


def test_one_that_waits_for_itself() -> None:
    with pytest.raises(SettingsError, match="wait for one another"):
        check_names({"first": Service("x", ports=[8000], after=["first"])})
