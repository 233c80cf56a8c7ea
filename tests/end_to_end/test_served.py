"""Tests on an agent server that is running already."""

import json
import re
import socket
import time

import pytest

from pytest_agent_sandbox import say

SUITE = """
import pytest
from pytest_agent_sandbox import expect, say, tool

@pytest.mark.parametrize("word", ["a", "b"])
def test_word(word, agent_workspace, agent_llm, agent_conversation):
    assert agent_workspace.execute_command("ls -A").stdout == ""
    agent_llm.script([tool("terminal", command=f"echo {word} > OUT.txt; pwd"), say("Done.")])
    conversation = agent_conversation()
    conversation.send_message("Write it.")
    conversation.run(timeout=60)
    expect(agent_workspace).changed_files({"OUT.txt": "added"}).has_file("OUT.txt", word)
    assert word == "a", "the word is another"

def test_two_folders(agent_workspace_factory):
    one, other = agent_workspace_factory(), agent_workspace_factory()
    one.write_text("x.txt", "x")
    assert other.execute_command("ls").stdout == ""
    assert one.working_dir != other.working_dir

def test_shared(shared_agent_workspace):
    shared_agent_workspace.write_text("x.txt", "x")
"""

PAUSES = """
def test_pauses(agent_workspace):
    agent_workspace.pause()

def test_keeps(agent_workspace):
    agent_workspace.keep()
"""


@pytest.fixture
def server(running_server):
    return running_server


@pytest.fixture
def on_server(project, on_running_server):
    """Runs tests on that server; no engine could be reached."""
    variables = dict(on_running_server)
    options = [
        f"--sandbox-url={variables.pop('PYTEST_SANDBOX_URL')}",
        f"--sandbox-gateway-address={variables.pop('PYTEST_SANDBOX_GATEWAY_ADDRESS')}",
    ]
    project.environment |= {**variables, "DOCKER_HOST": "tcp://127.0.0.1:9"}

    def run(*arguments):
        return project.run(*options, *arguments)

    return run


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["locally", "with workers"])
def test_the_same_tests_on_a_server(project, server, on_server, options):
    project.write("test_it.py", SUITE)
    code, output = on_server("-v", *options)
    assert code == 1
    assert "1 failed, 3 passed" in output
    assert (
        f"agent-sandbox: 4 tests on {server.host} (agent server 1.58.0), which they share: nothing "
        "is isolated" in output
    )
    assert "the word is another" in output
    assert "agent    terminal  echo b > OUT.txt; pwd" in output
    assert f"--sandbox-url={server.host}" in output  # of the command that runs it again
    assert server.session_key.get_secret_value() not in output
    (folder,) = project.results
    result = json.loads((folder / "result.json").read_text("utf-8"))
    (sandbox,) = result["sandboxes"]
    assert sandbox["runs as"] == f"the agent server at {server.host}"
    assert sandbox["server"] == "1.58.0"
    assert "OUT.txt" in (folder / "workspace.diff").read_text("utf-8")
    # Nothing is left on the server.
    assert server.execute_command("ls /tmp/agent-sandbox").stdout == ""
    assert server.connection.get_json("/api/conversations/search")["items"] == []


def test_what_needs_a_container_says_so(project, on_server):
    project.write("test_it.py", PAUSES)
    code, output = on_server()
    assert code == 1
    assert len(re.findall(r"^E .*is in no container of ours, and cannot be", output, re.M)) == 2
    for option in (
        "--sandbox-network=isolated",
        "--sandbox-security=strict",
        "--sandbox-keep=all",
        "--sandbox-forward-env=HOME",
    ):
        code, output = on_server(option)
        assert code == 4
        name, _, value = option.partition("=")
        assert f"{name} = {value} is not supported with" in output.replace("('HOME',)", "HOME")
        assert "INTERNALERROR" not in output
    code, output = on_server("--sandbox-memory=2g", "--sandbox-isolation=recycled")
    assert "not in effect without containers: --sandbox-memory, --sandbox-isolation" in output


