"""Streams to the API server that break off, by a relay in between."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from pytest_agent_sandbox import SandboxDied
from pytest_agent_sandbox.engines.engine import SandboxRequest
from pytest_agent_sandbox.engines.kubernetes import cluster
from pytest_agent_sandbox.engines.kubernetes.engine import KubernetesEngine
from pytest_agent_sandbox.host import resumed_program
from tests.kubernetes.conftest import EngineIn
from tests.support.relay import Relay


@pytest.fixture
def relay(
    kubeconfig: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Relay]:
    """What the kubeconfig leads to from now on: a relay to the API server."""
    del namespace  # made first, and past the relay
    found = yaml.safe_load(Path(kubeconfig).read_text("utf-8"))
    named = found["clusters"][0]["cluster"]
    with Relay(named["server"].removeprefix("https://")) as between:
        named["server"] = between.host.replace("http://", "https://")
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(found), "utf-8")
        monkeypatch.setenv("KUBECONFIG", str(path))
        yield between


@pytest.fixture
def kubernetes(relay: Relay, engine_in: EngineIn) -> KubernetesEngine:
    """An engine of the plugin's, behind the relay."""
    made = engine_in()
    assert made.header()[0].count(relay.host.removeprefix("http://")) == 1
    return made


def _request(kubernetes: KubernetesEngine, folder: Path) -> SandboxRequest:
    settings = kubernetes.context.settings
    return SandboxRequest(
        settings=settings,
        image=kubernetes.choose_image(settings),
        test="test_it.py::test_cut",
        log_path=folder / "server.log",
    )


def test_what_is_cut_goes_on_and_nothing_is_lost_or_done_twice(
    kubernetes: KubernetesEngine, relay: Relay, tmp_path: Path
) -> None:
    content = os.urandom(8_000_000)
    with kubernetes.start(_request(kubernetes, tmp_path)) as workspace:
        cutting = threading.Event()

        def cut() -> None:
            while not cutting.wait(0.4):
                relay.cut()

        thread = threading.Thread(target=cut)
        thread.start()
        try:
            began = workspace.execute_command("echo once >> runs; sleep 3; echo over", timeout=60)
            for number in range(3):
                workspace.write_bytes(f"file-{number}", content)
                assert workspace.read_bytes(f"file-{number}") == content
        finally:
            cutting.set()
            thread.join()
        assert relay.cuts > 8
        assert began.stdout == "over\n"
        assert workspace.read_text("runs") == "once\n"


def test_what_cannot_be_taken_up_again_ends_its_sandbox_and_no_other(
    kubernetes: KubernetesEngine,
    relay: Relay,
    pods: Callable[[], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resumed_program, "_GRACE", 1.0)
    monkeypatch.setattr(resumed_program, "_PATIENCE", 1.0)
    workspace = kubernetes.start(_request(kubernetes, tmp_path))

    def away() -> None:
        relay.hold()
        relay.cut()

    threading.Timer(1, away).start()
    began = time.monotonic()
    try:
        with pytest.raises(SandboxDied, match="out of reach: its stream cannot be taken up again"):
            workspace.execute_command("sleep 60", timeout=60)
        assert time.monotonic() - began < 20
    finally:
        relay.release()
    workspace.close()

    # The watch and the heartbeats were cut too, and have come back.
    with kubernetes.start(_request(kubernetes, tmp_path)) as another:
        assert another.execute_command("echo here").stdout == "here\n"
    kubernetes.close()
    assert [name for name in pods() if "test-cut" in name] == []


def test_a_start_ends_within_its_time_while_nothing_answers(
    relay: Relay, engine_in: EngineIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "TIMEOUT", 3.0)
    kubernetes = engine_in()
    request = _request(kubernetes, tmp_path)
    kubernetes.start(request).close()
    relay.hold()
    began = time.monotonic()
    try:
        with pytest.raises(Exception, match=r"cannot be reached|does not answer"):
            kubernetes.start(request)
        assert time.monotonic() - began < 20
    finally:
        relay.release()
