"""Everything that goes wrong with a container, and how it is said."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_agent_sandbox.containers.cleanup import remove_container, remove_labelled
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.container_errors import is_transient
from pytest_agent_sandbox.containers.container_spec import ContainerSpec
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.exit_codes import explain_exit
from pytest_agent_sandbox.containers.readiness import wait_until
from pytest_agent_sandbox.errors import (
    EngineUnavailable,
    ImageNotFound,
    SandboxDied,
    SandboxError,
    SandboxStartFailed,
    SettingsError,
)
from tests.support.fake_engine import VERSION, EngineProxy, reply, serving

from .starting import SpecFactory, Start


@pytest.fixture
def proxy(engine: ContainerEngine) -> Iterator[EngineProxy]:
    """A way to the engine that a test can break, without breaking it for others."""
    if not engine.endpoint.startswith("unix://"):
        pytest.skip("needs an engine on a Unix socket")
    proxy = EngineProxy(engine.endpoint.removeprefix("unix://"))
    yield proxy
    proxy.close()


def death(container: Container, timeout: float = 10) -> SandboxDied:
    assert container.wait_for_end(timeout)
    with pytest.raises(SandboxDied) as caught:
        container.check()
    return caught.value


def test_death_is_noticed_within_a_second(start: Start, engine: ContainerEngine) -> None:
    container = start("echo working; sleep 60")
    while container.log_tail() != "working":
        container.check()
    engine.client.api.kill(container.id)
    began = time.monotonic()
    error = death(container)
    assert time.monotonic() - began < 1
    assert (error.exit_code, error.out_of_memory) == (137, False)
    assert "exited with code 137 (killed, SIGKILL)" in str(error)
    assert container.name in str(error)
    assert error.log == "working"


def test_death_at_once_keeps_the_log(start: Start) -> None:
    for _ in range(5):
        container = start("echo a last word >&2; exit 3")
        error = death(container)
        assert error.exit_code == 3
        assert error.log == "a last word"
        assert container.log_path.read_text() == "a last word\n"


@pytest.mark.parametrize("engine_is_slow", [False, True])
def test_death_around_the_reading_of_ports(
    engine_is_slow: bool,
    engine: ContainerEngine,
    spec: SpecFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    really_start = engine.client.api.start

    def start_and_wait(container: str) -> None:
        really_start(container)
        # An engine forgets the ports of a container that ended, but takes its time for it.
        time.sleep(1 if engine_is_slow else 0)

    monkeypatch.setattr(engine.client.api, "start", start_and_wait)
    log_path = tmp_path / "log"
    made = spec("echo no; exit 3", ports={8000: None})

    def start_and_check() -> None:
        with Container.start(engine, made, log_path=log_path) as container:
            assert not engine_is_slow
            assert container.wait_for_end(10)
            container.check()

    with pytest.raises(SandboxDied, match="code 3") as caught:
        start_and_check()
    assert caught.value.log == "no"
    assert log_path.read_text() == "no\n"


def test_every_check_raises_its_own_error(start: Start) -> None:
    container = start("exit 1")
    assert death(container) is not death(container)


def test_waiting_for_a_server_ends_with_its_container(start: Start) -> None:
    container = start("echo cannot; sleep 0.3; exit 4")
    began = time.monotonic()
    with pytest.raises(SandboxDied, match="code 4") as caught:
        wait_until(lambda: False, container, timeout=60)
    assert time.monotonic() - began < 1.5
    assert caught.value.log == "cannot"


def test_out_of_memory_is_told(start: Start) -> None:
    container = start('exec python3 -c \'bytearray(2 * 10**9).replace(b"0", b"1")\'', memory="32m")
    error = death(container, timeout=30)
    assert error.out_of_memory
    assert error.exit_code == 137
    assert "out of memory" in str(error)


def test_removal_by_somebody_else_is_told(start: Start, engine: ContainerEngine) -> None:
    container = start("sleep 60")
    began = time.monotonic()
    engine.client.api.remove_container(container.id, force=True)
    error = death(container)
    assert time.monotonic() - began < 1.5
    assert "was removed by somebody else" in str(error)
    assert error.exit_code is None
    container.remove()


def test_an_engine_that_goes_away_is_told(
    proxy: EngineProxy, start: Start, engine: ContainerEngine
) -> None:
    with ContainerEngine.connect(proxy.address) as through:
        container = start("echo hello; sleep 60", engine=through)
        try:
            time.sleep(0.2)
            container.check()
            proxy.close()
            began = time.monotonic()
            error = death(container)
            assert time.monotonic() - began < 1
            assert f"engine at {proxy.address} no longer answers" in str(error)
            assert "connection refused" in str(error)
            assert error.log == "hello"
            with pytest.raises(EngineUnavailable):
                container.remove()
        finally:
            remove_container(engine, container.id)


def test_a_broken_connection_loses_neither_log_nor_death(proxy: EngineProxy, start: Start) -> None:
    with ContainerEngine.connect(proxy.address) as through:
        script = "echo one; sleep 0.7; echo two; sleep 2; echo three; exit 9"
        container = start(script, engine=through)
        time.sleep(0.3)
        proxy.cut()
        error = death(container, timeout=20)
        assert error.exit_code == 9
        assert error.log == "one\ntwo\nthree"
        container.remove()


def test_a_fixed_port_that_is_taken_is_named(
    engine: ContainerEngine, spec: SpecFactory, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(
            SandboxStartFailed, match=f"port {port} of 127.0.0.1 is taken"
        ) as caught:
            Container.start(
                engine, spec("sleep 60", ports={8000: port, 8001: None}), log_path=tmp_path / "log"
            )
    assert not is_transient(caught.value)


def test_a_port_taken_by_another_container_is_named(
    engine: ContainerEngine, start: Start, spec: SpecFactory, tmp_path: Path
) -> None:
    port = start("sleep 60", ports={8000: None}).ports[8000]
    with pytest.raises(SandboxStartFailed, match=f"port {port} of 127.0.0.1 is taken"):
        Container.start(engine, spec("sleep 60", ports={8000: port}), log_path=tmp_path / "log")


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"image": "agent-sandbox-test/none:1"}, ImageNotFound, "does not have the image agent-s"),
        ({"platform": "linux/s390x"}, ImageNotFound, "not for the platform linux/s390x"),
        ({"network": "no-such-net"}, SettingsError, "^network: .* 'no-such-net'"),
        ({"user": "nobodyknows"}, SettingsError, "^user: the image does not know"),
        ({"ulimits": {"nonsense": 1}}, SettingsError, "^ulimits: "),
        ({"memory": "1m"}, SettingsError, "refuses a setting.*[Mm]emory limit"),
        ({"cpus": 4096}, SettingsError, "refuses a setting.*CPUs"),
        ({"volumes": ["no good name:/x"]}, SettingsError, "refuses a setting.*no good name"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_start_that_the_engine_refuses(
    settings: dict[str, object],
    error: type[SandboxError],
    words: str,
    engine: ContainerEngine,
    spec: SpecFactory,
    tmp_path: Path,
) -> None:
    # The session's last fixture proves that no half-made container stays.
    with pytest.raises(error, match=words) as caught:
        Container.start(engine, spec("sleep 60", **settings), log_path=tmp_path / "log")
    assert not is_transient(caught.value)


def test_gpus_without_a_runtime(engine: ContainerEngine, spec: SpecFactory, tmp_path: Path) -> None:
    try:
        Container.start(engine, spec("sleep 1", gpus=True), log_path=tmp_path / "log").remove()
    except SettingsError as error:
        assert str(error).startswith("gpus: the engine has no GPU runtime")  # noqa: PT017


def test_a_limit_the_engine_may_not_raise(
    engine: ContainerEngine, spec: SpecFactory, tmp_path: Path
) -> None:
    made = spec("ulimit -n", ulimits={"nofile": 2_000_000_000})
    with pytest.raises(SettingsError, match=r"^ulimits: the engine refuses this limit"):
        Container.start(engine, made, log_path=tmp_path / "log")


def test_a_command_that_is_not_there(
    engine: ContainerEngine, spec: SpecFactory, image: str, run_label: str, tmp_path: Path
) -> None:
    made = replace(spec(""), entrypoint=["no-such-program"])
    with pytest.raises(SandboxStartFailed, match="no-such-program"):
        Container.start(engine, made, log_path=tmp_path / "log")


def test_a_log_path_that_cannot_be_written_leaves_no_container(
    engine: ContainerEngine, spec: SpecFactory, tmp_path: Path
) -> None:
    with pytest.raises(IsADirectoryError):
        Container.start(engine, spec("sleep 60"), log_path=tmp_path)


def test_an_interrupted_start_leaves_no_container(
    engine: ContainerEngine, spec: SpecFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_start = engine.client.api.start

    def interrupted(container: str) -> None:
        really_start(container)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.client.api, "start", interrupted)
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        Container.start(engine, spec("echo up; sleep 60"), log_path=tmp_path / "log")
    assert remove_labelled(engine, {"run": spec("").labels["run"]}) == 0
    assert threading.active_count() == threads


def test_a_limit_the_engine_would_drop_is_an_error(tmp_path: Path) -> None:
    requests = []

    def answer(connection: socket.socket, head: bytes) -> bool:
        request = head.splitlines()[0].decode()
        requests.append(request)
        if "/containers/create" in request:
            warning = "Your kernel does not support memory limit. Limitation discarded."
            return reply(connection, {"Id": "some-id", "Warnings": [warning]})
        return reply(connection, VERSION)

    with serving(answer) as address, ContainerEngine.connect(address) as engine:
        made = ContainerSpec(image="any", memory="1g")
        with pytest.raises(SettingsError, match=r"cannot apply a limit: .*memory limit"):
            Container.start(engine, made, log_path=tmp_path / "log")
    assert requests[-1].startswith("DELETE /v1.41/containers/")
    assert not any("/start" in request for request in requests)


DEADLOCK = (
    "_frozen_importlib._DeadlockError: deadlock detected by "
    "_ModuleLock('litellm.rust_bridge.catalog') at 140034959560656"
)
CIRCLE = (
    "ImportError: cannot import name 'LoggerContext' from partially initialized module "
    "'litellm.rust_bridge.catalog' (most likely due to a circular import)"
)


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (SandboxDied("exited with code 1", log=f"Traceback\n{DEADLOCK}"), True),
        (SandboxDied("exited with code 1", log=f"Traceback\n{CIRCLE}"), True),
        (SandboxDied("exited with code 1", log="ModuleNotFoundError: litellm"), False),
        (SandboxStartFailed("Bind for 127.0.0.1:49153: port is already allocated"), True),
        (SandboxStartFailed("… device or resource busy"), True),
        (SandboxStartFailed("exec: not found"), False),
        (SandboxStartFailed("did not answer within 60 s", log="address already in use"), False),
        (SettingsError("port is already allocated"), False),
        (ValueError("port is already allocated"), False),
    ],
)  # fmt: skip
def test_what_is_worth_another_try(error: BaseException, transient: bool) -> None:
    assert is_transient(error) is transient


def test_exit_codes_in_words() -> None:
    assert explain_exit(0, out_of_memory=False) == "exited with code 0 (ended by itself)"
    assert explain_exit(3, out_of_memory=False) == "exited with code 3"
    assert explain_exit(139, out_of_memory=False).endswith("(crashed, SIGSEGV)")
    assert "out of memory" in explain_exit(137, out_of_memory=True)
