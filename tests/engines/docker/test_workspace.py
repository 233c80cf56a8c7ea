"""A container joined to a client: what only the two together can show."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_agent_sandbox.containers.cleanup import find
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import find_local
from pytest_agent_sandbox.engines.docker.dev_workspace import DockerDevWorkspace
from pytest_agent_sandbox.engines.docker.workspace import DockerWorkspace
from pytest_agent_sandbox.errors import SandboxDied, SandboxStartFailed, SettingsError

FLAKY = """#!/bin/sh
if [ ! -e /marks/seen ]; then
    touch /marks/seen
    echo "ImportError: cannot import name 'x' from partially initialized module 'litellm.y'" >&2
    exit 1
fi
exec tini -- /agent-server/.venv/bin/python -m openhands.agent_server "$@"
"""


@pytest.fixture(scope="module")
def workspace(engine: ContainerEngine, agent_server_image: str) -> Iterator[DockerWorkspace]:
    with DockerWorkspace(
        server_image=agent_server_image, engine=engine, memory="1g", cpus=1.5, pids_limit=300
    ) as workspace:
        yield workspace


def inspect(engine: ContainerEngine, workspace: DockerWorkspace) -> dict:
    return engine.client.api.inspect_container(workspace.container.id)


def test_limits_and_labels_are_what_was_asked_for(engine, workspace):
    attributes = inspect(engine, workspace)
    host = attributes["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (2**30, 1_500_000_000, 300)
    assert "pytest-agent-sandbox.owner-pid" in attributes["Config"]["Labels"]


@pytest.mark.parametrize("security", ["default", "strict"])
def test_folders_in_memory(engine, agent_server_image, security):
    with DockerWorkspace(
        server_image=agent_server_image,
        engine=engine,
        security=security,
        shm_size="10m",
        tmpfs=["/scratch:30m", "/srv", "/tmp:40m"],  # the image has two of them
    ) as workspace:
        sizes = workspace.execute_command("df -m --output=target,size /dev/shm /scratch /tmp")
        assert sizes.check().stdout.split()[3:] == [
            "/dev/shm",
            "10",
            "/scratch",
            "30",
            "/tmp",
            "40",
        ]
        writing = "echo 'echo ran' > {0}/it && chmod +x {0}/it && sh -c {0}/it"
        for folder in ("/scratch", "/srv", "/tmp"):
            assert workspace.execute_command(writing.format(folder)).check().stdout == "ran\n"


def test_the_server_is_published_on_loopback_only(engine, workspace):
    (binding,) = inspect(engine, workspace)["NetworkSettings"]["Ports"]["8000/tcp"]
    assert binding == {"HostIp": "127.0.0.1", "HostPort": str(workspace.host_port)}
    assert workspace.vscode_port is None
    assert workspace.vnc_port is None


def test_the_server_wants_the_session_key_and_does_not_show_it(workspace):
    import httpx

    url = f"{workspace.host}/api/conversations/search"
    assert httpx.get(url, trust_env=False).status_code == 401
    key = workspace.session_key.get_secret_value()
    assert key not in repr(workspace)
    assert key not in workspace.log_path.read_text()
    shown = workspace.execute_command("env; ps auxwww").stdout
    assert key not in shown


def test_paused_and_resumed(workspace):
    workspace.pause()
    try:
        assert not workspace.alive()
    finally:
        workspace.resume()
    assert workspace.execute_command("echo awake").stdout == "awake\n"


def test_the_end_of_the_container_ends_what_waits_for_it(engine, agent_server_image):
    with DockerWorkspace(server_image=agent_server_image, engine=engine) as workspace:
        killer = threading.Timer(0.5, workspace.container._api.kill, [workspace.container.id])
        killer.start()
        began = time.monotonic()
        with pytest.raises(SandboxDied, match=r"code 137 \(killed, SIGKILL\)") as caught:
            workspace.execute_command("sleep 60", timeout=60)
        assert time.monotonic() - began < 1.5
        assert caught.value.exit_code == 137
        killer.join()


def test_closing_leaves_nothing(engine, agent_server_image, capsys):
    threads = set(threading.enumerate())
    workspace = DockerWorkspace(server_image=agent_server_image, detach_logs=True)
    name, log = workspace.container.name, workspace.log_path
    assert "Uvicorn running" in log.read_text()
    workspace.close()
    workspace.close()
    assert name not in [found.name for found in find(engine)]
    assert not log.parent.exists()
    assert set(threading.enumerate()) == threads
    assert "Uvicorn running" in capsys.readouterr().err, "detach_logs=True copies the log"


def test_a_transient_failure_is_tried_once_more(engine, agent_server_image, tmp_path):
    image = "local/agent-sandbox-test-flaky:1"
    (tmp_path / "start").write_text(FLAKY)
    container = engine.client.containers.create(agent_server_image)
    try:
        _put(container, tmp_path / "start")
        container.commit(image, changes=['ENTRYPOINT ["sh", "/tmp/start"]'])
    finally:
        container.remove()
    marks = tmp_path / "marks"
    marks.mkdir(mode=0o777)
    marks.chmod(0o777)
    try:
        with DockerWorkspace(
            server_image=image, engine=engine, volumes=[f"{marks}:/marks"], cleanup_image=True
        ) as workspace:
            assert workspace.execute_command("ls /marks").stdout == "seen\n"
            assert "partially initialized module" in workspace.log_path.read_text()
        assert find_local(engine, image) is None, "cleanup_image removes it"
    finally:
        if find_local(engine, image) is not None:
            engine.client.images.remove(image, force=True)


def _put(container, file: Path) -> None:
    import io
    import tarfile

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(file, file.name)
    container.put_archive("/tmp", archive.getvalue())


def test_a_start_that_fails_leaves_no_container(engine, agent_server_image):
    with pytest.raises(SandboxStartFailed, match="did not answer within"):
        DockerWorkspace(
            server_image=agent_server_image,
            engine=engine,
            health_check_timeout=0.1,
            labels={"test": "that fails to start"},
        )
    assert find(engine, {"test": "that fails to start"}) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "desktop"}, "source-minimal"),
        ({"target": "binary"}, "source"),
        ({"server_image": "x"}, "base_image"),
    ],
)
def test_a_dev_workspace_says_what_it_cannot_do(engine, arguments, message):
    with pytest.raises(SettingsError, match=message):
        DockerDevWorkspace(engine=engine, **arguments)


def test_a_dev_workspace_builds_once_and_runs(engine, full_image):
    built = find_local(engine, full_image)
    assert built is not None
    base = built.labels["pytest-agent-sandbox.base"]
    began = time.monotonic()
    with DockerDevWorkspace(base_image=base, target="source", engine=engine) as workspace:
        assert workspace.image.id == built.id
        assert workspace.server_info()["version"] == "1.58.0"
    assert time.monotonic() - began < 60, "the same build has been made before"
