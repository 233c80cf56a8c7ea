"""What a process leaves behind that was killed, and who removes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pytest_agent_sandbox.containers.cleanup import find, prefixed, remove_left_behind
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.watcher import Watcher
from pytest_agent_sandbox.host.ownership import OWNER, PLACE, Owner, owner_file, owner_state
from tests.support.timing import eventually

# A process that has a container, a network, a volume and a file, and a watcher unless told
# otherwise. It says what they are called; then it ends as it is told to.
PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
from pytest_agent_sandbox.containers.cleanup import prefixed
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.container_spec import ContainerSpec
from pytest_agent_sandbox.containers.watcher import Watcher

image, folder, watched = sys.argv[1:]
folder = Path(folder)
engine = ContainerEngine.connect()
watcher = Watcher(engine.owner.id, [folder / "scratch"]) if watched == "yes" else None
(folder / "scratch").mkdir()
(folder / "scratch" / "a.txt").write_text("x")
spec = ContainerSpec(image=image, entrypoint=["sleep"], command=["600"])
container = Container.start(engine, spec, log_path=folder / "log")
network = engine.client.api.create_network(
    f"agent-sandbox-{engine.owner.id}", labels=prefixed(engine.owner.labels))
engine.client.api.create_volume(
    f"agent-sandbox-data-{engine.owner.id}", labels=prefixed(engine.owner.labels))
found = {"owner": engine.owner.id, "container": container.name, "network": network["Id"],
         "watcher": watcher.pid if watcher else None}
print(json.dumps(found), flush=True)
line = sys.stdin.readline()
if line == "fork\\n" and os.fork() == 0:  # a child that holds on to all that is open
    os.close(1)
    time.sleep(20)
    os._exit(0)
if line == "end\\n":
    container.remove()
    engine.client.api.remove_network(network["Id"])
    engine.client.api.remove_volume(f"agent-sandbox-data-{engine.owner.id}")
    watcher.close()
    engine.close()
    sys.exit()
os.kill(os.getpid(), signal.SIGKILL)
"""

Begin = Callable[..., tuple[subprocess.Popen[str], dict]]


