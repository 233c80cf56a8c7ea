"""`agent-sandbox prune --engine kubernetes`: whose pods and jobs there are, and which go."""

import json

import pytest

from pytest_agent_sandbox.cli import main
from tests.support.kube_api import KubeApi

PRUNE = ["prune", "--engine", "kubernetes"]
USES = {
    "kept": "kept",
    "kept-of-alive": "kept",
    "kept-of-ended": "kept",
    "pod-of-alive": "alive",
    "pod-of-new": "alive",
    "pod-of-ended": "dead",
    "pod-of-nobody": "dead",
    "pod-of-stuck": "unknown",
    "stranger": "unknown",
    "alive": "alive",
    "deleted": "dead",
    "ended": "dead",
    "new": "alive",
    "stuck": "unknown",
}
JOBS = {"alive", "deleted", "ended", "new", "stuck"}
GO = {name for name, use in USES.items() if use in ("kept", "dead")}


@pytest.fixture
def api(tmp_path, monkeypatch):
    with KubeApi() as found:
        found.write_kubeconfig(tmp_path / "kubeconfig")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield found


@pytest.fixture
def runs(api):
    """What runs have left, and what others still use."""
    of = {name: {"run": f"r-{name}", "process": name} for name in (*JOBS, "nobody")}
    api.add("jobs", "alive", of["alive"], active=1)
    api.add("jobs", "new", of["new"], minutes=0.5)
    ended = [{"type": "Complete", "status": "True"}]
    api.add("jobs", "ended", of["ended"], conditions=ended)
    api.add("jobs", "stuck", of["stuck"], conditions=[{"type": "Failed", "status": "False"}])
    api.add("jobs", "deleted", of["deleted"], active=1)
    api.things["jobs"][-1]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    for name in ("alive", "new", "ended", "stuck", "nobody"):
        api.add("pods", f"pod-of-{name}", of[name], test=f"test_it.py::{name}")
    api.add("pods", "kept", {"kept": "true"}, test="test_it.py::kept")
    for name in ("alive", "ended"):
        api.add("pods", f"kept-of-{name}", {**of[name], "kept": "true"})
    api.add("pods", "stranger", {})
    # A keeper's own pod is told with its job.
    api.add("pods", "pod-of-keeper", of["alive"])
    api.things["pods"][-1]["metadata"]["labels"]["job-name"] = "alive"
    return api


def deleted(api):
    """The names of what was deleted; asserts that each is deleted as what it is."""
    found = set()
    for one in api.changes:
        path, _, name = one.removeprefix("DELETE ").rpartition("/")
        batch = "/apis/batch/v1/namespaces/agents/jobs"
        assert path == (batch if name in JOBS else "/api/v1/namespaces/agents/pods")
        found.add(name)
    return found


@pytest.mark.parametrize("option", ["--yes", "--dry-run"])
def test_what_nobody_uses_goes_and_what_is_alive_stays(runs, capsys, option):
    assert main([*PRUNE, option, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)["sandboxes"]
    assert {one["name"]: one["use"] for one in document} == USES
    assert {one["name"] for one in document if one["kind"] == "job"} == JOBS
    gone = GO if option == "--yes" else set()
    assert {one["name"] for one in document if one["removed"]} == gone
    assert deleted(runs) == gone
    (dead,) = (one for one in document if one["name"] == "pod-of-ended")
    assert dead["labels"]["test"] == "test_it.py::ended"
    assert dead["labels"]["run"] == "r-ended"


def test_all_is_told_in_words(runs, capsys):
    assert main([*PRUNE, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "agent-sandbox: kept: kept to be looked into; of test_it.py::kept, started 20" in shown
    assert "alive (job): in use by run r-alive, started 20" in shown
    assert "ended (job): left behind by run r-ended, whose process has ended" in shown
    assert "stuck (job): of run r-stuck, of which nothing tells whether it has ended" in shown
    assert "pod-of-keeper" not in shown


def test_it_asks_for_what_is_ours_alone_and_for_pods_first(api, capsys):
    asked = []
    told = api._answer
    api._answer = lambda request: (asked.append(request.path), told(request))
    assert main([*PRUNE, "--yes"]) == 0
    assert [one.partition("?")[0].rpartition("/")[2] for one in asked] == ["pods", "jobs"]
    for one in asked:
        assert "labelSelector=app.kubernetes.io%2Fmanaged-by%3Dpytest-agent-sandbox" in one
    assert "there are no sandboxes in the namespace agents" in capsys.readouterr().out


def test_what_is_named_goes_whoever_uses_it_and_nothing_else(runs):
    assert main([*PRUNE, "--yes", "stuck", "pod-of-alive"]) == 0
    assert deleted(runs) == {"stuck", "pod-of-alive"}


def test_a_name_that_is_unknown(runs, capsys):
    assert main([*PRUNE, "--yes", "nothing"]) == 1
    assert "No sandbox is called nothing; there are: kept" in capsys.readouterr().err
    assert deleted(runs) == set()


def test_where_nobody_can_be_asked_it_needs_yes(runs, capsys):
    assert main([*PRUNE, "--json"]) == 1
    assert f"This removes {len(GO)} sandboxes: give --yes" in capsys.readouterr().err
    assert deleted(runs) == set()


def test_what_cannot_be_deleted_does_not_keep_the_rest(runs, capsys):
    runs.refused["DELETE /api/v1/namespaces/agents/pods/kept-of-alive"] = (500, "no quorum")
    runs.refused["DELETE /api/v1/namespaces/agents/pods/pod-of-nobody"] = (404, "gone")
    runs.refused["DELETE /apis/batch/v1/namespaces/agents/jobs/deleted"] = (404, "gone")
    assert main([*PRUNE, "--json", "--yes"]) == 1
    printed = capsys.readouterr()
    assert "no quorum" in printed.err
    document = json.loads(printed.out)["sandboxes"]
    assert {one["name"] for one in document if one["removed"]} == GO - {"kept-of-alive"}
    assert {one["name"] for one in document if one["problem"]} == {"kept-of-alive"}


def test_what_others_wrote_does_not_steer_the_terminal(api, capsys):
    api.add("pods", "p", {"kept": "true"}, test="t\x1b[2J\u202e.py")
    assert main([*PRUNE, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert not set(shown) & set("\x1b\u202e")


def test_jobs_that_may_not_be_listed_are_told_with_the_role(api, capsys):
    told = 'User "x" cannot list resource "jobs" in API group "batch"'
    api.refused["GET /apis/batch"] = (403, told)
    assert main([*PRUNE, "--yes"]) == 1
    assert "x needs the verb list on jobs in the namespace agents" in capsys.readouterr().err
