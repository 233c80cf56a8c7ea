"""Sandboxes that several tests use: the marker's scope, and fixtures of any scope."""

import json
import re

import pytest

SCOPES = """
import pytest

def note(workspace, request):
    print("USED", request.node.nodeid.partition(".py::")[2], workspace.name)

@pytest.mark.agent_sandbox(scope="SCOPE")
class TestOne:
    def test_a(self, agent_workspace, request): note(agent_workspace, request)
    def test_b(self, agent_workspace, request): note(agent_workspace, request)
    @pytest.mark.agent_sandbox(scope="function")
    def test_own(self, agent_workspace, request): note(agent_workspace, request)

@pytest.mark.agent_sandbox(scope="SCOPE")
class TestTwo:
    def test_c(self, agent_workspace, request): note(agent_workspace, request)

@pytest.mark.agent_sandbox(scope="SCOPE")
def test_d(agent_workspace, request): note(agent_workspace, request)
@pytest.mark.agent_sandbox(scope="SCOPE")
def test_e(agent_workspace, request): note(agent_workspace, request)
def test_plain(agent_workspace, request): note(agent_workspace, request)
"""

#: Says when a sandbox starts and ends.
LOUD = """
import memory_engine
from memory_engine import MemoryEngine, MemoryWorkspace

def start(self, request, start=MemoryEngine.start):
    workspace = start(self, request)
    print("STARTED", workspace.name, request.test)
    return workspace

def close(self, *, wait=True, close=MemoryWorkspace.close):
    if not self.is_closed:
        print("CLOSED", self.name)
    close(self, wait=wait)

MemoryEngine.start, MemoryWorkspace.close = start, close
"""


@pytest.fixture
def run(with_engine):
    """Runs tests with the engine in memory; its sandboxes say when they start and end."""
    with_engine.write("conftest.py", LOUD)

    def run(*options):
        arguments = ("--sandbox-engine=memory", "-s", "-p", "no:randomly", *options)
        return with_engine.run(*arguments)

    return run


def used(output):
    """The sandbox of each test, numbered in the order of their use."""
    found = dict(re.findall(r"USED (\S+) (\S+)", output))
    numbers = {name: number for number, name in enumerate(dict.fromkeys(found.values()))}
    return {test.rpartition("_")[2]: numbers[name] for test, name in found.items()}


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("function", {"a": 0, "b": 1, "own": 2, "c": 3, "d": 4, "e": 5, "plain": 6}),
        ("class", {"a": 0, "b": 0, "own": 1, "c": 2, "d": 3, "e": 4, "plain": 5}),
        ("module", {"a": 0, "b": 0, "own": 1, "c": 0, "d": 0, "e": 0, "plain": 2}),
    ],
)
def test_the_tests_of_a_scope_use_one_sandbox(with_engine, run, scope, expected):
    with_engine.write("test_it.py", SCOPES.replace("SCOPE", scope))
    code, output = run()
    assert code == 0
    assert used(output) == expected
    assert output.count("STARTED") == output.count("CLOSED") == max(expected.values()) + 1


MODULE = """
import pytest
pytestmark = pytest.mark.agent_sandbox(scope="SCOPE")
def test_one(agent_workspace): print("IN", __name__.rpartition(".")[2], agent_workspace.name)
def test_two(agent_workspace): print("IN", __name__.rpartition(".")[2], agent_workspace.name)
"""


@pytest.mark.parametrize(("scope", "count"), [("module", 4), ("package", 3), ("session", 1)])
def test_scopes_wider_than_a_module(with_engine, run, scope, count):
    for package in ("one", "two"):
        with_engine.write(f"{package}/__init__.py", "")
        with_engine.write(f"{package}/test_{package}.py", MODULE.replace("SCOPE", scope))
    with_engine.write("one/test_more.py", MODULE.replace("SCOPE", scope))
    with_engine.write("test_in_none.py", MODULE.replace("SCOPE", scope))
    code, output = run()
    assert code == 0
    names = dict(re.findall(r"IN (\S+) (\S+)", output))
    assert len(names) == 4
    assert len(set(names.values())) == output.count("STARTED") == output.count("CLOSED") == count
    assert (names["test_one"] == names["test_more"]) is (scope != "module")
    assert (names["test_one"] == names["test_two"]) is (scope == "session")


def test_a_sandbox_ends_with_its_scope(with_engine, run):
    with_engine.write("test_one.py", MODULE.replace("SCOPE", "module"))
    with_engine.write("test_two.py", MODULE.replace("SCOPE", "module"))
    _, output = run()
    events = re.findall(r"(STARTED|CLOSED|IN test_\w+) ?(memory-\d)?", output)
    assert [word for word, _ in events] == [
        *("STARTED", "IN test_one", "IN test_one", "CLOSED"),
        *("STARTED", "IN test_two", "IN test_two", "CLOSED"),
    ]
    assert "test_one.py (module)" in output


