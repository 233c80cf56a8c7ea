"""Engines of other distributions: found by entry points, and asked through the seam alone."""

import base64
import json
import re
import sys

import pytest

TESTS = """
def test_passes(agent_workspace):
    agent_workspace.write_text("word", "a word")
    assert agent_workspace.execute_command("cat word").stdout == "a word"

def test_fails(agent_workspace, agent_workspace_factory):
    agent_workspace_factory(memory="1g").write_text("other", "another")
    agent_workspace.write_text("word", "a word")
    assert agent_workspace.execute_command("cat word").stdout == "two words"

def test_shares(shared_agent_workspace):
    assert shared_agent_workspace.name == "memory-4"
"""


def test_an_engine_runs_the_fixtures(with_engine):
    with_engine.write("test_it.py", TESTS)
    code, output = with_engine.run("--sandbox-engine=memory", "-s", "-p", "no:randomly")
    assert code == 1
    assert "agent-sandbox: 3 tests on memory" in output
    assert "1 failed, 2 passed" in output
    assert output.count("the memory engine is closed") == 1
    (folder,) = with_engine.results
    result = json.loads((folder / "result.json").read_text("utf-8"))
    names = {facts["container"]: facts for facts in result["sandboxes"]}
    assert names["memory-2"] == {
        "container": "memory-2",
        "runs as": "a dict",
        "image": "",
        "memory": None,
    }
    assert names["memory-3"]["memory"] == "1g"
    assert "+a word" in (folder / "workspace.diff").read_text("utf-8")


def test_an_engine_that_supports_images_is_told_which(with_engine):
    with_engine.write("test_it.py", "def test_it(agent_workspace):\n    assert False\n")
    with_engine.write(
        "conftest.py", "import memory_engine\nmemory_engine.MemoryEngine.supports |= {'image'}\n"
    )
    with_engine.run("--sandbox-engine=memory", "--sandbox-image=acme/agent:1")
    (folder,) = with_engine.results
    result = json.loads((folder / "result.json").read_text("utf-8"))
    assert result["sandboxes"][0]["image"] == "acme/agent:1"


def test_the_end_is_kept_from_a_second_sigterm(with_engine):
    with_engine.write("test_it.py", "def test_it(agent_workspace): pass\n")
    with_engine.write(
        "conftest.py",
        "import signal, memory_engine\n"
        "def close(self):\n"
        "    print('DEFAULT', signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)\n"
        "memory_engine.MemoryEngine.close = close\n",
    )
    _, output = with_engine.run("--sandbox-engine=memory", "-s")
    assert "DEFAULT False" in output


def test_with_workers(with_engine):
    with_engine.write("test_it.py", TESTS.replace("memory-4", "memory-1"))
    code, output = with_engine.run(
        "--sandbox-engine=memory", "-n2", "--dist=loadscope", "-k", "shares"
    )
    assert code == 0, output
    assert output.count("agent-sandbox: 1 test on memory") == 1
    assert output.index("agent-sandbox: 1 test on memory") < output.index("2 workers [1 item]")
    assert not [path for path in with_engine.scratch.rglob("*") if path.is_file()]


def test_trials_are_counted_as_their_verdict_says(with_engine):
    with_engine.write(
        "test_it.py",
        "import pytest\n"
        "@pytest.mark.agent_trials(n=5, pass_rate=0.8, early_stop=False)\n"
        "def test_it(agent_workspace, agent_trial):\n    assert agent_trial != 2\n",
    )
    code, output = with_engine.run("--sandbox-engine=memory")
    assert code == 0
    assert re.search(r"^test_it\.py \.x\.\.\. +\[100%\]", output, re.MULTILINE)
    assert "test_it: PASSED: 4 of 5 trials passed" in output
    assert "= 4 passed, 1 xfailed in" in output
    _, output = with_engine.run("--sandbox-engine=memory", "-v")
    assert re.search(r"^test_it\.py::test_it PASSED +\[100%\]", output, re.MULTILINE)


def test_numbers_of_sandboxes_are_for_those_who_ask(with_engine):
    with_engine.write("test_it.py", TESTS)
    for wait, arguments, told in (
        (4, (), []),
        (4, ("-v",), ["1 sandbox started", "the longest wait: 4.0 s, test_x"]),
        (31, (), ["test_x waited 31 s for its sandbox; -v tells more"]),
    ):
        with_engine.write(
            "conftest.py",
            "import memory_engine\n"
            "from pytest_agent_sandbox.sandbox.statistics import SandboxStatistics\n"
            f"numbers = SandboxStatistics([('test_x', 'started', {wait})], [4.0])\n"
            "memory_engine.MemoryEngine.statistics = numbers\n",
        )
        _, output = with_engine.run("--sandbox-engine=memory", "-k", "passes", *arguments)
        said = [line for line in output.splitlines() if "wait" in line or "started (" in line]
        assert len(said) == len(told)
        for line, part in zip(said, told, strict=True):
            assert part in line


