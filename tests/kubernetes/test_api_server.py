"""An API server that is killed and comes back, or does not: one of the test's own."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from pytest_agent_sandbox import SandboxDied
from pytest_agent_sandbox.engines.engine import SandboxRequest
from pytest_agent_sandbox.engines.kubernetes.engine import KubernetesEngine
from pytest_agent_sandbox.host import resumed_program
from pytest_agent_sandbox.host.closing import Closing
from tests.kubernetes.conftest import EngineIn
from tests.support.ports import free_ports
from tests.support.timing import eventually

_PATIENCE = 60


class ApiServer(Closing):
    """A second API server of the same cluster: same database, same certificates."""

    def __init__(self, run: Path, log: Path) -> None:
        self.port = free_ports(1)
        self._log = log
        self._pki = run / "pki"
        pid = (run / "pids" / "apiserver").read_text("utf-8").strip()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        words = words[next(n for n, word in enumerate(words) if word.endswith("kube-apiserver")) :]
        words[words.index("--secure-port") + 1] = str(self.port)
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._words, stdout=log, stderr=log)
        until = time.monotonic() + _PATIENCE
        while not self._is_ready():
            assert self._process.poll() is None, self._log.read_text("utf-8")[-2000:]
            assert time.monotonic() < until
            time.sleep(0.2)

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        self.kill()

    def _is_ready(self) -> bool:
        tls = ssl.create_default_context(cafile=str(self._pki / "ca.crt"))
        tls.load_cert_chain(self._pki / "admin.crt", self._pki / "admin.key")
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), 2) as raw,
                tls.wrap_socket(raw, server_hostname="127.0.0.1") as end,
            ):
                end.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
                return b" 200 " in end.recv(4096)
        except OSError:
            return False


@pytest.fixture
def api_server(
    kubeconfig: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ApiServer]:
    """What the kubeconfig leads to from now on."""
    del namespace  # made first, and by the other one
    with ApiServer(Path(kubeconfig).parent, tmp_path / "apiserver.log") as server:
        server.start()
        found = yaml.safe_load(Path(kubeconfig).read_text("utf-8"))
        found["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{server.port}"
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(found), "utf-8")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield server


def _request(kubernetes: KubernetesEngine, folder: Path) -> SandboxRequest:
    settings = kubernetes.context.settings
    image = kubernetes.choose_image(settings)
    return SandboxRequest(settings=settings, image=image, log_path=folder / "server.log")


def test_a_killed_api_server_that_comes_back_loses_no_request_and_repeats_no_command(
    api_server: ApiServer, engine_in: EngineIn, tmp_path: Path
) -> None:
    kubernetes = engine_in()
    with kubernetes.start(_request(kubernetes, tmp_path)) as workspace:
        content = bytes(range(256)) * 100_000

        def die_and_return() -> None:
            api_server.kill()
            api_server.start()

        dying = threading.Timer(1, die_and_return)
        dying.start()
        result = workspace.execute_command("echo once >> runs; sleep 4; echo over", timeout=90)
        dying.join()
        assert result.stdout == "over\n"
        assert workspace.read_text("runs") == "once\n"

        # In the midst of a request with a large body.
        dying = threading.Timer(0.2, die_and_return)
        dying.start()
        workspace.write_bytes("large", content)
        assert workspace.read_bytes("large") == content
        dying.join()
        assert workspace.execute_command("wc -c < large").stdout.split() == [str(len(content))]


def test_an_api_server_that_stays_away_ends_the_sandbox_within_the_bound(
    api_server: ApiServer,
    engine_in: EngineIn,
    pods: Callable[[], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resumed_program, "_GRACE", 3.0)
    kubernetes = engine_in()
    workspace = kubernetes.start(_request(kubernetes, tmp_path))
    threading.Timer(1, api_server.kill).start()
    began = time.monotonic()
    with pytest.raises(SandboxDied, match="out of reach: its stream cannot be taken up again"):
        workspace.execute_command("sleep 60", timeout=60)
    assert time.monotonic() - began < 25
    api_server.start()
    workspace.close()
    kubernetes.close()
    eventually(lambda: workspace.name not in pods(), 15)
