"""What a run tells of its recordings: the files to commit, and a provider that is out of reach."""

from __future__ import annotations

import pytest

from pytest_agent_sandbox import say
from tests.support.project import Project
from tests.support.provider import Provider, serving

HELLO = say("Hello.")
SUITE = """
import httpx
import pytest

def ask(endpoint):
    url, key = f"{endpoint.base_url}/chat/completions", endpoint.api_key.get_secret_value()
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello."}]}
    return httpx.post(url, json=body, headers={"Authorization": f"Bearer {key}"})

@pytest.mark.parametrize("number", [1, 2])
def test_it(agent_workspace, agent_llm, number):
    assert ask(agent_llm.endpoint(agent_workspace)).status_code == 200
"""
# With the provider gone in between.
AGAIN = """
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LLM_BASE_URL", "http://127.0.0.1:9/v1")
        assert ask(agent_llm.endpoint(agent_workspace)).status_code == 200
"""


@pytest.fixture
def suite(with_engine: Project) -> Project:
    with_engine.write("pytest.ini", "[pytest]\nsandbox_engine = memory\n")
    with_engine.write("test_it.py", SUITE)
    with_engine.environment |= {"LLM_MODEL": "openai/gpt-4o", "LLM_API_KEY": "sk-of-nobody-else"}
    return with_engine


def test_the_files_to_commit_are_named(suite: Project) -> None:
    with serving(Provider(lambda _: HELLO)) as provider:
        suite.environment["LLM_API_KEY"] = provider.token
        suite.environment["LLM_BASE_URL"] = provider.base_url("127.0.0.1", "openai/gpt-4o")
        code, output = suite.run("-v", "-n1")
        assert code == 0
        (written,) = [line for line in output.splitlines() if "to be committed" in line]
        assert written == "2 cassettes written, to be committed: in cassettes/test_it"
        named = output.partition(written)[2].splitlines()[1:3]
        files = sorted((suite.folder / "cassettes/test_it").iterdir())
        assert named == [f"  cassettes/test_it/{file.name}" for file in files]
        code, output = suite.run()
        assert code == 0
        assert "2 LLM calls replayed" in output
        assert "to be committed" not in output, "nothing new"
        _, output = suite.run("--llm-record=all", "-k", "1")
        assert "1 cassette written, to be committed: cassettes/test_it/test_it-1-" in output


def test_a_provider_out_of_reach_is_the_cause(suite: Project) -> None:
    suite.environment["LLM_BASE_URL"] = "http://127.0.0.1:9/v1"
    code, output = suite.run("-k", "1")
    assert code == 1
    cause = "The LLM at http://127.0.0.1:9/v1 cannot be reached: "
    (row,) = suite.rows
    assert row["headline"].startswith(cause)
    assert row["headline"].endswith("AssertionError: assert 502 == 200")
    assert row["fault"] == "script"
    assert "fault: the script or recording" in output
    assert f"note:  LLM call 1 got no answer. {cause}" in output
    assert "test_it.py::test_it[1]: 1 LLM call unanswered\n" in output
    assert "call recorded" not in output
    assert "cassettes/test_it" not in output, "there is none, and none was left as it was"


def test_a_failed_recording_names_its_cassette_once(suite: Project) -> None:
    suite.write("test_it.py", f"{SUITE}{AGAIN}")
    with serving(Provider(lambda _: HELLO)) as provider:
        suite.environment["LLM_API_KEY"] = provider.token
        suite.environment["LLM_BASE_URL"] = provider.base_url("127.0.0.1", "openai/gpt-4o")
        code, output = suite.run("-k", "1")
    assert code == 1
    assert "test_it.py::test_it[1]: 2 LLM calls (1 recorded, 1 unanswered)" in output
    note = output.partition("note:  cassettes/")[2].partition("\n")[0]
    assert note.endswith(
        ".json was not written, for the test did not pass; "
        "call 1 of conversation endpoint-2 did not reach the provider"
    )
    assert "cassettes/" not in note
