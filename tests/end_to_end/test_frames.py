"""An error of ours shows the user's own code, whatever other plugins have run it."""

from __future__ import annotations

import re

import pytest

SUITE = """
import anyio
import pytest
from helpers import start
from pytest_agent_sandbox import DockerWorkspace

@pytest.fixture
def own(request):
    return request.getfixturevalue("agent_workspace")  # line of the user's

def test_fixture(agent_workspace): pass
def test_own_fixture(own): pass
def test_conftest(from_conftest): pass
def test_call(): start()
def test_after_another_error(monkeypatch):
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", "/nowhere")  # which is a library's error first
    try:
        1 / 0  # line of the user's too
    except ZeroDivisionError:
        DockerWorkspace()

@pytest.mark.asyncio
async def test_asyncio(): start()
@pytest.mark.asyncio
async def test_asyncio_fixture(agent_workspace): pass
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_anyio(anyio_backend):
    await anyio.to_thread.run_sync(start)
"""
HELPERS = """
from pytest_agent_sandbox import RemoteWorkspace

def start():
    RemoteWorkspace("http://127.0.0.1:1", read_timeout=1).execute_command("true")
"""
# A plugin in a virtual environment that is in the project's folder.
INSTALLED = ".venv/lib/python3/site-packages"
OTHER = """
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield)
@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    return (yield)
"""
CONFTEST = """
import pytest
from pytest_agent_sandbox import DockerWorkspace

pytest_plugins = ["other"]

@pytest.fixture
def from_conftest():
    yield DockerWorkspace()
"""
INI = f"""[pytest]
filterwarnings = error
pythonpath = . {INSTALLED}
asyncio_default_fixture_loop_scope = function
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    from tests.support.project import Project

    project = Project(tmp_path_factory.mktemp("frames"))
    for name in ("anyio", "asyncio"):
        project.blocked.remove(name)
    project.environment["DOCKER_HOST"] = "tcp://127.0.0.1:1"
    for name, text in {
        "test_it.py": SUITE,
        "helpers.py": HELPERS,
        "conftest.py": CONFTEST,
        f"{INSTALLED}/other.py": OTHER,
        "pytest.ini": INI,
    }.items():
        project.write(name, text)
    return project


def blocks(output):
    """What is told of each test, by its name."""
    parts = re.split(r"^_+ (?:ERROR at setup of )?(test_\S+) _+$", output, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def frames(block):
    """The files of a traceback's frames."""
    return [name.rpartition("/")[2] for name in re.findall(r"^(\S+\.py):\d+: ", block, re.M)]


def test_only_the_users_frames_are_shown(project):
    code, output = project.run("--reruns", "1", "-rN")
    assert code == 1
    told = blocks(output.partition("= short test")[0])
    shown = {name: frames(block) for name, block in told.items()}
    assert shown == {
        "test_fixture": [],
        "test_own_fixture": ["test_it.py"],
        "test_conftest": ["conftest.py"],
        "test_call": ["test_it.py", "helpers.py"],
        "test_after_another_error": ["test_it.py", "test_it.py"],
        "test_asyncio": ["test_it.py", "helpers.py"],
        "test_asyncio_fixture": [],
        "test_anyio[asyncio]": ["test_it.py", "helpers.py"],
        "test_anyio[trio]": ["test_it.py", "helpers.py"],
    }
    for name in ("test_fixture", "test_asyncio_fixture"):
        assert "EngineUnavailable: No container engine answers" in told[name]
        assert len(told[name].partition("agent evidence")[0].splitlines()) < 8
    assert "1 / 0  # line of the user's too" in told["test_after_another_error"]
    assert (
        "DOCKER_CERT_PATH=/nowhere: /nowhere/ca.pem does not exist"
        in told["test_after_another_error"]
    )
    assert "site-packages" not in output


def test_all_frames_can_be_had(project):
    _, output = project.run("--full-trace", "-k", "test_own_fixture or test_call", "-rN")
    told = blocks(output)
    assert "_pytest/fixtures.py" in told["test_own_fixture"]
    assert "pytest_agent_sandbox/client/transport.py" in told["test_call"]
