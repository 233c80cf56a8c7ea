"""Pods: what a sandbox in a cluster costs beside a bare pod, and beside one on Docker.

A bare pod runs the same image's server, and is asked at its own address, as only its node can.
Sandboxes of all three kinds take turns: their start, a small request, a file in either direction.
KUBECONFIG names the cluster, whose node has the image; `scripts/kube up` makes one.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import httpx
from measuring import Report, read_arguments

from pytest_agent_sandbox import DockerWorkspace, Workspace
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import choose_image, ensure_image
from pytest_agent_sandbox.engines.engine import EngineContext, SandboxRequest
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.credentials import read_credentials
from pytest_agent_sandbox.engines.kubernetes.engine import KubernetesEngine
from pytest_agent_sandbox.engines.kubernetes.pod_requests import delete_pod
from pytest_agent_sandbox.sandbox.agent_server import SERVER_PORT, SERVER_SETTINGS
from pytest_agent_sandbox.sandbox.server_process import MODULE, OUR_PYTHON, SERVER_COMMAND
from pytest_agent_sandbox.settings.table import SandboxSettings

_FILE_BYTES = 20_000_000
_REQUESTS = 20
_NAME = "agent-sandbox-bare"
# A node of a test machine has few cores: all pods ask for as few.
_REQUESTS_OF_POD = {"cpu": "20m", "memory": "64Mi"}


def start_bare(report: Report, cluster: Cluster, image: str) -> None:
    """Starts a server in a pod without anything of ours, until it answers."""
    server = {
        "name": "server",
        "image": image,
        "imagePullPolicy": "Never",
        "command": [OUR_PYTHON, "-m", MODULE, *SERVER_COMMAND],
        "env": [{"name": name, "value": value} for name, value in SERVER_SETTINGS.items()],
        "resources": {"requests": _REQUESTS_OF_POD},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _NAME},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [server]},
    }
    with report.timing("start, bare pod"):
        cluster.request("POST", cluster.path("pods"), "create a pod", body=pod)
        address = ""
        with httpx.Client(timeout=1.0) as client:
            while True:
                address = address or _address(cluster)
                with suppress(httpx.TransportError):
                    if address and client.get(f"http://{address}:{SERVER_PORT}/ready").is_success:
                        break
                time.sleep(0.02)
    delete_pod(cluster, _NAME)


def use(report: Report, workspace: Workspace, kind: str) -> None:
    content = os.urandom(_FILE_BYTES)
    workspace.execute_command("true")  # makes the working directory
    for _ in range(_REQUESTS):
        with report.timing(f"request, {kind}"):
            assert workspace.alive()
    with report.timing(f"20 MB in, {kind}"):
        workspace.write_bytes("file", content)
    with report.timing(f"20 MB out, {kind}"):
        assert workspace.read_bytes("file") == content


def main() -> None:
    arguments = read_arguments(__doc__, rounds=6)
    with (
        ContainerEngine.connect() as docker,
        Cluster(read_credentials(None, None)) as cluster,
        tempfile.TemporaryDirectory() as folder,
    ):
        image = ensure_image(
            docker, choose_image(docker, os.environ.get("PYTEST_SANDBOX_IMAGE"))
        ).reference
        template = Path(folder) / "pod.yaml"
        requests = f"{{requests: {_REQUESTS_OF_POD}}}".replace("'", "")
        template.write_text(
            f"kind: Pod\nspec:\n  containers: [{{name: server, resources: {requests}}}]\n", "utf-8"
        )
        settings = SandboxSettings(
            engine="kubernetes", image=image, pull="never", pod_template=str(template)
        )
        report = Report(
            "Pods", image=image, cluster=cluster.description, rounds=str(arguments.rounds)
        )
        kubernetes = KubernetesEngine(EngineContext(settings=settings, run="benchmark"))
        try:
            if not arguments.quick:  # reads the image into the page cache
                kubernetes.start(SandboxRequest(settings=settings, image=image)).close()
            for _ in range(arguments.rounds):
                start_bare(report, cluster, image)
                with report.timing("start, pod"):
                    pod = kubernetes.start(SandboxRequest(settings=settings, image=image))
                with pod:
                    use(report, pod, "pod")
                with report.timing("start, Docker"):
                    container = DockerWorkspace(server_image=image, engine=docker)
                with container:
                    use(report, container, "Docker")
        finally:
            kubernetes.close()
    report.ratio("start, pod / bare pod", "start, pod", "start, bare pod")
    report.difference("request, pod - Docker (ms)", "request, pod", "request, Docker")
    for way in ("in", "out"):
        seconds = report.median(f"20 MB {way}, pod") / 1000
        report.value(f"20 MB {way}, pod (MB/s)", _FILE_BYTES / 1e6 / seconds)
    report.finish(arguments.json)


def _address(cluster: Cluster) -> str:
    return str(cluster.get(cluster.path("pods", _NAME))["status"].get("podIP") or "")


if __name__ == "__main__":
    main()
