"""Command-line agents in workspaces that no single test owns."""

from types import SimpleNamespace

from pytest_agent_sandbox.host.redaction import Redactor
from pytest_agent_sandbox.plugin import command_agents


def test_between_tests_nobody_follows_a_run():
    session = SimpleNamespace(uses=SimpleNamespace(test=None), redactor=Redactor())
    workspace = SimpleNamespace(working_dir="/workspace")
    command_agents.follow(session, None, workspace)
    assert workspace.on_agent_run(("my-agent",), {}) is None
