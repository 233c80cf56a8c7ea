"""Cassettes that were recorded on Docker replay in a cluster."""

from __future__ import annotations

from pytest_agent_sandbox import say, tool
from tests.support.project import Project
from tests.support.provider import Provider, serving

MODEL = "openai/gpt-4o"
REPLIES = [
    say("Let me look.", tool("terminal", command="hostname; hostname -I; date -Is; pwd; ls -la")),
    tool("terminal", command="echo 'It is a demo.' > FACTS.txt"),
    say("FACTS.txt says what it is."),
]
TESTS = """
import pytest

@pytest.mark.parametrize("network", [
    pytest.param(name, marks=pytest.mark.agent_sandbox(network=name))
    for name in ("open", "isolated")])
def test_facts(network, agent_conversation, agent_llm):
    conversation = agent_conversation()
    conversation.send_message("Write down what this is.")
    conversation.run(timeout=60)
    print("MODE", agent_llm.mode)
"""


def test_what_docker_has_recorded_is_replayed_by_pods(project: Project) -> None:
    project.write("test_it.py", TESTS)
    with serving(Provider(REPLIES, pause=0.002)) as provider:
        project.environment |= {
            "LLM_MODEL": MODEL,
            "LLM_API_KEY": provider.token,
            "LLM_BASE_URL": provider.base_url("127.0.0.1", MODEL),
        }
        cluster_only = ["-o", "sandbox_pod_template=", "-o", "sandbox_kube_namespace="]
        no_docker = project.environment.pop("PYTHONPATH")
        code, _ = project.run("-s", "-o", "sandbox_engine=docker", *cluster_only)
    assert code == 0
    project.environment["PYTHONPATH"] = no_docker
    for name in ("LLM_MODEL", "LLM_API_KEY", "LLM_BASE_URL"):
        del project.environment[name]
    project.environment["CI"] = "true"
    code, output = project.run("-s")
    assert code == 0
    assert "on Kubernetes" in output
    assert output.count("MODE replayed") == 2
