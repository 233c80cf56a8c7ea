"""Which sandboxes a test has used, and what is kept of them, without an engine."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_agent_sandbox.errors import SandboxDied
from pytest_agent_sandbox.evidence.recorder import Recorder
from pytest_agent_sandbox.host.redaction import Redactor
from pytest_agent_sandbox.plugin.report import outcome
from pytest_agent_sandbox.plugin.report.uses import SandboxUses, started_by_tests
from pytest_agent_sandbox.sandbox.workspace import Workspace

SECRET = "a-secret-of-the-run"


class FakeWorkspace(Workspace):
    """A workspace whose changes are what is in a list, since the last snapshot."""

    def __init__(self, name: str) -> None:
        super().__init__("http://127.0.0.1:9")
        self._name = name
        self.changed: list[str] = []
        self.is_kept = self.is_hanging = False

    @property
    def name(self) -> str:
        return self._name

    def facts(self) -> dict[str, Any]:
        return {"start_seconds": 5.0, "network": f"that of {self._name}"}

    def alive(self, *, timeout: float = 2.0) -> bool:
        return not self.is_hanging

    def snapshot(self, *, timeout: float = 1.0) -> Any:
        return len(self.changed)

    def changes_as_diff(self, *, base: Any = "HEAD", **_: Any) -> str:
        return "".join(f"{one}\n" for one in self.changed[base if isinstance(base, int) else 0 :])

    def touch(self, name: str) -> None:
        """Do what every request to a server does first, and change something."""
        self.connection._note_use()
        self.changed.append(name)

    def keep(self) -> None:
        self.is_kept = True


class Run:
    """A run of tests, one after another."""

    def __init__(self, folder: Path, keep: str = "none") -> None:
        redactor = Redactor()
        redactor.add(SECRET)
        self.folder = folder
        self.redactor = redactor
        self.keep = keep
        evidence = SimpleNamespace(
            recorder=self._recorder,
            wants_evidence=outcome.failed,
        )
        self.uses = SandboxUses(lambda: evidence, lambda failed: keep == "all" or failed)

    def _recorder(self, item: Any) -> Recorder:
        if outcome.RECORDER not in item.stash:
            item.stash[outcome.RECORDER] = Recorder(self.folder, item.name, self.redactor)
        return item.stash[outcome.RECORDER]

    def begin(self, name: str, *given: Workspace) -> Any:
        kept = {
            str(n): [SimpleNamespace(cached_result=(one, 0, None))] for n, one in enumerate(given)
        }
        item = SimpleNamespace(
            name=name, stash=pytest.Stash(), _fixtureinfo=SimpleNamespace(name2fixturedefs=kept)
        )
        self.uses.begin(item)
        return item

    def end(self, item: Any, *, failed: bool = True) -> dict[str, Any]:
        self.call(item, failed=failed)
        self.uses.end(is_wanted=failed)
        if outcome.RECORDER not in item.stash:
            return {"sandboxes": [], "diff": None}
        recorder = item.stash[outcome.RECORDER]
        recorder.save()
        diff = recorder.folder / "workspace.diff"
        result = json.loads((recorder.folder / "result.json").read_text("utf-8"))
        logs = {path.name: path.read_text("utf-8") for path in recorder.folder.glob("*.log")}
        return {**result, "diff": diff.read_text("utf-8") if diff.exists() else None, "logs": logs}

    def call(self, item: Any, *, failed: bool) -> None:
        """Say how the test's function has ended."""
        phase = outcome.Phase("failed" if failed else "passed", 1.0)
        item.stash[outcome._PHASES] = {"setup": outcome.Phase("passed", 1.0), "call": phase}
        if failed:
            self.uses.note_failure()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def names(result: dict[str, Any]) -> list[str]:
    return [one["container"] for one in result["sandboxes"]]


def test_a_test_uses_what_it_touches_what_is_given_and_what_is_started_in_it(run: Run) -> None:
    touched, given, other = (FakeWorkspace(name) for name in ("touched", "given", "other"))
    first = run.begin("first")
    for workspace in (touched, given, other):
        run.uses.started(workspace, "program", log=None)
    assert names(run.end(first)) == ["touched", "given", "other"]
    second = run.begin("second", given)
    touched.touch("x")
    started = FakeWorkspace("started")
    run.uses.started(started, "scope", log=None)
    assert run.uses.open() == [given, touched, started]
    assert names(run.end(second)) == ["given", "touched", "started"]
    third = run.begin("third")
    assert names(run.end(third)) == []
    other.touch("between tests")
    assert outcome.RECORDER not in third.stash