@pytest.fixture
def begin(image: str, tmp_path: Path) -> Iterator[Begin]:
    processes = []

    def begin(*, watched: bool = True) -> tuple[subprocess.Popen[str], dict]:
        folder = tmp_path / str(len(processes))
        folder.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, image, str(folder), "yes" if watched else "no"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        return process, {**json.loads(process.stdout.readline()), "folder": folder}

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def tell(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()
    process.wait(30)


def names(engine: ContainerEngine, owner: str) -> list[str]:
    return [one.name for one in find(engine, {"owner": owner})]


posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")


@posix
@pytest.mark.parametrize("word", ["die", "fork"])
def test_the_watcher_cleans_up(engine: ContainerEngine, begin: Begin, word: str) -> None:
    process, found = begin()
    bystander, other = begin()
    assert len(names(engine, found["owner"])) == 3
    watcher = psutil.Process(found["watcher"])
    assert watcher.memory_info().rss < 20e6
    assert watcher.num_threads() == 1
    # What a terminal or a service manager sends to everybody does not end it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        watcher.send_signal(number)
    tell(process, word)
    eventually(lambda: names(engine, found["owner"]) == [])
    eventually(lambda: not watcher.is_running())
    assert not (found["folder"] / "scratch").exists()
    assert not owner_file(found["owner"]).exists()
    assert len(names(engine, other["owner"])) == 3, "another's stay"
    tell(bystander, "end")
    assert names(engine, other["owner"]) == []
    assert not psutil.pid_exists(other["watcher"])
    assert not owner_file(other["owner"]).exists()
    assert (other["folder"] / "scratch").exists()


@posix
def test_a_later_run_cleans_up(engine: ContainerEngine, begin: Begin) -> None:
    process, found = begin(watched=False)
    living, other = begin()
    uses = {one.name: one.use for one in find(engine)}
    assert uses[found["container"]] == uses[other["container"]] == "alive"
    tell(process, "die")
    shown = {one.name: one for one in find(engine)}
    assert shown[found["container"]].use == "dead"
    assert shown[found["container"]].labels["owner-pid"] == str(process.pid)
    assert shown[found["container"]].labels["started"].startswith("20")
    removed = remove_left_behind(engine)
    assert found["container"] in removed
    assert len(removed) >= 3, "its network and its volume too"
    assert other["container"] not in removed
    assert names(engine, found["owner"]) == []
    assert not owner_file(found["owner"]).exists()
    tell(living, "end")


def test_files_of_owners_that_were_killed_go(engine: ContainerEngine) -> None:
    """Those that had nothing on the engine any more, so that nothing names them."""
    hours_ago = time.time() - 7200
    killed, just_begun = owner_file("0123abcd"), owner_file("4567ef01")
    with Owner() as living:
        for file in (killed, just_begun):
            file.touch()
        for file in (killed, owner_file(living.id)):
            os.utime(file, (hours_ago, hours_ago))
        try:
            remove_left_behind(engine)
            assert not killed.exists()
            assert just_begun.exists(), "its lock may not be held yet"
            assert owner_state(living.labels) == "alive"
        finally:
            just_begun.unlink()


def test_what_belongs_to_another_machine_stays(engine: ContainerEngine, begin: Begin) -> None:
    with Owner() as owner:
        labels = prefixed({**owner.labels, PLACE: "elsewhere"})
    network = engine.client.api.create_network(f"agent-sandbox-{owner.id}", labels=labels)["Id"]
    try:
        (found,) = find(engine, {"owner": owner.id})
        assert (found.use, found.kind) == ("unknown", "network")
        assert found.name not in remove_left_behind(engine)
        found.remove(engine)
        found.remove(engine)
        assert find(engine, {"owner": owner.id}) == []
    finally:
        engine.client.api.prune_networks(filters={"label": f"{next(iter(labels))}={owner.id}"})
    assert network


@posix
def test_a_watcher_that_was_killed_is_no_trouble() -> None:
    watcher = Watcher("0000")
    os.kill(watcher.pid, signal.SIGKILL)
    psutil.Process(watcher.pid).wait(5)
    watcher.add_file(Path("/nowhere"))
    watcher.close()
    watcher.close()


def test_an_engines_owner_ends_with_it(
    engine: ContainerEngine, start: Callable[..., Container]
) -> None:
    other = ContainerEngine.connect()
    container = start("sleep 60", engine=other)
    (found,) = find(engine, {"owner": other.owner.id})
    assert (found.name, found.use) == (container.name, "alive")
    container.remove()
    file = owner_file(other.owner.id)
    assert file.exists()
    other.close()
    assert not file.exists()


@posix
def test_prune_shows_and_removes(engine: ContainerEngine, begin: Begin) -> None:
    process, found = begin(watched=False)
    living, other = begin()
    tell(process, "die")
    elsewhere = prefixed({OWNER: "0123456789abcdef", PLACE: "elsewhere", "run": found["owner"]})
    foreign = f"agent-sandbox-{found['owner']}-foreign"
    engine.client.api.create_network(foreign, labels=elsewhere)

    def prune(*arguments: str) -> str:
        command = [sys.executable, "-m", "pytest_agent_sandbox.cli", "prune", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    shown = prune("--dry-run")
    assert f"{found['container']}: left behind by process {process.pid} on " in shown
    assert f"{other['container']}: in use by process {living.pid} on " in shown
    assert f"{foreign} (network): of process ? on ?, which cannot be seen from here" in shown
    assert len(names(engine, found["owner"])) == 3, "shown only"
    removed = prune("--yes")
    assert f"removed {found['container']}\n" in removed
    assert f"removed {other['container']}" not in removed
    assert names(engine, found["owner"]) == []
    assert len(names(engine, other["owner"])) == 3
    assert f"removed {foreign}" in prune(foreign, "--yes")
    assert foreign not in prune("--dry-run")
    tell(living, "end")
