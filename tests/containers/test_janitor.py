"""The janitor: a container is as it was at first, whatever was done in it, or that is said."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_agent_sandbox.containers import janitor_inside
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.container_spec import ContainerSpec
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_files import first_files
from pytest_agent_sandbox.containers.janitor import Janitor, home_of, memory_options
from pytest_agent_sandbox.errors import SandboxDied, SandboxError

FOLDERS = ("/tmp", "/run", "/workspace", "/not/in/the/image")
SHOW = (
    "ls -laR --time-style=+ /tmp /run /workspace /not /home /dev/shm /dev/mqueue 2>&1; "
    "cat /home/*/.bashrc | md5sum; ls -la --time-style=+ /dev; cat /proc/sysvipc/*"
)


@pytest.fixture(scope="module")
def files(engine: ContainerEngine, agent_server_image: str) -> dict[str, bytes]:
    return first_files(engine, agent_server_image, FOLDERS, None)


@pytest.fixture(scope="module")
def container(
    engine: ContainerEngine,
    agent_server_image: str,
    files: dict[str, bytes],
    run_label: str,
    tmp_path_factory,
) -> Iterator[Container]:
    spec = ContainerSpec(
        image=agent_server_image,
        entrypoint=["tini", "--", "sleep"],
        command=["600"],
        read_only=True,
        tmpfs={folder: memory_options(archive) for folder, archive in files.items()},
        pids_limit=200,
        labels={"run": run_label},
    )
    log = tmp_path_factory.mktemp("janitor") / "log"
    with Container.start(engine, spec, log_path=log) as container:
        yield container


@pytest.fixture(scope="module")
def janitor(
    engine: ContainerEngine, container: Container, files: dict[str, bytes]
) -> Iterator[Janitor]:
    janitor = Janitor(container)
    janitor.restore(files)
    janitor.remember()
    yield janitor
    janitor.close()


Run = Callable[..., str]


@pytest.fixture
def run(engine: ContainerEngine, container: Container) -> Run:
    """Runs a shell script in the container; returns its output."""

    def run(script: str, user: str = "openhands", *, detach: bool = False) -> str:
        api = engine.client.api
        started = api.exec_create(container.id, ["bash", "-c", script], user=user)["Id"]
        output = api.exec_start(started, detach=detach)
        if detach:
            time.sleep(0.3)  # for it to be at it
            return ""
        assert api.exec_inspect(started)["ExitCode"] == 0, output
        return str(output.decode())

    return run


def test_what_the_image_has_is_there_in_memory(run: Run, janitor: Janitor) -> None:
    assert "HISTCONTROL" in run("cat ~/.bashrc")
    assert run("stat -c '%U %a' ~ /workspace /tmp").split() == [
        *("openhands", "700", "openhands", "755", "root", "1777")
    ]
    assert run("touch ~/a /workspace/a /tmp/a /not/in/the/image/a && echo ok") == "ok\n"
    assert "Read-only file system" in run("touch /usr/a /var/spool/a /etc/a 2>&1; true", "root")
    assert janitor.reset() == []


@pytest.mark.parametrize(
    ("script", "user"),
    [
        ("mkdir -p /tmp/a/b/c; echo x > /tmp/a/b/c/d; ln -s / /tmp/root; ln -s x /tmp/broken", ""),
        ("echo 'alias ls=rm' >> ~/.bashrc", ""),
        ("t=$(stat -c %y ~/.bashrc); sed -i s/HIST/TSIH/ ~/.bashrc; touch -d \"$t\" ~/.bashrc", ""),
        ("rm ~/.bashrc ~/.profile; mkdir ~/.profile; rmdir /workspace/project", ""),
        ("rm ~/.bashrc; ln -s /etc/passwd ~/.bashrc", ""),
        ("chmod 777 ~ ~/.profile; chmod 000 /workspace/project", ""),
        ("chown -R root:root /home/openhands; chmod u+s /home/openhands/.profile", "root"),
        ("touch /dev/shm/a; dd if=/dev/zero of=/dev/shm/big bs=1M count=10 status=none", ""),
        ("mknod /dev/mine c 1 3; rm /dev/null; echo full > /dev/null", "root"),
        ("mkfifo /tmp/fifo; chmod 000 /tmp/fifo; cp /bin/ls /tmp/ls; /tmp/ls", ""),
        ("mkdir /run/sudo; echo x > /run/sudo/ts; touch /run/lock/a", "root"),
        ("mkdir -p '/tmp/line\nbreak' $'/tmp/\\xff'; touch -- '/tmp/-rf' '/tmp/ a '", ""),
        ("setfattr -n user.a -v b ~/.profile || python3 -c 'import os; "
         "os.setxattr(os.path.expanduser(\"~/.profile\"), \"user.a\", b\"b\")' || true", ""),
        ("/agent-server/.venv/bin/python -c 'import ctypes; l = ctypes.CDLL(None); "
         "assert l.shmget(7, 4096, 0o1777) >= 0; assert l.semget(7, 1, 0o1777) >= 0; "
         "assert l.msgget(7, 0o1777) >= 0'", ""),
        ("for i in $(seq 3000); do echo $i > /tmp/file-$i; done", ""),
    ],
    ids=range(15),
)  # fmt: skip
def test_files(run: Run, janitor: Janitor, script: str, user: str) -> None:
    before = run(SHOW, "root")
    run(script, user or "openhands")
    assert janitor.reset() == []
    assert run(SHOW, "root") == before


@pytest.mark.parametrize(
    "script",
    [
        "sleep 600 & sleep 600",
        "trap '' TERM INT HUP; while true; do sleep 1; done",
        "setsid nohup sleep 600 >/dev/null 2>&1 & sleep 600",
        "tmux new-session -d -s left 'sleep 600'; sleep 600",
        "kill -STOP $$",
        "bomb() { bomb | bomb & }; bomb; sleep 600",
        'while true; do (setsid bash -c "exec $0" &) ; sleep 0.01; done',
        "cd /tmp && python3 -m http.server 9999",
    ],
    ids=range(8),
)
def test_processes(
    run: Run, janitor: Janitor, engine: ContainerEngine, container: Container, script: str
):
    def processes() -> int:
        return len(engine.client.api.top(container.id)["Processes"])

    before = processes()
    run(script, detach=True)
    assert processes() > before
    began = time.monotonic()
    assert janitor.reset() == []
    assert time.monotonic() - began < 5
    assert processes() == before
    assert run("ls /tmp") == ""


def test_it_takes_milliseconds(run: Run, janitor: Janitor) -> None:
    run("echo x > /tmp/a")
    janitor.reset()
    began = time.monotonic()
    assert janitor.reset() == []
    assert time.monotonic() - began < 0.2


def test_what_cannot_be_brought_back_is_said(
    engine: ContainerEngine, agent_server_image: str, run_label: str, tmp_path: Path
) -> None:
    spec = ContainerSpec(
        image=agent_server_image,
        entrypoint=["sh", "-c"],
        command=["sleep 600 & exec tail -f /dev/null"],
        read_only=True,
        tmpfs={"/tmp": "exec"},
        labels={"run": run_label},
    )
    api = engine.client.api

    def run(script: str) -> None:
        api.exec_start(api.exec_create(container.id, ["sh", "-c", script])["Id"])

    with Container.start(engine, spec, log_path=tmp_path / "log") as container:
        janitor = Janitor(container)
        janitor.remember()
        run("pkill -x sleep")
        assert "the process sleep has ended" in janitor.reset()
        api.kill(container.id)
        with pytest.raises(SandboxDied):
            janitor.reset()
        janitor.close()


@pytest.mark.skipif(sys.platform != "linux", reason="it reads what Linux shows of itself")
def test_another_mount_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not in a container: to mount in one, an engine has to be allowed more than most are.
    janitor = janitor_inside.Janitor()
    janitor.processes = janitor_inside._processes()
    janitor.mounts = mounts = janitor_inside._mounts()
    monkeypatch.setattr(janitor_inside, "_mounts", lambda: mounts)
    assert "there are other mounts" not in janitor.check()
    janitor.mounts = [*mounts, ("/tmp/m", "tmpfs", "rw", "rw")]
    assert "there are other mounts" in janitor.check()


def test_a_janitor_that_was_killed_is_noticed(
    engine: ContainerEngine, agent_server_image: str, run_label: str, tmp_path: Path
) -> None:
    spec = ContainerSpec(
        image=agent_server_image,
        entrypoint=["sleep"],
        command=["600"],
        labels={"run": run_label},
        tmpfs={"/tmp": "exec"},
    )
    with Container.start(engine, spec, log_path=tmp_path / "log") as container:
        janitor = Janitor(container)
        with pytest.raises(SandboxError, match="/ can be written to and is not in memory"):
            janitor.remember(["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"])
        engine.client.containers.get(container.id).exec_run(
            ["pkill", "-9", "-f", "janitor"], user="root"
        )
        began = time.monotonic()
        with pytest.raises(SandboxError, match=f"janitor of container {container.name} is gone"):
            janitor.reset()
        assert time.monotonic() - began < 2
        janitor.close()


def test_a_container_without_python_says_so(
    engine: ContainerEngine, start: Callable[..., Container]
) -> None:
    # It has one, which is made hard to find.
    script = "rm /usr/bin/python3; echo gone; sleep 600"
    container = start(script, user="root", tmpfs={"/agent-server": ""})
    while "gone" not in container.log_tail():
        assert not container.wait_for_end(0.02)
    janitor = Janitor(container)
    with pytest.raises(SandboxError, match="is gone: there is no Python in it"):
        janitor.remember()
    janitor.close()


@pytest.mark.parametrize(
    ("user", "home"),
    [
        ("openhands", "/home/openhands"),
        ("10001", "/home/openhands"),
        ("10001:10001", "/home/openhands"),
        ("", "/root"),
        ("0", "/root"),
        ("nobody", ""),
        ("4711", ""),
    ],
)
def test_homes(user: str, home: str) -> None:
    passwd = (
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\nbroken\n"
        "openhands:x:10001:10001::/home/openhands:/bin/bash\n"
    )
    assert home_of(passwd, user) == home
