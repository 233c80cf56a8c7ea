"""`agent-sandbox doctor --engine kubernetes`, as far as no pod is needed."""

import json
import re
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from pytest_agent_sandbox.cli import doctor_kubernetes, main
from pytest_agent_sandbox.containers.accounts import Account
from pytest_agent_sandbox.engines.kubernetes.pod_image import PodImage
from pytest_agent_sandbox.engines.kubernetes.refusals import RULES, role
from pytest_agent_sandbox.errors import SandboxStartFailed
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.sandbox.server_process import MODULE, OUR_PYTHON, server_of
from tests.support.kube_api import NAMESPACE, KubeApi

DOCTOR = ["doctor", "--engine", "kubernetes"]


@pytest.fixture
def api(tmp_path, monkeypatch):
    """An API server that all is well with, but that it makes nothing."""
    with KubeApi() as found:
        found.write_kubeconfig(tmp_path / "kubeconfig")
        found.refused["POST /apis/batch"] = (403, "the policy of this cluster says no")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield found


@pytest.fixture
def findings(capsys):
    """Runs the doctor, and returns the state and the text of each finding by its subject."""

    def run(*arguments, code=1):
        assert main([*DOCTOR, "--json", *arguments]) == code
        printed = capsys.readouterr().out
        assert "token-nobody-sees" not in printed
        document = json.loads(printed)
        return {
            one["subject"]: (one["state"], f"{one['text']}\n{one['advice']}")
            for one in document["findings"]
            if one["subject"] != "live LLM"
        }

    return run


def test_what_is_there_is_told_until_something_has_to_be_made(api, findings):
    found = findings()
    assert {name: state for name, (state, _) in found.items()} == {
        **dict.fromkeys(("library", "credentials", "API server", "clock", "namespace"), "ok"),
        **{resource: "ok" for _, resource, _ in RULES},
        "image": "failed",
    }
    assert "context here, namespace agents" in found["credentials"][1]
    assert "Kubernetes v1.99.0 at http://127.0.0.1" in found["API server"][1]
    assert "the policy of this cluster says no" in found["image"][1]


@pytest.mark.parametrize(
    ("denied", "resource"),
    [
        ({"watch pods", "patch pods"}, "pods"),
        ({"create pods/exec"}, "pods/exec"),
        ({"get pods/log"}, "pods/log"),
        ({"list events"}, "events"),
        ({"list jobs"}, "jobs"),
    ],
)
def test_each_permission_that_is_missing_is_named_with_the_role(api, findings, denied, resource):
    api.denied |= denied
    found = findings()
    bad = {name for name, (state, _) in found.items() if state == "failed"}
    assert bad == {resource, "role"}
    verbs = {one.split()[0] for one in denied}
    assert set(re.findall(r"\w+", found[resource][1].removeprefix("may not"))) == verbs
    assert role(NAMESPACE) in found["role"][1]
    assert api.changes == []


def test_people_read_the_role_as_it_is_written(api, capsys):
    api.denied.add("get pods")
    assert main(DOCTOR) == 1
    shown = capsys.readouterr().out
    assert "FAIL pods         may not get\n" in shown
    for line in role(NAMESPACE).splitlines():
        assert re.search(rf"^ +{re.escape(line)}$", shown, re.MULTILINE)
    assert shown.endswith("Something is missing: see above.\n")


def test_a_namespace_that_is_not_there(api, findings):
    api.refused["GET /api/v1/namespaces/"] = (404, 'namespaces "agents" not found')
    state, text = findings()["namespace"]
    assert state == "failed"
    assert "kubectl create namespace agents" in text
    assert api.changes == []


def test_a_namespace_that_may_not_be_asked_for_is_no_hindrance(api, findings):
    api.refused["GET /api/v1/namespaces/"] = (403, "forbidden")
    found = findings()
    assert found["namespace"][0] == "optional"
    assert "image" in found


@pytest.mark.parametrize(
    ("skew", "state", "text"),
    [
        (0, "ok", "within 60 s"),
        (-50, "ok", "within 60 s"),
        (50, "ok", "within 60 s"),
        (-3600, "warning", r"3\d\d\d s ahead of the API server's"),
        (3600, "warning", r"3\d\d\d s behind the API server's"),
    ],
)
def test_clocks_that_differ(api, findings, skew, state, text):
    api.skew = skew
    found = findings()["clock"]
    assert found[0] == state
    assert re.search(text, found[1])


def test_credentials_that_have_expired(api, findings):
    api.refused["GET /version"] = (401, "Unauthorized")
    state, text = findings()["API server"]
    assert state == "failed"
    assert "have expired" in text