def test_tests_with_other_settings_share_another_one(with_engine, run):
    with_engine.write(
        "test_it.py",
        "import pytest\n"
        "T = pytest.mark.agent_sandbox\n"
        "pytestmark = T(scope='module', memory='1g')\n"
        "def test_a(agent_workspace, request): print('USED test_a', agent_workspace.name)\n"
        "@T(memory='2g')\n"
        "def test_b(agent_workspace): print('USED test_b', agent_workspace.name)\n"
        "@T(llm_record='none', run_timeout=5, llm_max_calls=3)\n"
        "def test_c(agent_workspace): print('USED test_c', agent_workspace.name)\n"
        "@T(memory='2g', pull='never')\n"
        "def test_d(agent_workspace): print('USED test_d', agent_workspace.name)\n",
    )
    code, output = run()
    assert code == 0
    assert used(output) == {"a": 0, "b": 1, "c": 0, "d": 1}


@pytest.mark.parametrize("scope", ["'modul'", "None", "3", "['module']", "'Module'"])
@pytest.mark.parametrize("fixture", ["agent_workspace", "agent_llm", "agent_workspace_factory"])
def test_a_scope_that_is_none_is_an_error(with_engine, run, scope, fixture):
    with_engine.write(
        "test_it.py",
        f"import pytest\n@pytest.mark.agent_sandbox(scope={scope})\ndef test_it({fixture}): pass\n",
    )
    code, output = run()
    assert code == 1
    assert f"@pytest.mark.agent_sandbox scope={scope}: there is no such scope" in output
    assert "function, class, module, package, session" in output
    assert "STARTED" not in output


def test_each_worker_has_its_own(with_engine, run):
    with_engine.write("test_one.py", MODULE.replace("SCOPE", "session"))
    with_engine.write("test_two.py", MODULE.replace("SCOPE", "session"))
    code, output = run("-n2", "--dist=loadfile", "--sandbox-artifacts=all")
    assert code == 0, output
    sandboxes = [
        json.loads((folder / "result.json").read_text("utf-8"))["sandboxes"]
        for folder in with_engine.results
    ]
    assert sorted(one.get("earlier tests in it", 0) for (one,) in sandboxes) == [0, 0, 1, 1]


def test_a_rerun_finds_the_sandbox_as_the_first_attempt_has_left_it(with_engine, run):
    with_engine.write(
        "test_it.py",
        "import pytest\n"
        "pytestmark = pytest.mark.agent_sandbox(scope='module')\n"
        "def test_it(agent_workspace):\n"
        "    is_first = not agent_workspace.files\n"
        "    agent_workspace.write_text('left', 'x')\n"
        "    assert not is_first\n",
    )
    code, output = run("--reruns=1")
    assert code == 0
    assert "1 passed, 1 rerun" in output
    assert output.count("STARTED") == output.count("CLOSED") == 1


def test_trials_share_with_other_tests_and_not_with_one_another(with_engine, run):
    with_engine.write(
        "test_it.py",
        "import pytest\n"
        "pytestmark = [pytest.mark.agent_sandbox(scope='module'),\n"
        "              pytest.mark.agent_trials(n=3, early_stop=False)]\n"
        "def test_a(agent_workspace, agent_trial):\n"
        "    assert not agent_workspace.files\n"
        "    agent_workspace.write_text('left', str(agent_trial))\n"
        "def test_b(agent_workspace, agent_trial):\n"
        "    assert agent_workspace.files == {'left': str(agent_trial)}\n",
    )
    code, output = run()
    assert code == 0, output
    assert output.count("STARTED") == output.count("CLOSED") == 3


def test_one_that_has_died_is_replaced_and_the_evidence_says_so(with_engine, run):
    with_engine.write(
        "test_it.py",
        "import pytest\n"
        "from pytest_agent_sandbox.errors import SandboxDied\n"
        "pytestmark = pytest.mark.agent_sandbox(scope='module')\n"
        "def test_kills(agent_workspace):\n"
        "    def gone(): raise SandboxDied('killed')\n"
        "    agent_workspace.connection.check = gone\n"
        "def test_next(agent_workspace):\n"
        "    agent_workspace.connection.check()\n"
        "    assert agent_workspace.name == 'memory-1'\n",
    )
    _, output = run()
    assert output.count("STARTED") == output.count("CLOSED") == 2
    (folder,) = with_engine.results
    result = json.loads((folder / "result.json").read_text("utf-8"))
    assert [one["container"] for one in result["sandboxes"]] == ["memory-2"]
    assert result["notes"] == [
        "The module's sandbox memory-1 was no more; this test has got a new one."
    ]


