"""Interrupted in the middle of a test: no container is left, whichever way it ends."""

import os
import signal
import time

import psutil
import pytest

from tests.support.project import Project

SLOW = """
import os, time
def test_slow(agent_workspace):
    with open(os.path.join(os.environ["SIGNS"], agent_workspace.container.name), "w"):
        pass
    time.sleep(120)
"""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")


@pytest.fixture
def interruptible():
    """A shell that starts a job in the background has it ignore Ctrl-C, and so its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def started(project, count, process):
    """Waits until so many tests are in their middle; returns their containers' names."""
    folder = project.folder / "signs"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        names = [path.name for path in folder.iterdir()]
        if len(names) == count:
            return names
        time.sleep(0.1)
    raise AssertionError(f"the tests did not start: {process.communicate(timeout=10)[0]}")


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("workers", [0, 1])
def test_no_container_is_left(tmp_path, engine_client, workers):
    """Two runs side by side: one is interrupted, and one is asked to end."""
    interrupted, ended = (slow_project(tmp_path / name, 2) for name in ("interrupted", "ended"))
    arguments = ["-n", str(workers)] if workers else []
    with interrupted.start(*arguments) as first, ended.start(*arguments) as second:
        runs = [(interrupted, first, signal.SIGINT), (ended, second, signal.SIGTERM)]
        try:
            names = [
                name
                for project, process, _ in runs
                for name in started(project, max(1, workers), process)
            ]
            for _, process, number in runs:
                process.send_signal(number)
            for _, process, _ in runs:
                print(process.communicate(timeout=60)[0])
        finally:
            first.kill()
            second.kill()
    deadline = time.monotonic() + 30
    while left(engine_client, names) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left(engine_client, names) == []
    for project, process, number in runs:
        assert process.returncode not in (0, 1), number
        # Nor anything else: the workers end a moment after the process that started them.
        scratch = project.scratch
        while list(scratch.glob("*agent-sandbox-*-*")) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert list(scratch.glob("*agent-sandbox-*-*")) == [], number


@pytest.mark.usefixtures("interruptible")
def test_killed_outright(engine_client, tmp_path):
    """One run and one with workers are killed; a third one goes on beside them."""
    alone, spread, other = (
        slow_project(tmp_path / name, tests)
        for name, tests in (("alone", 1), ("spread", 2), ("other", 1))
    )
    with (
        other.start() as bystander,
        alone.start() as process,
        spread.start("-n2") as with_workers,
    ):
        try:
            theirs = started(other, 1, bystander)
            names = [*started(alone, 1, process), *started(spread, 2, with_workers)]
            processes = psutil.Process(process.pid).children(recursive=True)
            workers = psutil.Process(with_workers.pid).children(recursive=True)
            assert len(workers) >= 4, "workers and their watchers"
            process.kill()
            with_workers.kill()
            deadline = time.monotonic() + 20
            # The evidence of the test that was under way stays; nothing else does.
            while (
                left(engine_client, names)
                or any(map(is_alive, [*processes, *workers]))
                or [*alone.scratch.glob("*/owner-*"), *spread.scratch.glob("*/owner-*")]
            ):
                assert time.monotonic() < deadline, (left(engine_client, names), processes, workers)
                time.sleep(0.1)
            assert left(engine_client, theirs) == theirs
            assert bystander.poll() is None
        finally:
            process.kill()
            with_workers.kill()
            bystander.send_signal(signal.SIGINT)
            bystander.communicate(timeout=60)
    assert left(engine_client, theirs) == []


def slow_project(folder, tests):
    """A project of so many tests, each in a file of its own."""
    folder.mkdir()
    project = Project(folder)
    signs = project.folder / "signs"
    signs.mkdir()
    project.environment["SIGNS"] = str(signs)
    for number in range(tests):
        project.write(f"test_{number}.py", SLOW)
    return project


def is_alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def left(engine_client, names):
    containers = engine_client.containers.list(all=True, ignore_removed=True)
    return [container.name for container in containers if container.name in names]