@pytest.mark.parametrize(
    ("settings", "said", "workers"),
    [
        ("--sandbox-forward-env=HOME", "--sandbox-forward-env = ('HOME',) is not supported", ()),
        ("--sandbox-volumes=/tmp:/x", "--sandbox-volumes = ('/tmp:/x',) is not supported", ()),
        ("--sandbox-keep=all", "--sandbox-keep = all is not supported with", ("-n1",)),
    ],
)
def test_what_an_engine_does_not_support_is_refused(with_engine, settings, said, workers):
    with_engine.write("test_it.py", TESTS)
    code, output = with_engine.run("--sandbox-engine=memory", settings, *workers)
    assert code == 4
    assert f"ERROR: {said}" in output


def test_what_means_nothing_to_an_engine_is_told(with_engine):
    with_engine.write("test_it.py", TESTS)
    _, output = with_engine.run(
        "--sandbox-engine=memory", "--sandbox-memory=2g", "--sandbox-cpus=1"
    )
    assert "agent-sandbox: not in effect without containers: --sandbox-cpus\n" in output


def test_a_marker_is_checked_too(with_engine):
    with_engine.write(
        "test_it.py",
        "import pytest\n"
        "@pytest.mark.agent_sandbox(user='root')\n"
        "def test_it(agent_workspace): pass\n",
    )
    code, output = with_engine.run("--sandbox-engine=memory")
    assert code == 1
    assert "SettingsError: --sandbox-user = root is not supported with" in output


@pytest.mark.parametrize("workers", [(), ("-n1",)])
def test_an_unknown_engine(with_engine, workers):
    with_engine.write("test_it.py", TESTS)
    code, output = with_engine.run("--sandbox-engine=memroy", *workers)
    assert code == 4
    known = "Known are docker, kubernetes, memory, process, remote"
    said = f"ERROR: engine = memroy: there is no such engine. Did you mean 'memory'? {known}"
    assert said in output


@pytest.mark.parametrize(
    ("entry_point", "said"),
    [
        ("other = nowhere:Engine", "ModuleNotFoundError: No module named 'nowhere'"),
        ("other = memory_engine:LOOPBACK", "'127.0.0.1' is no class that derives from"),
        ("memory = nowhere:Engine", "several distributions have an engine of this name"),
    ],
)
def test_an_engine_that_cannot_be_used(with_engine, entry_point, said):
    with_engine.install("other", entry_point)
    with_engine.write("test_it.py", TESTS)
    code, output = with_engine.run(f"--sandbox-engine={entry_point.partition(' ')[0]}")
    assert code == 4
    assert said in output
    assert "Traceback" not in output


def test_an_engine_of_ours_is_not_replaced(with_engine):
    with_engine.install("other", "docker = memory_engine:MemoryEngine")
    with_engine.write("test_it.py", "def test_it(agent_workspace): pass\n")
    code, output = with_engine.run()
    assert code == 1
    assert "EngineUnavailable" in output


def test_remote_without_an_address(project):
    project.write("test_it.py", "def test_it(agent_workspace): pass\n")
    code, output = project.run("--sandbox-engine=remote")
    assert code == 4
    assert "give --sandbox-url=URL" in output


