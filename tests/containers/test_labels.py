"""Containers and networks whose labels somebody else has written."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_agent_sandbox.cli.prune import prune
from pytest_agent_sandbox.containers import cleanup
from pytest_agent_sandbox.containers.cleanup import (
    find,
    remove_labelled,
    remove_left_behind,
)
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.host.ownership import HOST, OWNER, PID, PLACE, Owner
from tests.support.labelled_engine import Engine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    engine = Engine()
    monkeypatch.setattr(ContainerEngine, "connect", lambda: engine)
    return engine


@pytest.fixture
def ended() -> dict[str, str]:
    """The labels of a process of this machine that has ended."""
    with Owner() as owner:
        labels = dict(owner.labels)
    return labels


ODD: list[Any] = ["", "x" * 5000, "../../x", "é" * 200, "²", "a/b", "\0", "\x1b[2J", None, "none"]


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:9])
@pytest.mark.parametrize("name", [OWNER, PLACE, PID, HOST, "test", "started"])
def test_any_labels_are_no_trouble(
    engine: Any, ended: dict[str, str], capsys: pytest.CaptureFixture[str], name: str, value: Any
) -> None:
    engine.api.add("agent-sandbox-odd", {**ended, name: value})
    assert len(find(engine)) == 2
    remove_left_behind(engine)
    assert bool(engine.api.removed) is (name not in (OWNER, PLACE))
    assert prune([], yes=True)
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "\0" not in told
    assert len(told) < 2000


def test_what_has_only_some_of_the_labels_stays(engine: Any, ended: dict[str, str]) -> None:
    engine.api.add("agent-sandbox-1", {OWNER: ended[OWNER]})
    engine.api.add("agent-sandbox-2", {PLACE: ended[PLACE], OWNER: "0" * 64 + "1"})
    engine.api.add("agent-sandbox-kept-3", {OWNER: ended[OWNER]})
    assert {one.use for one in find(engine)} == {"unknown"}
    prune([], yes=True)
    remove_left_behind(engine)
    assert engine.api.removed == []


def test_one_that_has_another_s_owner_does_not_decide_about_it(
    engine: Any, ended: dict[str, str]
) -> None:
    """The state of an owner is looked up once; labels of the same owner may differ in the rest."""
    engine.api.add("agent-sandbox-1", {**ended, PLACE: "elsewhere"})
    engine.api.add("agent-sandbox-2", ended)
    uses = {one.name: one.use for one in find(engine)}
    assert (uses["agent-sandbox-1"], uses["agent-sandbox-2"]) == ("unknown", "dead")


def test_what_others_have_kept_stays(engine: Any, ended: dict[str, str]) -> None:
    """Of another user, or on another machine: prune removes it where it is named."""
    engine.api.add("agent-sandbox-kept-ours", ended)
    engine.api.add("agent-sandbox-kept-theirs", {**ended, PLACE: "elsewhere"})
    prune([], yes=True)
    assert "agent-sandbox-kept-ours" in engine.api.removed
    assert "agent-sandbox-kept-theirs" not in engine.api.removed
    prune(["agent-sandbox-kept-theirs"], yes=True)
    assert "agent-sandbox-kept-theirs" in engine.api.removed


def test_containers_of_an_image_that_was_made_of_one_of_ours_stay(
    engine: Any, ended: dict[str, str]
) -> None:
    """Its labels are theirs too, and so they have the owner's."""
    engine.api.add("database", ended)
    engine.api.add("agent-sandbox-1", ended)
    assert remove_labelled(engine, {OWNER: ended[OWNER]}) > 0
    assert "agent-sandbox-1" in engine.api.removed
    assert "database" not in engine.api.removed
    assert all(one.name.startswith(cleanup.NAME_PREFIX) for one in find(engine))
