from __future__ import annotations

import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_agent_sandbox.containers.cleanup import (
    kept_containers,
    remove_container,
    remove_labelled,
)
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.container_spec import ContainerSpec
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.inside import Process, copy_file
from pytest_agent_sandbox.containers.readiness import wait_until
from pytest_agent_sandbox.errors import (
    SandboxDied,
    SandboxError,
    SandboxStartFailed,
    SettingsError,
)

from .starting import SpecFactory, Start

_SERVER = "exec python3 -m http.server 8000"


def inspect(engine: ContainerEngine, container: Container) -> dict[str, Any]:
    return engine.client.api.inspect_container(container.id)


def log_has(container: Container, text: str) -> bool:
    deadline = time.monotonic() + 10
    while text not in container.log_tail():
        assert time.monotonic() < deadline, container.log_tail()
        time.sleep(0.01)
    return True


def connects(port: int) -> bool:
    """Whether something behind a published port answers; the engine itself always accepts."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return client.recv(4) == b"HTTP"
    except OSError:
        return False


def test_ports_chosen_by_the_engine_lead_into_the_container(start: Start) -> None:
    container = start(_SERVER, ports={8000: None, 8001: None})
    assert set(container.ports) == {8000, 8001}
    wait_until(lambda: connects(container.ports[8000]), container, timeout=20)


def test_ports_are_published_on_loopback_only(engine: ContainerEngine, start: Start) -> None:
    container = start("sleep 60", ports={8000: None})
    [binding] = inspect(engine, container)["NetworkSettings"]["Ports"]["8000/tcp"]
    assert binding == {"HostIp": "127.0.0.1", "HostPort": str(container.ports[8000])}
    listening = {
        connection.laddr.ip
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr.port == container.ports[8000]
    }
    assert listening <= {"127.0.0.1"}


def test_a_fixed_port_is_that_port(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    assert start("sleep 60", ports={8000: free, 8001: None}).ports[8000] == free


def test_limits_and_settings_reach_the_engine(
    engine: ContainerEngine, start: Start, run_label: str
) -> None:
    container = start(
        "sleep 60",
        memory="64m",
        cpus=0.5,
        pids_limit=40,
        user="1234:1234",
        read_only=True,
        tmpfs={"/tmp": "size=1m"},
        extra_hosts={"elsewhere": "192.0.2.1"},
        ulimits={"nofile": 512},
        labels={"run": f"{run_label}-settings", "color": "blue"},
    )
    try:
        shown = inspect(engine, container)
        host = shown["HostConfig"]
        assert host["Memory"] == 64 * 1024**2
        assert host["MemorySwap"] in (64 * 1024**2, -1)
        assert host["NanoCpus"] == 500_000_000
        assert host["PidsLimit"] == 40
        assert host["ReadonlyRootfs"]
        assert host["Tmpfs"] == {"/tmp": "size=1m"}
        assert host["ExtraHosts"] == ["elsewhere:192.0.2.1"]
        assert host["Ulimits"] == [{"Name": "nofile", "Soft": 512, "Hard": 512}]
        assert shown["Config"]["User"] == "1234:1234"
        assert shown["Config"]["Labels"]["pytest-agent-sandbox.color"] == "blue"
        assert shown["Config"]["Labels"]["pytest-agent-sandbox.owner-pid"].isdigit()
        assert container.name.startswith("agent-sandbox-")
    finally:
        assert remove_labelled(engine, {"run": f"{run_label}-settings"}) == 1


def test_limits_hold_inside(start: Start) -> None:
    container = start(
        "ulimit -n; id -u; touch /x 2>/dev/null || echo read-only; touch /tmp/x && echo tmpfs;"
        "python3 -c 'import os,threading,time\n"
        "try:\n"
        " [threading.Thread(target=time.sleep,args=(1,)).start() for _ in range(99)]\n"
        'except RuntimeError: print("too many")\'',
        pids_limit=20,
        ulimits={"nofile": 512},
        user="1234",
        read_only=True,
        tmpfs={"/tmp": ""},
    )
    assert container.wait_for_end(20)
    assert container.log_tail().split() == ["512", "1234", "read-only", "tmpfs", "too", "many"]


def test_volumes_in_both_forms(start: Start, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "x").write_text("from the host")
    (tmp_path / "out").chmod(0o777)
    script = "cat /in/x; touch /in/y 2>/dev/null || echo refused; echo back > /out/z"
    listed = start(script, volumes=[f"{tmp_path}/in:/in:ro", f"{tmp_path}/out:/out"])
    assert listed.wait_for_end(10)
    assert listed.log_tail().startswith("from the host")
    assert "refused" in listed.log_tail()
    assert (tmp_path / "out" / "z").read_text() == "back\n"
    as_mapping = start(
        script,
        volumes={f"{tmp_path}/in": {"bind": "/in", "mode": "ro"}, f"{tmp_path}/out": "/out"},
    )
    assert as_mapping.wait_for_end(10)
    assert "refused" in as_mapping.log_tail()


def test_a_relative_volume_is_resolved(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text("relative")
    container = start("cat /here/x", volumes=[".:/here:ro"], user="root")
    assert container.wait_for_end(10)
    assert container.log_tail() == "relative"


def test_environment_arrives_and_is_not_shown(start: Start, spec: SpecFactory) -> None:
    environment = {"TOKEN": "top secret = 'ü'", "EMPTY": ""}
    container = start('printf %s "$TOKEN${EMPTY-unset}"', environment=environment)
    assert container.wait_for_end(10)
    assert container.log_tail() == "top secret = 'ü'"
    assert "top secret" not in repr(spec("", environment=environment)) + repr(container)


def test_the_log_is_complete_from_its_first_byte(start: Start) -> None:
    container = start("echo first; seq 1 500000; echo error >&2; echo last")
    assert container.wait_for_end(60)
    container.remove()
    log = container.log_path.read_text()
    # Standard error travels through a pipe of its own, so its place is not fixed, not even to the
    # line: the other stream comes in blocks.
    before, error, after = log.partition("error\n")
    assert error
    assert (before + after).splitlines() == ["first", *map(str, range(1, 500_001)), "last"]
    assert container.log_path.stat().st_size > 3_000_000


def test_the_log_is_there_while_the_container_runs(start: Start) -> None:
    container = start("printf 'no newline yet'; sleep 60")
    assert log_has(container, "no newline yet")
    assert container.log_path.read_bytes() == b"no newline yet"


def test_removal_keeps_what_was_just_printed(start: Start, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    script = "i=0; while :; do i=$((i+1)); echo $i; echo $i > /out/count; done"
    for _ in range(3):
        container = start(script, volumes=[f"{tmp_path}:/out"])
        time.sleep(0.2)
        container.remove()
        lines = container.log_path.read_text().splitlines()
        assert lines == [str(number) for number in range(1, len(lines) + 1)]
        # The kill may come between opening the file and writing to it.
        assert len(lines) >= int((tmp_path / "count").read_text() or 1)


def test_the_tail_is_the_end_of_this_container_only(
    engine: ContainerEngine, spec: SpecFactory, tmp_path: Path
) -> None:
    log_path = tmp_path / "a" / "new" / "folder" / "log"
    for word in ("one", "two"):
        with Container.start(engine, spec(f"seq 1 100; echo {word}"), log_path=log_path) as it:
            assert it.wait_for_end(10)
            assert it.log_tail(2) == f"100\n{word}"
    assert it.log_tail(1000).count("100") == 1
    assert log_path.read_text().count("100\n") == 2


def test_bytes_that_are_no_text_do_no_harm(start: Start) -> None:
    container = start(r"printf '\377\376 and text\n'")
    assert container.wait_for_end(10)
    assert container.log_path.read_bytes() == b"\xff\xfe and text\n"
    assert container.log_tail().endswith(" and text")


def test_pause_and_unpause(start: Start) -> None:
    container = start("i=0; while sleep 0.02; do i=$((i+1)); echo $i; done")
    assert log_has(container, "1")
    container.pause()
    assert container.state().status == "paused"
    container.check()
    time.sleep(0.1)
    before = container.log_tail(1)
    time.sleep(0.3)
    assert container.log_tail(1) == before
    container.unpause()
    assert log_has(container, str(int(before) + 5))


def test_a_paused_container_can_be_removed(start: Start) -> None:
    container = start("sleep 60")
    container.pause()
    began = time.monotonic()
    container.remove()
    assert time.monotonic() - began < 2


def test_state_from_start_to_end(start: Start) -> None:
    container = start("sleep 0.5; exit 7")
    state = container.state()
    assert (state.status, state.exit_code, state.finished_at) == ("running", None, None)
    assert state.started_at is not None
    assert abs(datetime.now(UTC) - state.started_at) < timedelta(seconds=30)
    assert container.wait_for_end(10)
    state = container.state()
    assert (state.status, state.exit_code, state.out_of_memory) == ("exited", 7, False)
    assert state.finished_at is not None
    container.remove()
    assert container.state().status == "removed"


def test_removal_is_quick_idempotent_and_final(engine: ContainerEngine, start: Start) -> None:
    # A process that ignores the polite signal: it is not asked.
    container = start("trap '' TERM; sleep 60")
    began = time.monotonic()
    container.remove()
    assert time.monotonic() - began < 2
    container.remove()
    assert engine.client.containers.list(all=True, filters={"name": container.name}) == []
    with pytest.raises(SandboxDied, match="was removed when its use was over"):
        container.check()


def test_removal_from_two_threads(start: Start) -> None:
    container = start("sleep 60")
    threads = [threading.Thread(target=container.remove) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert container.state().status == "removed"


def test_nothing_is_left_after_many_starts(
    spec: SpecFactory, run_label: str, tmp_path: Path
) -> None:
    process = psutil.Process()
    leaks = f"{run_label}-leaks"

    def used() -> tuple[int, int]:
        return threading.active_count(), len(process.net_connections("all"))

    before = used()
    with ContainerEngine.connect() as engine:
        for number in range(8):
            made = spec(
                "echo hello; sleep 60", labels={"run": f"{run_label}-leaks"}, ports={8000: None}
            )
            with Container.start(engine, made, log_path=tmp_path / str(number)) as container:
                container.check()
        assert remove_labelled(engine, {"run": leaks}) == 0
        assert threading.active_count() == before[0]
    assert used() == before


def test_anonymous_volumes_go_with_their_container(
    engine: ContainerEngine, image: str, run_label: str, tmp_path: Path
) -> None:
    api = engine.client.api
    base = api.create_container(image, entrypoint=["true"])
    made = api.commit(base["Id"], "agent-sandbox-test-volume", changes=["VOLUME /data"])
    try:
        spec = ContainerSpec(
            image=made["Id"], entrypoint=["sleep", "60"], labels={"run": run_label}
        )
        with Container.start(engine, spec, log_path=tmp_path / "log") as container:
            [mount] = inspect(engine, container)["Mounts"]
            assert mount["Name"] in {volume.name for volume in engine.client.volumes.list()}
        assert mount["Name"] not in {volume.name for volume in engine.client.volumes.list()}
    finally:
        api.remove_container(base["Id"])
        api.remove_image(made["Id"])


def test_waiting_ends_as_soon_as_there_is_an_answer(start: Start) -> None:
    container = start(_SERVER, ports={8000: None})
    waited = wait_until(lambda: connects(container.ports[8000]), container, timeout=20)
    assert 0 < waited < 20


def test_waiting_too_long_shows_the_log(start: Start) -> None:
    container = start("echo I am stuck; sleep 60")
    assert log_has(container, "stuck")
    with pytest.raises(SandboxStartFailed, match=r"did not answer within 0\.[2-4] s") as caught:
        wait_until(lambda: False, container, timeout=0.2)
    assert "I am stuck" in caught.value.log


def test_waiting_costs_little_cpu(start: Start) -> None:
    container = start("sleep 60")
    asked = []
    began = time.process_time()
    with pytest.raises(SandboxStartFailed):
        wait_until(lambda: bool(asked.append(time.monotonic())), container, timeout=2)
    assert time.process_time() - began < 0.1
    assert 60 < len(asked) < 130
    assert asked[1] - asked[0] < 0.02


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("image", ""),
        ("command", "one string"),
        ("entrypoint", "one string"),
        ("environment", {"A=B": "x"}),
        ("environment", {"A": 5}),
        ("ports", {0: None}),
        ("ports", {8000: 70000}),
        ("ports", {8000: 9000, 8001: 9000}),
        ("volumes", "/a:/b"),
        ("volumes", ["/only-one"]),
        ("volumes", ["/a:relative"]),
        ("volumes", {"/a": {"mode": "ro"}}),
        ("memory", "lots"),
        ("memory", 0),
        ("cpus", 0),
        ("cpus", -1.5),
        ("pids_limit", 0),
        ("platform", "arm64"),
        ("name_prefix", "has space"),
    ],
)
def test_bad_values_name_their_argument(argument: str, value: object) -> None:
    settings = {"image": "any", argument: value}
    with pytest.raises(SettingsError, match=f"^{argument}: "):
        ContainerSpec(**settings)


def test_a_secret_of_the_wrong_type_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        ContainerSpec(image="any", environment={"KEY": "se\0cret"})
    assert str(caught.value) == "environment: the value of KEY is not a text without NUL"


def test_ports_need_a_network(image: str) -> None:
    with pytest.raises(SettingsError, match=r"^network: 'host' publishes no ports"):
        ContainerSpec(image=image, network="host", ports={8000: None})


@pytest.mark.parametrize(
    ("given", "bind"),
    [
        ("/a:/b", "/a:/b:rw"),
        ("name:/b:ro", "name:/b:ro"),
        (r"C:\work:/work", r"C:\work:/work:rw"),
        ("C:/work:/work:ro,z", "C:/work:/work:ro,z"),
    ],
)
def test_volumes_as_people_write_them(engine: ContainerEngine, given: str, bind: str) -> None:
    arguments = ContainerSpec(image="any", volumes=[given]).create_arguments(engine.client.api)
    assert arguments["host_config"]["Binds"] == [bind]


def test_gpus_are_asked_for_as_the_command_line_does(engine: ContainerEngine) -> None:
    arguments = ContainerSpec(image="any", gpus=True).create_arguments(engine.client.api)
    [request] = arguments["host_config"]["DeviceRequests"]
    assert (request["Count"], request["Capabilities"]) == (-1, [["gpu"]])


def test_kept_it_outlives_clean_ups(engine: ContainerEngine, start: Start, run_label: str) -> None:
    container = start("echo here; sleep 60")
    hexadecimal = container.name.rpartition("-")[2]
    container.pause()
    container.keep()
    try:
        assert container.name == f"agent-sandbox-kept-{hexadecimal}"
        assert container.state().status == "running"  # a frozen one is of no use to who looks
        container.keep()
        container.remove()
        assert remove_labelled(engine, {"run": run_label}) == 0
        assert kept_containers(engine, {"run": run_label}) == [container.name]
        assert kept_containers(engine, {"run": "another"}) == []
        with pytest.raises(SandboxDied):
            container.check()
    finally:
        remove_container(engine, container.name)
    assert kept_containers(engine, {"run": run_label}) == []


def test_what_is_gone_cannot_be_kept(engine: ContainerEngine, start: Start) -> None:
    container = start("sleep 60")
    remove_container(engine, container.id)
    with pytest.raises(SandboxError, match="could not rename container"):
        container.keep()
    container.remove()


def test_a_process_inside_and_a_file_from_it(
    engine: ContainerEngine, start: Start, tmp_path: Path
) -> None:
    container = start("sleep 60")
    process = Process(engine, container, ["sh", "-c", "echo written > /tmp/file; sleep 60"])
    assert process.is_running()
    assert not process.wait(0.1)
    copied = tmp_path / "copied"
    copy_file(engine, container, "/tmp/file", copied, limit=8)
    assert copied.read_text() == "written\n"
    with pytest.raises(SandboxError, match=r"copy /tmp/none from container"):
        copy_file(engine, container, "/tmp/none", tmp_path / "none", limit=8)
    with pytest.raises(SandboxError, match="is no file"):
        copy_file(engine, container, "/var", tmp_path / "folder", limit=1 << 30)
    with pytest.raises(SandboxError, match="is larger than 7 bytes"):
        copy_file(engine, container, "/tmp/file", tmp_path / "large", limit=7)


def test_a_process_ends_with_its_container(engine: ContainerEngine, start: Start) -> None:
    container = start("sleep 0.5")
    began = time.monotonic()
    assert Process(engine, container, ["sleep", "60"]).wait(30)
    assert time.monotonic() - began < 10
