"""The ends of services: their own, the gate's, the test's and that of the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.support.project import Project

PREFACE = """
import asyncio, os, sys, threading, time
import pytest
from pytest_agent_sandbox import Ready, Service, tool
from pytest_agent_sandbox.errors import SandboxDied, SandboxStartFailed

SERVER = '''
import os, socket, sys
print("last words", flush=True)
server = socket.create_server(("0.0.0.0", 7000))
while True:
    end, _ = server.accept()
    end.sendall(os.environ.get("WORDS", "words").encode())
    end.close()
'''
ASK = ("python3 -c 'import socket, sys; end = socket.create_connection((sys.argv[1], 7000), 5); "
       "print(end.recv(99).decode())' ")

def service(**more):
    return Service("IMAGE", entrypoint=["python3", "-uc", SERVER], ports=[7000], **more)
"""

WAITS = """
@pytest.fixture
def services(agent_services, agent_workspace):
    return agent_services(db=service())

@pytest.fixture
def fails(services, agent_workspace):
    class Fails:
        def __enter__(self):
            self.began = time.monotonic()
            api = agent_workspace.engine.client.api
            threading.Timer(1, api.kill, [services.db.container.id]).start()
        def __exit__(self, kind, error, traceback):
            assert kind is SandboxDied, error
            assert "Service db is gone: " in str(error)
            assert "last words" in str(error.__notes__)
            assert time.monotonic() - self.began < 8
            return True
    return Fails()

def test_command(agent_workspace, fails):
    with fails:
        agent_workspace.execute_command("sleep 60", timeout=60)

def test_awaited_command(agent_workspace, fails):
    with fails:
        asyncio.run(agent_workspace.aexecute_command("sleep 60", timeout=60))

def test_run(agent_workspace, agent_llm, agent_conversation, fails):
    agent_llm.script([tool("terminal", command="sleep 60")])
    conversation = agent_conversation()
    conversation.send_message("Go.")
    with fails:
        conversation.run(timeout=60)

def test_another_service(agent_services, fails):
    with fails:
        asyncio.run(agent_services.astart(late=service(ready=Ready.log("never"))))

def test_stopped_on_purpose(agent_workspace, services):
    services.db.stop()
    assert agent_workspace.execute_command("sleep 1; echo on").check().stdout == "on\\n"
    assert "words" not in agent_workspace.execute_command(ASK + "db").stdout
    assert services.db.state() == "stopped by the test"

def test_gate(agent_workspace, services):
    api = agent_workspace.engine.client.api
    label, db = "pytest-agent-sandbox.service=db", services.db.container.id
    (gate,) = [one for one in api.containers(filters={"label": label})
               if one["HostConfig"]["NetworkMode"] == f"container:{db}"]
    threading.Timer(1, api.remove_container, [gate["Id"]], {"force": True}).start()
    with pytest.raises(SandboxDied, match="Service db is out of reach: "):
        agent_workspace.execute_command("sleep 60", timeout=60)

