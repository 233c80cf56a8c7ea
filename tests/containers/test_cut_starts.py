"""The engine goes, or the way to it breaks, at each step of a container's start."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import pytest

from pytest_agent_sandbox.containers.cleanup import find, remove_left_behind
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.container_spec import ContainerSpec
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import EngineUnavailable
from tests.support.fake_engine import EngineProxy

#: Seconds for which the engine may still be creating what it was asked for.
LATE = 3.0


class Cutter(EngineProxy):
    """Breaks all connections at the first request with this in its first line.

    Args:
        path: The engine's Unix socket.
        word: What is in the line.
        is_passed: Whether the engine gets that request.
        is_gone: Whether it is gone from then on.
    """

    def __init__(self, path: str, word: bytes, *, is_passed: bool, is_gone: bool) -> None:
        self._word, self._is_passed, self._is_gone = word, is_passed, is_gone
        self.has_cut = False
        super().__init__(path)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._word in data.partition(b"\r\n")[0] and not self.has_cut:
                    self.has_cut = True
                    if self._is_passed:
                        target.sendall(data)
                        time.sleep(0.1)
                    if self._is_gone:
                        with contextlib.suppress(OSError):
                            self._listener.shutdown(socket.SHUT_RDWR)
                    self.cut()
                    return
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def path(engine: ContainerEngine) -> str:
    if not engine.endpoint.startswith("unix://"):
        pytest.skip("needs an engine on a Unix socket")
    return engine.endpoint.removeprefix("unix://")


@pytest.mark.parametrize("word", [b"/containers/create", b"/start "])
@pytest.mark.parametrize("is_passed", [True, False], ids=["passed", "lost"])
@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "cut"])
def test_a_start_that_is_cut_is_an_error_and_leaves_nothing(
    engine: ContainerEngine,
    path: str,
    image: str,
    tmp_path: Path,
    word: bytes,
    is_passed: bool,
    is_gone: bool,
) -> None:
    proxy = Cutter(path, word, is_passed=is_passed, is_gone=is_gone)
    try:
        with ContainerEngine.connect(proxy.address) as through:
            owner = through.owner.id
            proxy.has_cut = False  # not by what asks what the engine is
            spec = ContainerSpec(image=image, entrypoint=["sleep"], command=["600"])
            began = time.monotonic()
            try:
                container = Container.start(through, spec, log_path=tmp_path / "log")
            except EngineUnavailable as error:
                said = str(error)
                assert f"engine at {proxy.address}" in said
            else:  # what was cut was asked again
                assert not is_gone
                container.remove()
            assert time.monotonic() - began < 10
            assert proxy.has_cut
    finally:
        proxy.close()
    deadline = time.monotonic() + LATE
    while time.monotonic() < deadline:
        remove_left_behind(engine)  # as the next run does
        time.sleep(0.2)
    assert find(engine, {"owner": owner}) == []
