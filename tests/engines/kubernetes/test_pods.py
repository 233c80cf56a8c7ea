"""What a pod is to be, and what its status means; no cluster is needed for that."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox.containers.accounts import Account
from pytest_agent_sandbox.engines.engine import EngineContext, SandboxRequest
from pytest_agent_sandbox.engines.kubernetes.engine import KubernetesEngine
from pytest_agent_sandbox.engines.kubernetes.plan import PodPlan, plan_pod
from pytest_agent_sandbox.engines.kubernetes.pod_image import PodImage
from pytest_agent_sandbox.engines.kubernetes.pod_state import (
    end_facts_of,
    end_of,
    hopeless_start,
    why_not_cut,
)
from pytest_agent_sandbox.engines.kubernetes.pod_template import read_template
from pytest_agent_sandbox.engines.kubernetes.refusals import POLICY_RULE, RULES, refusal, role
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.sandbox.network import WayToGateway
from pytest_agent_sandbox.sandbox.server_process import MODULE, OUR_PYTHON, server_of
from pytest_agent_sandbox.settings.table import SandboxSettings

IMAGE = PodImage(
    "registry/server:1",
    Account(10001, 10001, "/home/x"),
    server_of((OUR_PYTHON, "-m", MODULE)),
    "1",
    "",
)
PAGE = Path(__file__).parents[3] / "docs" / "kubernetes.md"


def planned(template: dict[str, Any] | None = None, **settings: Any) -> PodPlan:
    request = SandboxRequest(settings=SandboxSettings(engine="kubernetes", **settings), test="t::x")
    return plan_pod(request, IMAGE, WayToGateway(), template or {}, "IfNotPresent")


def test_a_pod_is_given_no_more_than_it_needs() -> None:
    pod = planned(network="isolated", memory="2g", cpus=0.5, runtime="gvisor").pod
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["restartPolicy"] == "Never"
    assert pod["runtimeClassName"] == "gvisor"
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (server,) = pod["containers"]
    assert server["resources"]["limits"] == {"memory": str(2 * 1024**3), "cpu": "500m"}
    security = server["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["KILL", "SETGID", "SETUID"]}
    (cut,) = pod["initContainers"]
    assert cut["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    assert "initContainers" not in planned().pod


def test_a_strict_pod_is_read_only_isolated_and_never_root() -> None:
    plan = planned(security="strict", isolation="recycled")
    assert (plan.network, plan.isolation, plan.first_state) == ("isolated", "fresh", None)
    (server,) = plan.pod["containers"]
    security = server["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["KILL", "SETGID", "SETUID"]}
    assert {one["emptyDir"]["medium"] for one in plan.pod["volumes"]} == {"Memory"}
    assert [one["name"] for one in plan.pod["initContainers"]] == ["fill", "cut"]
    with pytest.raises(SettingsError, match="'open' is more than a sandbox with security = strict"):
        planned(security="strict", network="open")
    of_root = replace(IMAGE, account=Account(0, 0, "/root"))
    settings = SandboxSettings(engine="kubernetes", security="strict")
    request = SandboxRequest(settings=settings, test="t::x")
    with pytest.raises(SettingsError, match="wants a user other than root"):
        plan_pod(request, of_root, WayToGateway(), {}, "IfNotPresent")


def test_what_the_server_gets_of_this_process_is_in_no_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "a-value-nobody-else-has")
    plan = planned(forward_env=("MY_TOKEN",))
    assert plan.variables == {"MY_TOKEN": "a-value-nobody-else-has"}
    assert "a-value-nobody-else-has" not in json.dumps(plan.pod)
    assert "a-value-nobody-else-has" not in repr(plan)


def test_a_template_adds_and_takes_nothing_away() -> None:
    template = {
        "nodeSelector": {"pool": "a"},
        "tolerations": [{"key": "k"}],
        "automountServiceAccountToken": True,
        "volumes": [{"name": "v", "emptyDir": {}}],
        "securityContext": {"fsGroup": 1, "seccompProfile": {"type": "Unconfined"}},
        "containers": [
            {
                "name": "server",
                "image": "other",
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "resources": {"requests": {"cpu": "20m"}, "limits": {"memory": "99Gi"}},
                "securityContext": {"allowPrivilegeEscalation": True},
            },
            {"name": "beside", "image": "b"},
        ],
    }
    pod = planned(template).pod
    assert pod["nodeSelector"] == {"pool": "a"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {"fsGroup": 1, "seccompProfile": {"type": "RuntimeDefault"}}
    server, beside = pod["containers"]
    assert beside["name"] == "beside"
    assert server["image"] == IMAGE.reference
    assert server["volumeMounts"] == [{"name": "v", "mountPath": "/v"}]
    assert server["resources"]["requests"]["cpu"] == "20m"
    assert server["resources"]["limits"] == {"memory": str(4 * 1024**3)}
    assert server["securityContext"]["allowPrivilegeEscalation"] is False


@pytest.mark.parametrize(
    "text", ["kind: Deployment", "[", "kind: Pod\nspec: 3", "kind: Pod\nspec: {hostNetwork: true}"]
)
def test_a_template_that_cannot_be_used_names_its_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(SettingsError, match=r"--sandbox-pod-template=.*pod\.yaml"):
        read_template(str(file))


@pytest.mark.parametrize(
    "container",
    [
        {"name": "server", "securityContext": {"privileged": True}},
        {"name": "server", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}},
        {"name": "server", "securityContext": {"procMount": "Unmasked"}},
    ],
)
def test_a_template_gives_no_privileges(tmp_path: Path, container: dict[str, Any]) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text(json.dumps({"kind": "Pod", "spec": {"containers": [container]}}), "utf-8")
    with pytest.raises(SettingsError, match="securityContext"):
        read_template(str(file))


def test_sandboxes_of_other_settings_are_of_another_kind() -> None:
    kinds = {
        planned(**settings).kind
        for settings in (
            {},
            {"memory": "1g"},
            {"network": "isolated"},
            {"network": "isolated", "allow": ("a.example:443",)},
            {"runtime": "gvisor"},
            {"isolation": "shared"},
        )
    }
    assert len(kinds) == 6
    assert planned().kind == planned().for_anybody().kind


def status(**fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {}, "status": fields}


def server(**state: Any) -> list[dict[str, Any]]:
    return [{"name": "server", "image": "i:1", "state": state}]


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (None, "deleted by somebody else"),
        (status(reason="Evicted", message="low on disk"), "Evicted.*low on disk"),
        (status(reason="Preempting", message="for another"), "Preempting"),
        (status(reason="NodeLost", message="node a is gone"), "NodeLost"),
        (
            status(containerStatuses=server(terminated={"exitCode": 137, "reason": "OOMKilled"})),
            "out of memory",
        ),
        (status(containerStatuses=server(terminated={"exitCode": 3})), "code 3"),
        (status(phase="Failed", message="deadline"), "deadline"),
        (
            status(conditions=[{"type": "DisruptionTarget", "status": "True", "message": "drain"}]),
            "drain",
        ),
    ],
)
def test_an_end_is_told_in_words(pod: dict[str, Any] | None, expected: str) -> None:
    end = end_of(pod)
    assert end is not None
    assert re.search(expected, end.message)
    assert end.out_of_memory == ("memory" in expected)


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (status(phase="Running", containerStatuses=server(running={})), {"state": "running"}),
        (
            status(containerStatuses=server(terminated={"exitCode": 137, "reason": "OOMKilled"})),
            {"state": "exited", "exit_code": 137, "out_of_memory": True},
        ),
        (status(reason="NodeLost"), {"state": "ended: was ended by the cluster (NodeLost): "}),
    ],
)
def test_an_end_is_told_as_that_of_a_container(
    pod: dict[str, Any], expected: dict[str, Any]
) -> None:
    """By these facts a report says that memory ran out."""
    assert end_facts_of(pod, end_of(pod)) == expected


def test_a_pod_that_runs_has_not_ended() -> None:
    assert end_of(status(phase="Running", containerStatuses=server(running={}))) is None
    assert end_of(status(phase="Pending")) is None


@pytest.mark.parametrize(
    ("reason", "message", "expected"),
    [
        ("ImagePullBackOff", "Back-off pulling", "cannot be pulled"),
        ("ErrImagePull", "pull access denied, authentication required", "no pull secret"),
        ("ErrImageNeverPull", "not present", "--sandbox-pull=never"),
        ("InvalidImageName", "couldn't parse", "no image can have"),
        ("CreateContainerConfigError", "secret x not found", "secret x not found"),
        ("RunContainerError", "runc failed", "runc failed"),
    ],
)
def test_a_hopeless_start_is_told_in_words(reason: str, message: str, expected: str) -> None:
    waiting = server(waiting={"reason": reason, "message": message})
    assert expected in hopeless_start(status(containerStatuses=waiting))


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing", "ErrImagePull"])
def test_a_start_that_may_go_on_is_waited_for(reason: str) -> None:
    waiting = server(waiting={"reason": reason, "message": "net/http: TLS handshake timeout"})
    assert hopeless_start(status(containerStatuses=waiting)) == ""


def test_a_network_that_cannot_be_taken_away_is_told() -> None:
    ended = [{"name": "cut", "state": {"terminated": {"exitCode": 1, "message": "EPERM"}}}]
    assert "EPERM, code 1" in why_not_cut(status(initContainerStatuses=ended))
    ended[0]["state"]["terminated"]["exitCode"] = 0
    assert why_not_cut(status(initContainerStatuses=ended)) == ""
    assert why_not_cut(None) == ""


def test_a_refusal_says_what_to_do() -> None:
    told = {"reason": "Forbidden", "message": 'User "x" cannot create resource "pods" in API group'}
    error = refusal("create pod p", 403, told, "ns")
    assert "x needs the verb create on pods in the namespace ns" in str(error)
    assert role("ns") in str(error)
    assert "expired" in str(refusal("create pod p", 401, {}, "ns"))
    assert "HTTP 502" in str(refusal("create pod p", 502, "", "ns"))


def test_the_page_shows_the_role_that_is_needed() -> None:
    page = PAGE.read_text("utf-8")
    assert role("agents") in page
    assert len(RULES) == 5
    assert role("agents", [POLICY_RULE]).splitlines()[-1] in page


def test_the_page_names_what_is_refused() -> None:
    page = PAGE.read_text("utf-8")
    for name, value in (("user", "1"), ("volumes", ("a:/b",)), ("gpu", True), ("video", "all")):
        settings = SandboxSettings(engine="kubernetes", **{name: value})
        with pytest.raises(SettingsError, match=f"--sandbox-{name}"):
            KubernetesEngine(EngineContext(settings=settings, run="r"))
        assert f"`{name}`" in page