def test_an_api_server_that_is_away(api, findings):
    api.close()
    state, text = findings()["API server"]
    assert state == "failed"
    assert "cannot be reached to ask for its version" in text
    assert "Check its address" in text


@pytest.mark.parametrize("text", [None, "[", "{}", "kind: Config"])
def test_credentials_that_cannot_be_read(tmp_path, monkeypatch, findings, text):
    if text is not None:
        (tmp_path / "kubeconfig").write_text(text, "utf-8")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    found = findings()
    assert list(found) == ["library", "credentials"]
    assert found["credentials"][0] == "failed"
    assert "KUBECONFIG" in found["credentials"][1]


def test_a_context_that_is_not_there(api, findings):
    state, text = findings("--kube-context=nowhere")["credentials"]
    assert state == "failed"
    assert "nowhere" in text


def test_certificates_that_are_not_there(api, tmp_path, findings):
    config = json.loads((tmp_path / "kubeconfig").read_text("utf-8"))
    config["clusters"][0]["cluster"] = {
        "server": "https://127.0.0.1:9",
        "certificate-authority": str(tmp_path / "kubeconfig"),
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config), "utf-8")
    state, text = findings()["credentials"]
    assert state == "failed"
    assert "Check its certificates" in text


def test_a_library_that_is_missing_is_named(monkeypatch, findings):
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    found = findings()
    assert list(found) == ["library"]
    assert "pip install 'pytest-agent-sandbox[kubernetes]'" in found["library"][1]


class Engine(Closing):
    """An engine whose sandboxes start for some networks only."""

    def __init__(self, context, works):
        self.context = context
        self.works = works
        self.ends = []

    def choose_image(self, settings):
        return settings.image

    def look_into(self, request):
        server = server_of((OUR_PYTHON, "-m", MODULE))
        return PodImage(request.image, Account(7, 7, "/home/x"), server, "1.2.3", "")

    @contextmanager
    def start(self, request):
        if request.settings.network not in self.works:
            raise SandboxStartFailed("The policy wants no NET_ADMIN")
        yield SimpleNamespace(
            execute_command=lambda _: SimpleNamespace(exit_code=0),
            pod=SimpleNamespace(is_tried=False),
        )
        self.ends.append(request.settings.network)

    def close(self):
        self.ends.append("engine")


@pytest.mark.parametrize(
    ("works", "code", "states"),
    [
        (["isolated", "open"], 0, {"isolation": "ok"}),
        (["open"], 0, {"sandbox": "ok", "isolation": "optional"}),
        ([], 1, {"sandbox": "failed"}),
    ],
)
def test_where_isolation_cannot_be_had_it_looks_for_what_can(
    api, findings, monkeypatch, works, code, states
):
    engines = []

    def make(context):
        engines.append(Engine(context, works))
        return engines[0]

    monkeypatch.setattr(doctor_kubernetes, "KubernetesEngine", make)
    found = findings("--image=i:1", "--pod-template=pod.yaml", code=code)
    assert found["image"][1].startswith("i:1, user 7, agent server 1.2.3; its pod took ")
    assert {name: found[name][0] for name in ("sandbox", "isolation") if name in found} == states
    if states.get("isolation") == "optional":
        assert "The policy wants no NET_ADMIN" in found["isolation"][1]
        assert "--sandbox-network=isolated or none do not start here" in found["isolation"][1]
    assert engines[0].ends == [*works[:1], "engine"]
    assert engines[0].context.settings.pod_template == "pod.yaml"


@pytest.mark.parametrize("command", ["doctor", "prune"])
@pytest.mark.parametrize("option", ["--kube-context=x", "--kube-namespace=x"])
def test_options_of_clusters_are_refused_for_docker(command, option, capsys):
    assert main([command, option]) == 1
    assert f"{option.removesuffix('=x')} needs --engine kubernetes" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["doctor", "prune"])
@pytest.mark.parametrize(("engine", "other"), [("docker", "kubernetes"), ("kubernetes", "docker")])
def test_an_engine_does_not_load_the_other(tmp_path, monkeypatch, command, engine, other):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    program = f"""
import sys
from pytest_agent_sandbox.cli import main
assert main(["{command}", "--engine", "{engine}"]) == 1
names = [name for name in sys.modules if name.startswith("pytest_agent_sandbox")]
print([name for name in names if name.endswith((".engines.{other}", "_{other}"))])
print("{command}" in [name.rpartition(".")[2] for name in names])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    is_docker = engine == "docker"
    assert done.stdout.splitlines()[-2:] == ["[]", str(is_docker)]