def test_a_recording_is_replayed_on_the_server(project, on_server):
    from tests.support.provider import Provider, serving

    project.write(
        "test_it.py",
        "def test_it(agent_workspace, agent_conversation):\n"
        "    conversation = agent_conversation()\n"
        "    conversation.send_message('Say hello.')\n"
        "    conversation.run(timeout=60)\n"
        "    assert 'hello' in conversation.events.final_message\n",
    )
    with serving(Provider(lambda request: say("hello"))) as provider:
        model = "openai/gpt-4o-mini"
        project.environment |= {
            "LLM_MODEL": model,
            "LLM_API_KEY": provider.token,
            "LLM_BASE_URL": provider.base_url("127.0.0.1", model),
        }
        assert on_server()[0] == 0
    for name in ("LLM_MODEL", "LLM_API_KEY", "LLM_BASE_URL"):
        del project.environment[name]
    code, output = on_server("--llm-match=strict")
    assert code == 0
    assert "replayed" in output


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("127.0.0.1:8000", "--sandbox-url = 127.0.0.1:8000 is no address such as http://"),
        ("http://me:secret@127.0.0.1:8000", "Set the server's key in SANDBOX_API_KEY instead"),
        ("http://127.0.0.1:abc", "--sandbox-url = http://127.0.0.1:abc is no address such as"),
        ("http://[::1", "--sandbox-url = http://[::1 is no address such as"),
        ("http://127.0.0.1:9?k=v", "--sandbox-url = http://127.0.0.1:9?k=v is no address such as"),
        (
            "HTTP://127.0.0.1:9/",
            "No agent server listens at http://127.0.0.1:9: Connection refused",
        ),
        ("http://127.0.0.1:9", "No agent server listens at http://127.0.0.1:9: Connection refused"),
        ("http://sandbox.invalid", "No agent server listens at http://sandbox.invalid: "),
    ],
)
def test_no_server_at_that_address(project, url, problem):
    project.write("test_it.py", "def test_it(agent_workspace): ...\n")
    code, output = project.run(f"--sandbox-url={url}", "--sandbox-start-timeout=1")
    assert code != 0
    assert problem in output
    assert "INTERNALERROR" not in output
    assert "me:secret" not in output.replace(f"--sandbox-url={url}", "")


def test_a_server_that_says_nothing_is_not_waited_for(project):
    project.write("test_it.py", "def test_it(agent_workspace): ...\n")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # its backlog accepts
        began = time.monotonic()
        code, output = project.run(
            f"--sandbox-url=http://127.0.0.1:{silent.getsockname()[1]}", "--sandbox-start-timeout=2"
        )
    assert code == 1
    assert "was not ready within 2 s" in output
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("key", ["plain-secret-123\n456", "geheim-schlüssel-123"])
def test_a_key_that_is_none(project, key):
    project.write("test_it.py", "def test_it(agent_workspace): ...\n")
    project.environment["SANDBOX_API_KEY"] = key
    code, output = project.run("--sandbox-url=http://127.0.0.1:9")
    assert code == 4
    output = output.replace(project.folder.parent.name, "")  # pytest's name of this test
    assert "SANDBOX_API_KEY holds a key with characters that no HTTP header can have" in output
    assert "secret" not in output
    assert "geheim" not in output


def test_a_line_break_behind_the_key_is_none_of_it(project, server, on_server):
    project.write("test_it.py", SUITE)
    project.environment["SANDBOX_API_KEY"] += "\n"
    assert on_server("-k", "two_folders")[0] == 0


def test_a_folder_that_is_none(project, on_server):
    project.write("test_it.py", SUITE)
    code, output = on_server("-k", "two_folders", "--sandbox-working-dir=rel")
    assert code == 1
    assert "SettingsError: working_dir = rel must be an absolute path on the server" in output


FORGOTTEN = """
import pytest
from pytest_agent_sandbox import say
from pytest_agent_sandbox.errors import SettingsError

def known(workspace):
    return workspace.connection.get_json("/api/conversations/search")["items"]

def test_forks(agent_workspace, agent_llm, agent_conversation):
    agent_llm.script([say("One.")])
    conversation = agent_conversation()
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    fork = conversation.fork().fork()
    assert len(known(agent_workspace)) == 3

def test_refused(agent_workspace, agent_conversation, agent_llm):
    agent_llm.script([])
    assert known(agent_workspace) == []
    with pytest.raises(SettingsError, match="takes text, not int"):
        agent_conversation(secrets={"A": 5})
    assert known(agent_workspace) == []
"""


def test_the_server_forgets_all_conversations(project, on_server):
    project.write("test_it.py", FORGOTTEN)
    _, output = on_server()
    assert "2 passed" in output


def test_a_wrong_key_and_no_way_back(project, server, on_server):
    project.write("test_it.py", SUITE)
    project.environment["SANDBOX_API_KEY"] = "a-wrong-key"
    code, output = on_server("-k", "two_folders")
    assert code == 1
    assert "401" in output
    # The container's own address is none of this machine's.
    project.environment["SANDBOX_API_KEY"] = server.session_key.get_secret_value()
    (address,) = [value for value, kind in server.identity.items() if kind == "address"]
    url = f"--sandbox-url=http://{address}:8000"
    code, output = project.run(url, "-k", "test_word")
    assert code == 1
    assert "have no known way to the LLM gateway on this machine" in output
    assert "--sandbox-gateway-address=ADDRESS" in output
    assert project.run(url, "-k", "test_two_folders")[0] == 0
