"""`agent-sandbox prune`: it asks before it removes anything."""

import json

import pytest

from pytest_agent_sandbox.cli import main, pruning
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.host.ownership import PLACE, Owner
from tests.support.labelled_engine import Engine

KEPT, THEIRS = "agent-sandbox-kept-ours", "agent-sandbox-of-theirs"


@pytest.fixture
def sandboxes(monkeypatch):
    sandboxes = Engine()
    with Owner() as owner:
        labels = dict(owner.labels)
    sandboxes.api.add(KEPT, {**labels, "test": "t.py::test_x"})
    sandboxes.api.add(THEIRS, {**labels, PLACE: "elsewhere"})
    monkeypatch.setattr(sandboxes.api, "networks", lambda **_: [])
    monkeypatch.setattr(ContainerEngine, "connect", lambda: sandboxes)
    return sandboxes


@pytest.fixture
def terminal(monkeypatch):
    """A terminal at which somebody answers."""

    def answer(text):
        monkeypatch.setattr(pruning.sys.stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or text)
        return asked

    asked = []
    return answer


@pytest.mark.parametrize("arguments", [[], [KEPT], ["--json"]])
def test_where_nobody_can_be_asked_it_needs_yes(sandboxes, monkeypatch, capsys, arguments):
    monkeypatch.setattr(pruning.sys.stdin, "isatty", lambda: False, raising=False)
    assert main(["prune", *arguments]) == 1
    assert sandboxes.api.removed == []
    assert "This removes 1 sandbox: give --yes, or --dry-run" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "n", "N", "no", "yess"])
def test_any_other_answer_is_no(sandboxes, terminal, text):
    asked = terminal(text)
    assert main(["prune"]) == 1
    assert asked == ["Remove 1 sandbox? [y/N] "]
    assert sandboxes.api.removed == []


@pytest.mark.parametrize("text", ["y", "Y", "yes "])
def test_yes(sandboxes, terminal, capsys, text):
    terminal(text)
    assert main(["prune"]) == 0
    assert sandboxes.api.removed == [KEPT]
    shown = capsys.readouterr().out
    assert shown.index(f"{KEPT}: kept to be looked into") < shown.index(f"removed {KEPT}")


@pytest.mark.parametrize("option", ["--yes", "-y"])
def test_yes_beforehand(sandboxes, option):
    assert main(["prune", option]) == 0
    assert sandboxes.api.removed == [KEPT]


def test_nothing_to_remove_asks_nothing(sandboxes, terminal):
    sandboxes.api.shown.pop(0)
    asked = terminal("n")
    assert main(["prune"]) == 0
    assert asked == []


def test_a_dry_run_asks_nothing(sandboxes, terminal):
    asked = terminal("y")
    assert main(["prune", "--dry-run", "--yes"]) == 0
    assert asked == sandboxes.api.removed == []


@pytest.mark.parametrize("option", ["--yes", "--dry-run"])
def test_for_programs(sandboxes, capsys, option):
    assert main(["prune", "--json", option]) == 0
    document = json.loads(capsys.readouterr().out)
    removed = {one["name"]: one["removed"] for one in document["sandboxes"]}
    assert removed == {KEPT: option == "--yes", THEIRS: False}
    assert [one["use"] for one in document["sandboxes"]] == ["kept", "unknown"]
    assert document["sandboxes"][0]["labels"]["test"] == "t.py::test_x"
