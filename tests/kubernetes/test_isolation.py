"""Isolated sandboxes where no pod may take its own network away: a policy, tried from inside."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox import SandboxError
from pytest_agent_sandbox.cli import main
from pytest_agent_sandbox.engines.engine import SandboxRequest
from pytest_agent_sandbox.engines.kubernetes import deny_all
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.engine import KubernetesEngine
from pytest_agent_sandbox.engines.kubernetes.labels import ISOLATED_LABEL
from pytest_agent_sandbox.engines.kubernetes.plan import _cut
from pytest_agent_sandbox.engines.kubernetes.refusals import POLICY_RULE, RULES, role
from pytest_agent_sandbox.engines.kubernetes.workspace import KubernetesWorkspace
from pytest_agent_sandbox.errors import SandboxStartFailed
from tests.kubernetes.accounts import as_user, limited
from tests.kubernetes.conftest import TEMPLATE, EngineIn
from tests.support.admission import Admission, capabilities

REFUSAL = 'violates PodSecurity "baseline:v1.30": container "cut" must not include "NET_ADMIN"'
POLICIES = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"


class Wall:
    """A policy of the cluster that forbids NET_ADMIN, and a network plugin.

    Attributes:
        is_enforced: Whether the plugin enforces network policies.
        is_silent: Whether NET_ADMIN is not refused, but means nothing.
        refused: The names of the pods that were refused.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.is_enforced = False
        self.is_silent = False
        self.refused: list[str] = []

    def look(self, pod: dict[str, Any]) -> str:
        for one in pod["spec"].get("initContainers") or () if self.is_silent else ():
            one["securityContext"]["capabilities"]["add"] = []
        if "NET_ADMIN" in capabilities(pod):
            self.refused.append(pod["metadata"].get("name", ""))
            return REFUSAL
        if self.is_enforced and self._is_chosen(pod["metadata"].get("labels") or {}):
            # Stands for a network plugin, of which this node has none.
            stand_in = {**_cut(pod["spec"]["containers"][0]["image"], "Never"), "name": "plugin"}
            pod["spec"].setdefault("initContainers", []).append(stand_in)
        return ""

    def policies(self) -> list[dict[str, Any]]:
        """Return the policies that there are."""
        return list(self._cluster.get(POLICIES.format(self._cluster.namespace))["items"])

    def _is_chosen(self, labels: dict[str, str]) -> bool:
        return any(
            one["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
            and set(one["spec"]["policyTypes"]) == {"Ingress", "Egress"}
            and not one["spec"].get("egress")
            and not one["spec"].get("ingress")
            for one in self.policies()
        )


@pytest.fixture
def wall(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wall]:
    """Such a cluster, as far as the test's namespace goes."""
    monkeypatch.setattr(deny_all, "_SETTLE", 2.0)  # what enforces it here does so at once
    made = Wall(cluster)
    with Admission(cluster, tmp_path, made.look):
        yield made


def request(kubernetes: KubernetesEngine, folder: Path, **settings: Any) -> SandboxRequest:
    chosen = replace(kubernetes.context.settings, network="isolated", **settings)
    return SandboxRequest(
        settings=chosen, image=chosen.image or "", test="t.py::t", log_path=folder / "server.log"
    )


def test_a_policy_that_nobody_enforces_isolates_nothing_and_is_refused(
    wall: Wall, engine_in: EngineIn, pods: Callable[[], list[str]], tmp_path: Path
) -> None:
    kubernetes = engine_in()
    began = time.monotonic()
    with pytest.raises(SandboxStartFailed, match="was to be isolated, and is not") as caught:
        kubernetes.start(request(kubernetes, tmp_path))
    assert time.monotonic() - began < 45
    told = str(caught.value)
    assert re.search(r"from inside it reaches .*\d port \d+", told)
    assert 'must not include "NET_ADMIN"' in told
    assert "nothing enforces the network policy agent-sandbox-" in told
    for way in ("admit NET_ADMIN", "Calico or Cilium", "--sandbox-network=open"):
        assert way in told
    assert wall.refused
    assert [name for name in pods() if "-t-" in name] == []
    # The next one is not tried the first way again, and is refused too.
    before = len(wall.refused)
    with pytest.raises(SandboxStartFailed, match="was to be isolated, and is not"):
        kubernetes.start(request(kubernetes, tmp_path))
    assert len(wall.refused) == before


def test_a_policy_that_is_enforced_isolates_and_was_tried_from_inside(
    wall: Wall, engine_in: EngineIn, cluster: Cluster, tmp_path: Path
) -> None:
    wall.is_enforced = True
    kubernetes = engine_in()
    with kubernetes.start(request(kubernetes, tmp_path)) as workspace:
        assert isinstance(workspace, KubernetesWorkspace)
        assert workspace.facts()["network"] == "isolated, by a network policy, tried from inside"
        tried = workspace.execute_command(
            "python3 -c 'import socket; socket.create_connection((\"1.1.1.1\", 53), 2)'"
        )
        assert "unreachable" in tried.stderr
        (policy,) = wall.policies()
        assert policy["metadata"]["ownerReferences"][0]["kind"] == "Job"
        assert policy["spec"] == {
            "podSelector": {"matchLabels": policy["spec"]["podSelector"]["matchLabels"]},
            "policyTypes": ["Ingress", "Egress"],
        }
        pod = cluster.get(cluster.path("pods", workspace.name))
        assert pod["metadata"]["labels"][ISOLATED_LABEL] == "true"
        # One that is kept keeps a policy too, which goes with it.
        workspace.keep()
    own = next(one for one in wall.policies() if one["metadata"]["name"] == workspace.name)
    (owner,) = own["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("Pod", workspace.name)
    kubernetes.close()
    cluster.request("DELETE", cluster.path("pods", workspace.name), "delete it")
    until = time.monotonic() + 30
    while wall.policies():
        assert time.monotonic() < until
        time.sleep(0.3)


def test_what_cannot_take_its_network_away_although_it_may_is_helped_too(
    wall: Wall, engine_in: EngineIn, pods: Callable[[], list[str]], tmp_path: Path
) -> None:
    wall.is_silent = wall.is_enforced = True
    kubernetes = engine_in()
    with kubernetes.start(request(kubernetes, tmp_path)) as workspace:
        assert workspace.facts()["network"] == "isolated, by a network policy, tried from inside"
        assert [name for name in pods() if "-t-" in name] == [workspace.name]
    wall.is_enforced = False
    for policy in wall.policies():
        assert policy["metadata"]["ownerReferences"]
    with pytest.raises(SandboxStartFailed, match=r"is not: .*could not be taken away from inside"):
        kubernetes.start(request(kubernetes, tmp_path))
    assert wall.refused == []


def test_what_may_make_no_policy_is_told_the_role(
    wall: Wall,
    cluster: Cluster,
    kubeconfig: str,
    engine_in: EngineIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_user(kubeconfig, limited(cluster, role(cluster.namespace)), tmp_path / "limited")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "limited"))
    kubernetes = engine_in()
    with pytest.raises(SandboxStartFailed, match="No isolated sandbox can be started") as caught:
        kubernetes.start(request(kubernetes, tmp_path))
    assert "NET_ADMIN" in str(caught.value)
    assert "needs the verb create on networkpolicies" in str(caught.value)
    assert role(cluster.namespace, (*RULES, POLICY_RULE)) in str(caught.value)


def test_a_pod_that_is_refused_for_another_reason_is_told_that_reason(
    cluster: Cluster, engine_in: EngineIn, tmp_path: Path
) -> None:
    def look(pod: dict[str, Any]) -> str:
        is_sandbox = "hostname" in pod["spec"]
        return "pods want a label `team`" if is_sandbox else ""

    with Admission(cluster, tmp_path, look):
        kubernetes = engine_in()
        with pytest.raises(SandboxError, match="pods want a label `team`") as caught:
            kubernetes.start(request(kubernetes, tmp_path))
    assert "is not" not in str(caught.value)
    assert "network policy" not in str(caught.value)


@pytest.mark.parametrize("is_enforced", [True, False])
def test_the_doctor_tells_which_way_isolates(
    wall: Wall,
    cluster: Cluster,
    agent_server_image: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    is_enforced: bool,
) -> None:
    wall.is_enforced = is_enforced
    (tmp_path / "pod.yaml").write_text(TEMPLATE, "utf-8")
    options = ["--engine=kubernetes", f"--kube-namespace={cluster.namespace}"]
    options += [f"--image={agent_server_image}", f"--pod-template={tmp_path / 'pod.yaml'}"]
    assert main(["doctor", *options]) == 0
    shown = re.sub(r"\s+", " ", capsys.readouterr().out)
    if is_enforced:
        assert re.search(
            r"ok isolation a sandbox isolated by a network policy, .*as tried from inside", shown
        )
    else:
        assert re.search(r"-- isolation .*was to be isolated, and is not: .* reaches", shown)
        assert "ok sandbox" in shown