def test_threads(agent_services, agent_workspace):
    found, problems = {}, []
    def start(name, call):
        try:
            found[name] = call(**{name.rstrip("2"): service(env={"WORDS": name.rstrip("2")})})
        except BaseException as error:
            problems.append(error)
    threads = [threading.Thread(target=start, args=arguments) for arguments in
               (("a", agent_services), ("b", agent_services),
                ("s", agent_services.shared), ("s2", agent_services.shared))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems
    assert found["s"].s is found["s2"].s
    for name in "abs":
        assert agent_workspace.execute_command(ASK + name).check().stdout == name + "\\n"
"""


def preface(image: str) -> str:
    return PREFACE.replace("IMAGE", image)


def test_a_service_that_ends_ends_what_waits(project: Project, agent_server_image: str) -> None:
    project.write("test_it.py", preface(agent_server_image) + WAITS)
    code, output = project.run("--sandbox-network=isolated")
    assert code == 0
    assert "7 passed" in output


WORKERS = """
@pytest.mark.parametrize("number", range(2))
def test_meet(agent_services, agent_workspace, number, worker_id):
    with open(f"{number}", "w") as file:
        file.write(worker_id)
    db = agent_services(db=service(env={"WORDS": worker_id})).db
    shared = agent_services.shared(all=service(env={"WORDS": "shared-" + worker_id}))
    deadline = time.monotonic() + 90
    while not all(os.path.exists(name) for name in "01"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert agent_workspace.execute_command(ASK + "db").check().stdout.strip() == worker_id
    told = agent_workspace.execute_command(ASK + "all").check().stdout.strip()
    assert told == "shared-" + worker_id
    assert db.execute_command(ASK + "all").exit_code != 0
"""


def test_services_of_two_workers_do_not_meet(
    project: Project, agent_server_image: str, sandboxes: Callable[[], list[str]]
) -> None:
    project.write("test_it.py", preface(agent_server_image) + WORKERS)
    code, _ = project.run("--sandbox-network=isolated", "-n", "2")
    assert code == 0
    assert {(project.folder / name).read_text() for name in "01"} == {"gw0", "gw1"}
    assert sandboxes() == []


HANGING = """
@pytest.mark.agent_services(db=service())
@pytest.mark.parametrize("number", range(2))
def test_hangs(agent_services, agent_workspace, number):
    agent_services.shared(all=service())
    with open(f"new-{number}", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"new-{number}", f"ready-{number}")
    time.sleep(200)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("whom", ["alone", "all", "worker"])
def test_nothing_is_left_of_services_when_pytest_is_killed(
    project: Project, agent_server_image: str, sandboxes: Callable[[], list[str]], whom: str
) -> None:
    project.write("test_it.py", preface(agent_server_image) + HANGING)
    workers = 1 if whom == "alone" else 2
    arguments = [] if whom == "alone" else ["-n2", "--max-worker-restart=0"]
    with project.start(*arguments) as process:
        try:
            _await(project, process, workers)
            # Each test's sandbox, two services and their gates.
            assert len(sandboxes()) >= 5 * workers
            if whom == "worker":
                first, second = (
                    int((project.folder / f"ready-{number}").read_text()) for number in range(2)
                )
                os.kill(first, signal.SIGKILL)
                _await_count(sandboxes, 5)
                os.kill(second, signal.SIGKILL)
            else:
                process.kill()
            _await_count(sandboxes, 0)
        finally:
            process.kill()
            process.communicate(timeout=60)


SLOW_START = """
def test_starts(agent_services, agent_workspace):
    threading.Thread(target=lambda: (time.sleep(6), open("ready-0", "w").close())).start()
    agent_services(db=service(), never=service(ready=Ready.log("never")))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_an_interrupt_while_services_start(
    project: Project, agent_server_image: str, sandboxes: Callable[[], list[str]]
) -> None:
    project.write("test_it.py", preface(agent_server_image) + SLOW_START)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with project.start() as process:
            _await(project, process, 1)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=60)
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.returncode == 2, output
    assert "KeyboardInterrupt" in output
    assert sandboxes() == []


FAILING = """
@pytest.mark.agent_services(db=service())
def test_fails(agent_services, agent_workspace):
    assert 0

def test_later(agent_services):
    agent_services(other=service(env={"WORDS": "never"}))
"""


def test_services_of_failed_tests_are_kept(
    project: Project, agent_server_image: str, sandboxes: Callable[[], list[str]]
) -> None:
    project.write("test_it.py", preface(agent_server_image) + FAILING)
    code, output = project.run("--sandbox-keep=failed", "-x")
    try:
        assert code == 1
        kept = sandboxes()
        assert len(kept) == 2
        assert all(name.startswith("agent-sandbox-kept-") for name in kept)
        assert sum("-kept-db-" in name for name in kept) == 1
        assert all(name in output for name in kept)
        assert "1 failed" in output
        told = _tool(project, "prune", "--dry-run", *kept)
        (service,) = [line for line in told.splitlines() if "-kept-db-" in line]
        assert "service db, kept to be looked into; of test_it.py::test_fails" in service
    finally:
        # By name: others may have kept theirs.
        ended = _tool(project, "prune", "--yes", *sandboxes())
    assert all(name in ended for name in kept)
    assert sandboxes() == []


def _tool(project: Project, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest_agent_sandbox.cli", *arguments],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


def _await(project: Project, process: subprocess.Popen[str], count: int) -> None:
    """Wait until so many tests are where they wait."""
    deadline = time.monotonic() + 120
    while len(list(project.folder.glob("ready*"))) < count:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _await_count(sandboxes: Callable[[], list[str]], count: int) -> None:
    deadline = time.monotonic() + 20
    while len(sandboxes()) > count:
        assert time.monotonic() < deadline, sandboxes()
        time.sleep(0.2)
    assert len(sandboxes()) == count
