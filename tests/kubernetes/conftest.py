"""A real cluster of one node, and projects whose tests run on it."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pytest_agent_sandbox.engines.engine import EngineContext
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.credentials import read_credentials
from pytest_agent_sandbox.engines.kubernetes.engine import KubernetesEngine
from pytest_agent_sandbox.host.ci import is_in_ci
from pytest_agent_sandbox.settings.table import SandboxSettings
from tests.support.project import Project

#: Makes an engine of the plugin's.
EngineIn = Callable[[], KubernetesEngine]
SCRIPT = Path(__file__).parents[2] / "scripts" / "kube"
# A node of a test machine has few cores: its sandboxes ask for none.
TEMPLATE = """
apiVersion: v1
kind: Pod
spec:
  containers:
    - name: server
      resources: {requests: {cpu: 20m, memory: 64Mi}}
"""


@pytest.fixture(scope="session")
def kubeconfig(agent_server_image: str) -> str:
    """The path of the kubeconfig of a running cluster, whose node has the image."""
    del agent_server_image  # the node runs on the engine that has it
    if shutil.which("bash") is None:
        pytest.skip("a cluster is made by a script for bash")
    made = subprocess.run([SCRIPT, "up"], check=False, capture_output=True, text=True)
    if made.returncode:
        reason = f"no cluster can be made here: {made.stderr.strip()[-1000:]}"
        if is_in_ci(os.environ):
            pytest.fail(reason)
        pytest.skip(reason)
    told = subprocess.run([SCRIPT, "kubeconfig"], check=True, capture_output=True, text=True)
    return told.stdout.strip()


@pytest.fixture
def namespace(kubeconfig: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A namespace of the test's own, empty again in the end."""
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    name = f"test-{secrets.token_hex(4)}"
    with Cluster(read_credentials(None, name)) as admin:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        admin.request("POST", "/api/v1/namespaces", f"create namespace {name}", body=body)
        try:
            yield name
        finally:
            admin.request("DELETE", f"/api/v1/namespaces/{name}", f"delete namespace {name}")


@pytest.fixture
def cluster(namespace: str) -> Iterator[Cluster]:
    """The cluster, as its administrator sees it in that namespace."""
    with Cluster(read_credentials(None, namespace)) as found:
        yield found


@pytest.fixture
def pods(cluster: Cluster) -> Callable[[], list[str]]:
    """Tells the names of the pods that there are, ending ones included."""
    return lambda: [one["metadata"]["name"] for one in cluster.get(cluster.path("pods"))["items"]]


@pytest.fixture
def engine_in(namespace: str, agent_server_image: str, tmp_path: Path) -> Iterator[EngineIn]:
    """Makes the plugin's engine for that namespace, of the kubeconfig that there is then."""
    template = tmp_path / "pod.yaml"
    template.write_text(TEMPLATE, "utf-8")
    settings = SandboxSettings(
        engine="kubernetes",
        kube_namespace=namespace,
        pod_template=str(template),
        image=agent_server_image,
        pull="never",
    )
    with ExitStack() as made:

        def make() -> KubernetesEngine:
            engine = KubernetesEngine(EngineContext(settings=settings, run="a-run"))
            made.callback(engine.close)
            return engine

        yield make


@pytest.fixture
def project(tmp_path: Path, namespace: str, agent_server_image: str) -> Project:
    """A project whose tests run on the cluster, on a machine that has nothing of Docker's."""
    folder = tmp_path / "project"
    folder.mkdir()
    made = Project(folder)
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "docker.py").write_text("raise ImportError('there is no Docker')\n")
    made.environment["PYTHONPATH"] = str(tmp_path / "blocked")
    made.write("pod.yaml", TEMPLATE)
    made.write(
        "pytest.ini",
        f"""[pytest]
sandbox_engine = kubernetes
sandbox_kube_namespace = {namespace}
sandbox_pod_template = pod.yaml
sandbox_image = {agent_server_image}
sandbox_pull = never
""",
    )
    return made
