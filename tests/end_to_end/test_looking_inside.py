"""Sandboxes that people look into: kept after the run, held while it goes on, recorded on video."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import httpx
import pytest

from tests.support.project import Project

Sandboxes = Callable[[], list[str]]
EXAMPLES = Path(__file__).parents[2] / "examples"
FAILS = """
    def test_fails(agent_workspace):
        agent_workspace.write_text("a.txt", "hello")
        assert 0

    def test_passes(agent_workspace_factory):
        pass
"""


def prune(project: Project, *names: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest_agent_sandbox.cli", "prune", "--yes", *names],
        env=project.environment,  # what others have kept stays
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(autouse=True)
def nothing_stays(project: Project) -> Iterator[None]:
    yield
    prune(project)


def write(project: Project, text: str) -> None:
    lines = text.splitlines()
    project.write("test_looks.py", "\n".join(line[4:] for line in lines) + "\n")


def test_a_failed_tests_sandbox_is_kept_and_pruned(
    project: Project, sandboxes: Sandboxes, full_image: str, engine_client: docker.DockerClient
) -> None:
    write(project, FAILS)
    code, output = project.run("--sandbox-keep=failed", f"--sandbox-image={full_image}")
    assert code == 1
    (name,) = sandboxes()
    assert name.startswith("agent-sandbox-kept-")
    assert "agent-sandbox: 1 sandbox was kept; `agent-sandbox prune` ends all that were" in output
    assert "\ntest_looks.py::test_fails\n" in output
    assert f"container {name}, of {full_image}" in output
    assert f"docker exec -it -w /workspace/project {name} bash" in output
    (vscode,) = re.findall(r"VS Code +(http://127\.0\.0\.1:\S+)", output)
    assert httpx.get(vscode).status_code == httpx.codes.FOUND
    (desktop,) = re.findall(r"desktop +(http://127\.0\.0\.1:\S+)", output)
    assert httpx.get(desktop).status_code == httpx.codes.OK
    result = engine_client.containers.get(name).exec_run(
        ["cat", "a.txt"], workdir="/workspace/project"
    )
    assert result.output == b"hello"
    facts = json.loads((project.results[0] / "result.json").read_text("utf-8"))["sandboxes"][0]
    assert facts["kept as"] == name

    # Another run's clean-up leaves it alone. In CI, whose logs many people read, no key is shown.
    project.environment["CI"] = "true"
    code, output = project.run("--sandbox-keep=all", "-n", "1", "-k", "test_passes")
    assert code == 0
    assert "sandbox was kept" not in output  # that one started none
    assert sandboxes() == [name]

    unknown = prune(project, "agent-sandbox-kept-nothing")
    assert unknown.returncode == 1
    assert "No sandbox is called agent-sandbox-kept-nothing; there are: " in unknown.stderr
    assert name in prune(project, "--dry-run").stdout
    assert sandboxes() == [name]
    removed = prune(project, name).stdout
    assert removed.startswith(f"agent-sandbox: {name}: kept to be looked into; of test_loo")
    assert removed.endswith(f"agent-sandbox: removed {name}\n")
    assert removed.count("\n") == 2
    assert sandboxes() == []
    assert name not in prune(project).stdout


def test_a_dead_and_a_shared_sandbox_are_kept_too(project: Project, sandboxes: Sandboxes) -> None:
    write(
        project,
        """
    import pytest
    from pytest_agent_sandbox.errors import SandboxDied

    @pytest.fixture
    def broken(shared_agent_workspace):
        assert 0

    def test_shared(broken):
        pass

    def test_dies(agent_workspace):
        with pytest.raises(SandboxDied):
            agent_workspace.execute_command("kill -9 -1; sleep 60")
        assert 0
    """,
    )
    project.environment["CI"] = "true"
    code, output = project.run("--sandbox-keep=failed", "-n", "2")
    assert code == 1
    assert len(sandboxes()) == 2
    assert "2 sandboxes were kept" in output
    assert re.search(r"test_dies\n  container .*\n  ended     with exit code", output)
    assert "\n(shared)\n" in output
    assert "?tkn=" not in output


@pytest.mark.usefixtures("agent_server_image")
def test_keeping_is_for_the_whole_run(project: Project) -> None:
    write(
        project,
        """
    import pytest

    @pytest.mark.agent_sandbox(keep="all")
    def test_marked(agent_workspace):
        pass
    """,
    )
    code, output = project.run()
    assert code == 1
    assert "'keep' can only be set for the whole run, by --sandbox-keep" in output


@pytest.mark.parametrize("more", [[], ["-n", "2"]])
def test_holding_wants_a_terminal(project: Project, more: list[str]) -> None:
    write(project, FAILS)
    code, output = project.run("--sandbox-pause-on-failure", *more)
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "--sandbox-pause-on-failure waits for Enter, but standard input is no terminal" in output
    assert "use --sandbox-keep=failed" in output


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals on Windows")
class TestInATerminal:
    def test_a_failed_test_is_held_until_enter(
        self, project: Project, sandboxes: Sandboxes
    ) -> None:
        write(project, FAILS)
        with Terminal(project, "--sandbox-pause-on-failure", "--timeout=90") as terminal:
            terminal.wait_for("press Enter to go on")
            assert "collected 2 items" in terminal.output
            assert "agent-sandbox: 2 tests on" in terminal.output
            assert "held for you to look inside" in terminal.output
            assert "a.txt" in terminal.output
            assert "docker exec -it -w /workspace/project agent-sandbox-" in terminal.output
            assert len(sandboxes()) == 1
            terminal.type("\n")
            terminal.wait_for("1 failed, 1 passed")
        assert sandboxes() == []

    def test_a_failing_fixture_is_held_and_a_failing_teardown_is_not(
        self, project: Project, sandboxes: Sandboxes, recycled: None
    ) -> None:
        write(
            project,
            """
    import pytest

    @pytest.fixture
    def broken(agent_workspace):
        raise ValueError("in the fixture")

    @pytest.fixture
    def late():
        yield
        raise ValueError("in the teardown")

    def test_set_up(broken):
        pass

    def test_torn_down(late, agent_workspace):
        pass
    """,
        )
        with Terminal(project, "--sandbox-pause-on-failure") as terminal:
            terminal.wait_for("press Enter to go on")
            assert "in the fixture" in terminal.output
            assert len(sandboxes()) == 1
            terminal.type("\n")
            terminal.wait_for("1 passed, 2 errors")
            assert terminal.output.count("press Enter") == 1
        assert sandboxes() == []

    def test_the_debugger_finds_the_sandbox_alive(
        self, project: Project, sandboxes: Sandboxes
    ) -> None:
        write(project, FAILS)
        with Terminal(project, "--pdb") as terminal:
            terminal.wait_for("(Pdb)")
            assert "the sandbox of test_looks.py::test_fails:" in terminal.output
            terminal.type("p agent_workspace.read_text('a.txt') + '!'\n")
            terminal.wait_for("'hello!'")
            terminal.type("q\n")
            terminal.wait_for("Quitting debugger")
        assert sandboxes() == []


class Terminal:
    """pytest in a terminal, as a person sits before it."""

    def __init__(self, project: Project, *arguments: str) -> None:
        import pty

        self._end, inner = pty.openpty()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pytest",
                *(f"-pno:{name}" for name in project.blocked),
                "--color=no",
                *arguments,
            ],
            cwd=project.folder,
            env=project.environment,
            stdin=inner,
            stdout=inner,
            stderr=inner,
        )
        os.close(inner)
        self.output = ""

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in self.output:
            assert time.monotonic() < deadline, self.output
            if select.select([self._end], [], [], 1)[0]:
                self.output += os.read(self._end, 65536).decode(errors="replace")

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._process.wait(timeout=30)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._end)


def test_a_video_and_screenshots_of_the_agents_browser(
    project: Project, full_image: str, browser: object
) -> None:
    """Of a test that passes: the example, as it is, on the image that its conftest.py names."""
    for file in EXAMPLES.glob("full/*.py"):
        project.write(file.name, file.read_text("utf-8"))
    code, output = project.run("--sandbox-video=all", "-W", "error")
    assert code == 0
    assert "1 passed in" in output
    (folder,) = project.results
    page = browser.new_page()  # type: ignore[attr-defined]
    page.goto((folder / "transcript.html").as_uri())
    page.wait_for_function("document.querySelector('video')?.duration > 2")
    page.evaluate("document.querySelector('video').currentTime = 2")
    page.wait_for_function("document.querySelector('video').videoWidth === 1280")
    assert (folder / "screenshot-1.png").stat().st_size > 1000
    assert "screenshot-1.png" in (folder / "events.jsonl").read_text("utf-8")
    page.close()


@pytest.mark.usefixtures("recycled")
def test_a_video_outlives_the_container(project: Project, full_image: str) -> None:
    write(
        project,
        """
    import time

    def test_passes(agent_workspace):
        pass

    def test_dies(agent_workspace):
        time.sleep(3)
        agent_workspace.execute_command("kill -9 -1; sleep 60")
    """,
    )
    code, output = project.run("-n", "1", "--sandbox-video=failed", f"--sandbox-image={full_image}")
    assert code == 1
    (folder,) = project.results
    assert (folder / "desktop.mp4").stat().st_size > 5000
    assert "desktop.mp4" in output


def test_a_video_wants_a_desktop(project: Project, sandboxes: Sandboxes) -> None:
    write(project, FAILS)
    code, output = project.run("--sandbox-video=failed", "-k", "test_fails")
    assert code == 1
    assert "has no desktop, which desktop=True (--sandbox-video) wants" in output
    assert sandboxes() == []


@pytest.mark.parametrize("level", ["recycled", "shared"])
def test_a_sandbox_that_others_have_used_is_kept(
    project: Project, sandboxes: Sandboxes, level: str
) -> None:
    write(
        project,
        """
    def test_a(agent_workspace):
        pass

    def test_b(agent_workspace):
        agent_workspace.write_text("a", "x")
        assert 0

    def test_c(agent_workspace):
        assert agent_workspace.execute_command("ls").stdout == ""
    """,
    )
    code, output = project.run(f"--sandbox-isolation={level}", "--sandbox-keep=failed", "-v")
    assert code == 1
    assert "1 failed, 2 passed" in output
    (name,) = sandboxes()
    assert name.startswith("agent-sandbox-kept-test_looks.py-test_b-")
    # A recycled one is root's, and its server its user's.
    user = r" -u \d+:\d+" if level == "recycled" else ""
    assert re.search(rf"docker exec -it{user} -w /workspace/project {name} bash", output)
    assert "\ntest_looks.py-test_b\n" in output
    assert "2 sandboxes started" in output
    assert "1 reused" in output
