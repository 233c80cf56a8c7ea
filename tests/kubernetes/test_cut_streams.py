"""Streams to the API server that break off, by a relay in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from pytest_agent_sandbox import SandboxDied
from pytest_agent_sandbox.engines.engine import EngineContext, SandboxRequest
from pytest_agent_sandbox.engines.kubernetes.engine import KubernetesEngine
from pytest_agent_sandbox.settings.table import SandboxSettings
from tests.kubernetes.conftest import TEMPLATE
from tests.support.relay import Relay


@pytest.fixture
def relay(kubeconfig: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """What the kubeconfig leads to: a relay to the API server."""
    found = yaml.safe_load(Path(kubeconfig).read_text("utf-8"))
    cluster = found["clusters"][0]["cluster"]
    with Relay(cluster["server"].removeprefix("https://")) as between:
        cluster["server"] = between.host.replace("http://", "https://")
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(found), "utf-8")
        monkeypatch.setenv("KUBECONFIG", str(path))
        yield between


@pytest.fixture
def kubernetes(
    namespace: str, relay: Relay, agent_server_image: str, tmp_path: Path
) -> Iterator[KubernetesEngine]:
    """An engine of the plugin's, behind the relay."""
    template = tmp_path / "pod.yaml"
    template.write_text(TEMPLATE, "utf-8")
    settings = SandboxSettings(
        engine="kubernetes",
        kube_namespace=namespace,
        pod_template=str(template),
        image=agent_server_image,
        pull="never",
    )
    made = KubernetesEngine(EngineContext(settings=settings, run="a-run"))
    yield made
    made.close()


def test_a_stream_that_is_cut_ends_its_sandbox_and_no_other(
    kubernetes: KubernetesEngine, relay: Relay, pods: Callable[[], list[str]], tmp_path: Path
) -> None:
    request = SandboxRequest(
        settings=kubernetes.context.settings,
        image=kubernetes.choose_image(kubernetes.context.settings),
        test="test_it.py::test_cut",
        log_path=tmp_path / "server.log",
    )
    workspace = kubernetes.start(request)
    threading.Timer(1, relay.cut).start()
    began = time.monotonic()
    with pytest.raises(SandboxDied, match="out of reach"):
        workspace.execute_command("sleep 60", timeout=60)
    assert time.monotonic() - began < 8
    workspace.close()

    # The watch and the heartbeats were cut too, and have come back.
    with kubernetes.start(request) as another:
        assert another.execute_command("echo here").stdout == "here\n"
    kubernetes.close()
    assert [name for name in pods() if "test-cut" in name] == []


def test_a_start_ends_within_its_time_while_nothing_answers(
    kubernetes: KubernetesEngine, relay: Relay, tmp_path: Path
) -> None:
    request = SandboxRequest(
        settings=kubernetes.context.settings,
        image=kubernetes.choose_image(kubernetes.context.settings),
        log_path=tmp_path / "server.log",
    )
    kubernetes.start(request).close()
    relay.hold()
    began = time.monotonic()
    try:
        with pytest.raises(Exception, match=r"cannot be reached|does not answer"):
            kubernetes.start(request)
        assert time.monotonic() - began < 60
    finally:
        relay.release()