STARTER = """
import pytest

@pytest.fixture(scope="module")
def repository(agent_workspace_starter):
    workspace = agent_workspace_starter(memory="2g")
    workspace.write_text("sample", "x")
    yield workspace
    print("FIXTURE ENDS", workspace.is_closed)

@pytest.fixture(scope="class")
def in_a_block(agent_workspace_starter):
    with agent_workspace_starter() as workspace:
        yield workspace

def test_one(repository): repository.write_text("one", "x")
def test_two(repository):
    assert set(repository.files) == {"sample", "one"}
    assert 0

class TestBlock:
    def test_block(self, in_a_block, repository): assert in_a_block.name != repository.name

def test_in_a_test(agent_workspace_starter, agent_workspace):
    print("IN A TEST", agent_workspace_starter().name)

def test_last(repository): print("LAST")
"""


def test_fixtures_of_any_scope_start_sandboxes(with_engine, run):
    with_engine.write("test_it.py", STARTER)
    with_engine.write("test_other.py", "def test_it(): print('OTHER')\n")
    code, output = run("--sandbox-memory=1g")
    assert code == 1
    assert "1 failed, 5 passed" in output
    marks = r"STARTED|CLOSED memory-\d|FIXTURE ENDS \w+|IN A TEST memory-\d|LAST|OTHER"
    assert re.findall(marks, output) == [
        *("STARTED", "STARTED", "CLOSED memory-2", "STARTED", "STARTED", "IN A TEST memory-4"),
        *("CLOSED memory-4", "CLOSED memory-3", "LAST"),
        *("FIXTURE ENDS False", "CLOSED memory-1", "OTHER"),
    ]
    (folder,) = with_engine.results
    (facts,) = json.loads((folder / "result.json").read_text("utf-8"))["sandboxes"]
    assert facts == {
        "container": "memory-1",
        "runs as": "a dict",
        "image": "",
        "memory": "2g",
        "scope": "module",
        "fixture": "repository",
        "log": "container.log",
        "earlier tests in it": 1,
    }


def test_a_starter_obeys_the_settings_of_the_run(with_engine, run):
    with_engine.write(
        "test_it.py",
        "import pytest\n"
        "@pytest.fixture(scope='session')\n"
        "def mine(agent_workspace_starter): return agent_workspace_starter()\n"
        "def test_it(mine): assert mine.facts()['memory'] == '1g'\n"
        "def test_wrong(agent_workspace_starter): agent_workspace_starter(memroy='1g')\n",
    )
    _, output = run("--sandbox-memory=1g")
    assert "1 failed, 1 passed" in output
    assert "agent_workspace_starter(): unknown setting 'memroy'" in output


def test_a_module_may_have_an_agent_workspace_of_its_own(with_engine, run):
    with_engine.write(
        "test_it.py",
        "import pytest\n"
        "@pytest.fixture(scope='module')\n"
        "def agent_workspace(agent_workspace_starter): return agent_workspace_starter()\n"
        "def test_one(agent_workspace): agent_workspace.write_text('one', 'x')\n"
        "def test_two(agent_workspace): assert agent_workspace.files\n",
    )
    code, output = run()
    assert code == 0
    assert output.count("STARTED") == output.count("CLOSED") == 1


def test_what_a_fixture_has_started_that_fails_is_closed(with_engine, run):
    with_engine.write(
        "test_it.py",
        "import pytest\n"
        "@pytest.fixture(scope='module')\n"
        "def broken(agent_workspace_starter):\n"
        "    agent_workspace_starter()\n"
        "    assert 0, 'the set-up'\n"
        "def test_it(broken): pass\n"
        "def test_after(): print('AFTER')\n",
    )
    _, output = run()
    assert "1 passed, 1 error" in output
    assert output.count("STARTED") == output.count("CLOSED") == 1
    (folder,) = with_engine.results
    (facts,) = json.loads((folder / "result.json").read_text("utf-8"))["sandboxes"]
    assert facts["fixture"] == "broken"


def test_a_conversation_factory_alone_starts_nothing(with_engine, run):
    with_engine.write(
        "test_it.py",
        "def test_it(agent_conversation, agent_llm): agent_llm.script([])\n"
        "def test_own(agent_conversation, agent_workspace, agent_llm): agent_llm.script([])\n",
    )
    code, output = run()
    assert code == 0
    assert output.count("STARTED") == 1


def test_commands_in_a_shared_sandbox_are_of_the_test_that_runs_them(with_engine, run):
    with_engine.write(
        "test_it.py",
        "def test_one(shared_agent_workspace):\n"
        "    shared_agent_workspace.write_text('one', 'x')\n"
        "    shared_agent_workspace.execute_command('cat one')\n"
        "def test_two(shared_agent_workspace):\n"
        "    shared_agent_workspace.write_text('two', 'x')\n"
        "    shared_agent_workspace.execute_command('cat two')\n"
        "    assert 0\n",
    )
    run()
    (folder,) = with_engine.results
    commands = (folder / "commands.jsonl").read_text("utf-8")
    assert [json.loads(line)["command"] for line in commands.splitlines()] == ["cat two"]