def test_it_says_of_each_what_was_true_of_it(run: Run) -> None:
    own, wide = FakeWorkspace("own"), FakeWorkspace("wide")
    item = run.begin("first")
    run.uses.started(own, "program", log=None, facts=started_by_tests(own))
    run.uses.started(wide, "scope", log=None, facts={"scope": "module"})
    of_own, of_wide = run.end(item)["sandboxes"]
    assert of_own == {
        "container": "own",
        "start_seconds": 5.0,
        "network": "that of own",
        **started_by_tests(own),
    }
    assert of_wide["scope"] == "module"
    item = run.begin("second", wide)
    (of_wide,) = run.end(item)["sandboxes"]
    assert of_wide["earlier tests in it"] == 1
    assert "start_seconds" not in of_wide, "for which this test has not waited"


def test_each_test_has_its_own_part_of_changes_and_log(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "whole.log"
    workspace = FakeWorkspace("wide")
    item = run.begin("first")
    log.write_text("start\n", "utf-8")
    run.uses.started(workspace, "scope", log=log)
    workspace.touch("of the first")
    result = run.end(item)
    assert (result["diff"], result["logs"]) == ("of the first\n", {"container.log": "start\n"})
    item = run.begin("second", workspace)
    workspace.touch("of the second")
    with log.open("a", encoding="utf-8") as file:
        file.write(f"second {SECRET}\n")
    result = run.end(item)
    assert result["diff"] == "of the second\n"
    assert result["logs"] == {"container.log": "second ***\n"}
    assert result["sandboxes"][0]["log"] == "container.log"


def test_a_log_whose_middle_was_dropped_is_kept_as_it_is(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "whole.log"
    log.write_text("x" * 1000, "utf-8")
    workspace = FakeWorkspace("wide")
    run.end(_with_started(run, workspace, log))
    item = run.begin("second", workspace)
    log.write_text("shorter now\n", "utf-8")
    assert run.end(item)["logs"] == {"container.log": "shorter now\n"}


def _with_started(run: Run, workspace: Workspace, log: Path | None = None) -> Any:
    item = run.begin("first")
    run.uses.started(workspace, "scope", log=log)
    return item


def test_what_no_fixture_gives_says_that_its_changes_may_be_of_others(run: Run) -> None:
    """A snapshot would take of the time that the test's own call has."""
    workspace = FakeWorkspace("hidden")
    item = _with_started(run, workspace)
    workspace.touch("of the first")
    run.end(item)
    item = run.begin("second")
    workspace.touch("of the second")
    diff = run.end(item)["diff"]
    assert diff.startswith("of the first\nof the second\n(the workspace before this test is not")
    assert "other tests have used it before this one" in diff


def test_a_server_that_hangs_costs_no_snapshot(run: Run) -> None:
    workspace = FakeWorkspace("hanging")
    run.end(_with_started(run, workspace))
    workspace.is_hanging = True
    item = run.begin("second", workspace)
    assert workspace.before_agents is None
    assert "does not answer" in run.end(item)["diff"]


def test_a_sandbox_that_has_died_is_for_its_test_to_meet(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = FakeWorkspace("dead")
    run.end(_with_started(run, workspace))

    def gone() -> None:
        raise SandboxDied("it is gone")

    monkeypatch.setattr(workspace.connection, "check", gone)
    item = run.begin("second", workspace)
    assert "it is gone" in run.end(item)["diff"]


@pytest.mark.parametrize(
    ("when", "failed", "kept"),
    [
        ("in the function", False, True),  # how it ends nobody knows by then
        ("after it", True, True),
        ("after it", False, False),
    ],
)
def test_one_that_is_closed_before_the_end_leaves_its_evidence(
    run: Run, when: str, failed: bool, kept: bool
) -> None:
    workspace = FakeWorkspace("own")
    item = run.begin("first")
    run.uses.started(workspace, "program", log=None)
    workspace.touch("changed")
    if when == "after it":
        run.call(item, failed=failed)
    workspace.close()
    workspace.changed.append("after its end")
    result = run.end(item, failed=failed)
    assert result["diff"] == ("changed\n" if kept else None)


@pytest.mark.parametrize("owner", ["scope", "program"])
@pytest.mark.parametrize("failed", [True, False])
def test_one_of_several_tests_is_kept_where_one_has_failed(
    run: Run, owner: Any, failed: bool
) -> None:
    workspace = FakeWorkspace("wide")
    item = run.begin("first")
    run.uses.started(workspace, owner, log=None)
    run.end(item, failed=failed)
    item = run.begin("second", workspace)
    run.call(item, failed=False)
    workspace.close()
    assert workspace.is_kept is (failed and owner == "scope"), "a program's own is its own affair"


def test_which_ones_go_on_after_a_test(run: Run) -> None:
    run.begin("first")
    owners: list[Any] = ["test", "scope", "program"]
    workspaces = [FakeWorkspace(owner) for owner in owners]
    for workspace, owner in zip(workspaces, owners, strict=True):
        run.uses.started(workspace, owner, log=None)
    assert [run.uses.goes_on(one) for one in workspaces] == [False, True, False]
