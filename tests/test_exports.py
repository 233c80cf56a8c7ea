"""What the package exports: each name, from one place, and loaded only where it is used."""

import ast
import importlib
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_agent_sandbox
from pytest_agent_sandbox import errors
from pytest_agent_sandbox.engines.docker.workspace import DockerWorkspace
from pytest_agent_sandbox.engines.hosted.cloud import OpenHandsCloudWorkspace
from pytest_agent_sandbox.engines.hosted.runtime_api import APIRemoteWorkspace
from pytest_agent_sandbox.engines.process.apptainer import ApptainerWorkspace
from pytest_agent_sandbox.plugin.agent_llm import AgentLLM
from pytest_agent_sandbox.plugin.conversation_factory import ConversationFactory
from pytest_agent_sandbox.plugin.workspace_factory import WorkspaceFactory
from pytest_agent_sandbox.sandbox.served_workspace import ServedWorkspace
from pytest_agent_sandbox.sandbox.workspace import Workspace

ERRORS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.SandboxError)
]


def test_each_name_is_there_for_type_checkers_too():
    tree = ast.parse(Path(pytest_agent_sandbox.__file__).read_text("utf-8"))
    imported = {
        name.name: node.module.removeprefix("pytest_agent_sandbox.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("pytest_agent_sandbox.")
        for name in node.names
    }
    assert imported == pytest_agent_sandbox._HOMES
    assert sorted(pytest_agent_sandbox.__all__) == sorted(imported)
    for name in pytest_agent_sandbox.__all__:
        home = importlib.import_module(f"pytest_agent_sandbox.{imported[name]}")
        assert getattr(pytest_agent_sandbox, name) is getattr(home, name)


def test_what_fixtures_give_is_among_them():
    names = {"AgentLLM", "ConversationFactory", "WorkspaceFactory", "Workspace", "SandboxSettings"}
    names |= {"CommandResult", "ToolCall", "RemoteConversation"}
    assert names <= set(pytest_agent_sandbox.__all__)
    assert (AgentLLM, ConversationFactory, WorkspaceFactory) == tuple(
        getattr(pytest_agent_sandbox, name)
        for name in ("AgentLLM", "ConversationFactory", "WorkspaceFactory")
    )


@pytest.mark.parametrize(
    "kind",
    [
        DockerWorkspace,
        ServedWorkspace,
        APIRemoteWorkspace,
        OpenHandsCloudWorkspace,
        ApptainerWorkspace,
    ],
)
def test_one_type_has_all_that_any_workspace_has(kind):
    """What only containers have is named by their own type: these, and nothing else."""
    own = {name for name in dir(kind) if not name.startswith("_")} - set(dir(Workspace))
    of_containers = {"from_request", "host_port", "session_key", "start_seconds"}
    of_containers |= {"vscode_port", "vnc_port"}
    assert own <= of_containers | {"when_closed", "sandbox_id"}, own


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_are_of_the_package(kind):
    assert kind.__module__ == "pytest_agent_sandbox"
    assert getattr(pytest_agent_sandbox, kind.__name__) is kind
    error = pickle.loads(pickle.dumps(kind("what happened")))
    assert type(error) is kind
    assert inspect.getmodule(kind) is pytest_agent_sandbox


def test_pytests_summary_has_an_errors_message(pytester, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    pytester.makepyfile(
        test_it="from pytest_agent_sandbox import SandboxDied\n"
        "def test_it():\n    raise SandboxDied('The container is gone.')\n"
    )
    result = pytester.runpytest_subprocess("-p", "no:randomly")
    assert (
        "test_it - pytest_agent_sandbox.SandboxDied: The container is gone." in result.stdout.str()
    )


def test_to_import_it_loads_nothing_else():
    code = (
        "import sys, pytest_agent_sandbox; "
        "print(*(name for name in sys.modules if name.startswith('pytest_agent_sandbox.')), "
        "*({'pydantic', 'httpx', 'docker', 'pytest'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="has no attribute 'Workspaces'"):
        pytest_agent_sandbox.Workspaces  # noqa: B018