def test_secrets_of_forwarded_variables_are_in_no_evidence(with_engine):
    values = {
        "GH_PAT": "forwarded-pat-0123",
        "MY_DSN": "whole-dsn-0123",
        "SERVICE_URL": "amqp://somebody:in-the-url-0123@broker/host",
    }
    hidden = ["forwarded-pat-0123", "whole-dsn-0123", "in-the-url-0123"]
    with_engine.environment |= values
    with_engine.write(
        "conftest.py",
        "import memory_engine\nmemory_engine.MemoryEngine.supports |= {'forward_env'}\n",
    )
    with_engine.write(
        "test_it.py",
        "import base64, pytest\n"
        f"@pytest.mark.agent_sandbox(forward_env={list(values)})\n"
        "def test_it(agent_workspace):\n"
        f"    for value in {hidden}:\n"
        "        login = base64.b64encode(f'me:{value}'.encode()).decode()\n"
        "        agent_workspace.write_text('said', f'{value} {login} said')\n"
        "        agent_workspace.execute_command('cat said')\n"
        "    assert 'somebody' == 'broker'\n",
    )
    with_engine.run("--sandbox-engine=memory")
    (folder,) = with_engine.results
    kept = "".join(
        file.read_text("utf-8") for file in folder.iterdir() if file.name != "transcript.html"
    )
    spelled = [base64.b64encode(value.encode()).decode()[4:12] for value in hidden]
    spelled += [base64.b64encode(f"me:{value}".encode()).decode()[8:16] for value in hidden]
    commands = (folder / "commands.jsonl").read_text("utf-8")
    assert commands.count(" said") >= 3
    assert not [one for one in spelled if one in kept]
    assert not [value for value in hidden if value in kept]
    assert "somebody" in kept


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_what_a_killed_run_has_left_for_temporary_is_removed_by_the_next(with_engine, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with_engine.environment["TMPDIR"] = str(temporary)

    def folders():
        return [path for path in temporary.rglob("*") if path.is_dir() and path.parent != temporary]

    with_engine.write(
        "test_it.py",
        "import os, signal\ndef test_it(agent_workspace): os.kill(os.getpid(), signal.SIGKILL)\n",
    )
    with_engine.run("--sandbox-engine=memory", "--sandbox-artifacts=none")
    assert folders()
    with_engine.write("test_it.py", "def test_it(agent_workspace): pass\n")
    code, output = with_engine.run("--sandbox-engine=memory", "--sandbox-artifacts=none")
    assert code == 0, output
    assert folders() == []
    own = [path for path in temporary.iterdir() if path.name.startswith("pytest-agent-sandbox")]
    assert [path for path in temporary.iterdir() if path not in own] == []


FULL = """
import resource
import pytest

@pytest.fixture(autouse=True, scope="session")
def full():
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, resource.RLIM_INFINITY))
    yield
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
@pytest.mark.parametrize("room", [0, 1, 3000, 20_000, 60_000])
def test_a_full_disk_costs_pages_and_no_outcome(with_engine, room):
    """As far as there is room: what was found is told, and no page is half there."""
    with_engine.write("conftest.py", FULL.replace("ROOM", str(room)))
    with_engine.write("test_it.py", TESTS.replace('"a word"', repr("a word" * 5000)))
    code, output = with_engine.run("--sandbox-engine=memory", "-p", "no:randomly")
    assert code == 1
    assert "INTERNALERROR" not in output
    assert "Traceback" not in output
    assert "FAILED test_it.py::test_fails" in output or "ERROR test_it.py::test_fails" in output
    assert "too large" in output.lower()
    pages = [path.read_text() for path in (with_engine.folder / "agent-results").rglob("*.html")]
    assert all(page.rstrip().endswith("</html>") for page in pages)
    if room > 50_000:  # it was only its page
        assert "its page could not be written" in output
        assert "Captured stdout agent transcript" in output


JUMPS = """
import time

def test_before(agent_workspace):
    now = time.time
    time.time = lambda: now() + HOURS * 3600
    agent_workspace.write_text("word", "a word")
    assert agent_workspace.execute_command("cat word").stdout == "no word"

def test_after(agent_workspace):
    agent_workspace.write_text("word", "a word")
    assert agent_workspace.execute_command("cat word").stdout == "no word"
"""


@pytest.mark.parametrize("hours", [30, -30, 24 * 365 * 100, -24 * 365 * 50])
def test_a_clock_that_jumps_changes_no_result(with_engine, hours):
    """Durations are not its business."""
    with_engine.write("test_it.py", JUMPS.replace("HOURS", str(hours)))
    code, output = with_engine.run("--sandbox-engine=memory", "-p", "no:randomly")
    assert code == 1
    assert "2 failed" in output
    assert "could not be" not in output
    assert [row["verdict"] for row in with_engine.index_rows] == ["failed", "failed"]
    assert all(0 <= row["duration"] < 30 for row in with_engine.index_rows)
    for folder in with_engine.results:
        assert "cat word" in (folder / "transcript.html").read_text("utf-8")


def test_an_engine_without_containers_refuses_services_by_name(with_engine):
    with_engine.write(
        "test_it.py",
        "import pytest\n"
        "from pytest_agent_sandbox import Service\n"
        "def test_call(agent_services): agent_services(db=Service('postgres:17'))\n"
        "@pytest.mark.agent_services(db=Service('postgres:17'))\n"
        "def test_marker(agent_workspace): pass\n",
    )
    code, output = with_engine.run("--sandbox-engine=memory")
    assert code == 1
    assert "1 failed, 1 error" in output
    said = "agent_services starts containers of a Docker engine, which --sandbox-engine=memory has"
    assert output.count(f"ServiceUnavailable: {said}") == 2
    assert "it cannot start db. Run tests that need them with --sandbox-engine=docker." in output
