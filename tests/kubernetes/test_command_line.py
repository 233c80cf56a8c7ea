"""`agent-sandbox doctor` and `agent-sandbox prune` on a real cluster."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox.cli import main
from pytest_agent_sandbox.engines.kubernetes.cleanup import find
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.keeper import Keeper
from pytest_agent_sandbox.engines.kubernetes.labels import KEPT, MANAGED, MANAGER, PROCESS, RUN
from pytest_agent_sandbox.engines.kubernetes.refusals import RULES, role
from tests.kubernetes.accounts import as_user, limited
from tests.kubernetes.conftest import TEMPLATE

# What the cluster needs to delete what a deleted job owns.
PATIENCE = 20


@pytest.fixture
def doctor(namespace: str, agent_server_image: str, tmp_path: Path) -> list[str]:
    """The arguments of the doctor of this cluster."""
    (tmp_path / "pod.yaml").write_text(TEMPLATE, "utf-8")
    options = ["--engine=kubernetes", f"--kube-namespace={namespace}"]
    options += [f"--image={agent_server_image}", f"--pod-template={tmp_path / 'pod.yaml'}"]
    return ["doctor", *options]


@pytest.fixture
def account(
    cluster: Cluster, kubeconfig: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """An account that may do what the Role allows, and nothing else; the one that is used."""
    user = limited(cluster, role(cluster.namespace))
    as_user(kubeconfig, user, tmp_path / "limited")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "limited"))
    return user


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.2)


def test_the_doctor_finds_all_well_with_the_role_alone(
    doctor: list[str],
    account: dict[str, str],
    cluster: Cluster,
    pods: Callable[[], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(doctor)
    shown = capsys.readouterr().out
    assert code == 0, shown
    for line in (
        rf"ok +credentials +context \S+, namespace {cluster.namespace}",
        r"ok +API server +Kubernetes v1\.20\S* at https://.+",
        r"ok +clock +within 60 s of the API server's",
        rf"-- +namespace +{cluster.namespace}; whether it is there may not be asked",
        *(rf"ok +{resource} +may {', '.join(verbs)}" for _, resource, verbs in RULES),
        r"ok +image +\S+, user 10001, agent server [\d.]+; its pod took [\d.]+ s",
        r"ok +isolation +a sandbox isolated by NET_ADMIN, without a way out, as seen .*",
    ):
        assert re.search(rf"^{line}$", shown, re.MULTILINE), (line, shown)
    assert account["token"] not in shown
    wait_until(lambda: not pods() and not find(cluster))
    assert main(["prune", "--engine=kubernetes", f"--kube-namespace={cluster.namespace}"]) == 0


def test_a_doctor_that_is_interrupted_leaves_nothing(
    doctor: list[str], cluster: Cluster, pods: Callable[[], list[str]]
) -> None:
    command = [sys.executable, "-m", "pytest_agent_sandbox.cli", *doctor]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        try:
            wait_until(lambda: any("doctor" in name for name in pods()))
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 130
    assert errors == "agent-sandbox: interrupted\n"
    wait_until(lambda: not pods() and not find(cluster))


def test_a_namespace_that_is_missing_is_told_and_nothing_is_made(
    doctor: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*doctor, "--kube-namespace=nowhere", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [one["subject"] for one in found if one["state"] == "failed"] == ["namespace"]
    assert "image" not in [one["subject"] for one in found]


@pytest.fixture
def keeper(cluster: Cluster, agent_server_image: str) -> Iterator[Keeper]:
    """The keeper of a process that lives, with its pod."""
    labels = {MANAGED: MANAGER, RUN: "alive", PROCESS: "alive"}
    made = Keeper(cluster, "agent-sandbox-alive", labels, agent_server_image, "Never", {})
    with made:
        wait_until(lambda: bool(_job(cluster, "agent-sandbox-alive")["status"].get("active")))
        yield made


def test_prune_deletes_what_nobody_uses(
    cluster: Cluster,
    keeper: Keeper,
    account: dict[str, str],
    pods: Callable[[], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    del account  # the Role is enough for it
    _make(cluster, "kept", {RUN: "r", PROCESS: "gone", KEPT: "true"})
    _make(cluster, "used", {RUN: "alive", PROCESS: "alive"}, ownerReferences=[keeper.owner])
    _make(cluster, "left", {RUN: "r", PROCESS: "gone"})
    _make_ended_job(cluster, "ended")
    _make(cluster, "foreign", {}, labels={"app": "theirs"})
    prune = ["prune", "--engine=kubernetes", f"--kube-namespace={cluster.namespace}"]
    assert main([*prune, "--yes", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)["sandboxes"]
    assert {one["name"]: (one["use"], one["removed"]) for one in document} == {
        "kept": ("kept", True),
        "left": ("dead", True),
        "used": ("alive", False),
        "agent-sandbox-alive": ("alive", False),
        "ended": ("dead", True),
    }

    def is_left(name: str) -> bool:
        return name in ("used", "foreign") or name.startswith("agent-sandbox-alive-")

    wait_until(lambda: all(is_left(name) for name in pods()))
    assert {"used", "foreign"} < set(pods())
    assert main([*prune, "--yes"]) == 0
    assert "used: in use by run alive" in capsys.readouterr().out


def _make(cluster: Cluster, name: str, ours: dict[str, str], **metadata: Any) -> None:
    manifest = {
        "metadata": {"name": name, "labels": {MANAGED: MANAGER, **ours}, **metadata},
        "spec": _spec("/pause"),
    }
    cluster.request("POST", cluster.path("pods"), f"create pod {name}", body=manifest)


def _make_ended_job(cluster: Cluster, name: str) -> None:
    """Makes a keeper that has ended, and that no controller deletes, as before 1.21."""
    labels = {MANAGED: MANAGER, RUN: "r", PROCESS: "ended"}
    template = {"metadata": {"labels": labels}, "spec": _spec("/no-such-program")}
    body = {
        "metadata": {"name": name, "labels": labels},
        "spec": {"backoffLimit": 0, "template": template, "activeDeadlineSeconds": 1},
    }
    path = cluster.path("jobs", group="batch")
    cluster.request("POST", path, f"create job {name}", body=body)
    wait_until(lambda: bool(_job(cluster, name)["status"].get("conditions")))


def _job(cluster: Cluster, name: str) -> dict[str, Any]:
    return cluster.get(cluster.path("jobs", name, group="batch"))


def _spec(program: str) -> dict[str, Any]:
    container = {
        "name": "server",
        "image": "pytest-agent-sandbox/pause:1",
        "imagePullPolicy": "Never",
        "command": [program],
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    }
