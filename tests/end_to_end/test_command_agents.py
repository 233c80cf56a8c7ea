"""Agents that are plain programs, in real sandboxes: what tests see of them."""

import json
from pathlib import Path

import pytest

from tests.support.project import Project, outcomes

pytestmark = pytest.mark.usefixtures("agent_server_image")

PROGRAM = Path(__file__).parent / "agents" / "command_program.py"

SUITE = f"""
import time
import pytest
from pytest_agent_sandbox import say, tool
from pytest_agent_sandbox.errors import LLMScriptExhausted, SandboxDied, SettingsError

@pytest.fixture
def small_agent(agent_workspace):
    agent_workspace.upload({str(PROGRAM)!r}, "/tmp/agent.py")
    return ["python3", "/tmp/agent.py"]
"""

STORY = """
def test_passes(agent_workspace, agent_llm, small_agent):
    agent_workspace.write_text("name.txt", "Ada\\n")
    agent_llm.script([
        say("I will look.", tool("shell", command="cat name.txt | tee copy.txt")),
        say("It is Ada."),
    ])
    run = agent_workspace.run_agent([*small_agent, "--task", "Whose name is it?"], timeout=60)
    assert run.exit_code == 0
    assert run.output == "I will look.\\n$ cat name.txt | tee copy.txt\\nAda\\nIt is Ada.\\n"
    assert not run.timed_out
    assert 0 < run.duration < 30
    assert agent_workspace.read_text("copy.txt") == "Ada\\n"
    assert [call.model for call in agent_llm.calls] == ["small-model"] * 2

def test_fails(agent_workspace, agent_llm, small_agent):
    agent_workspace.write_text("keep.txt", "precious\\n")
    agent_llm.script([
        say("I will tidy.", tool("shell", command="rm keep.txt && echo removed")),
        tool("shell", command="sleep 1; cat keep.txt"),
        say("I give up."),
    ])
    run = agent_workspace.run_agent([*small_agent, "--task", "Tidy, but keep keep.txt."])
    assert run.exit_code == 3
    assert "keep.txt" in agent_workspace.execute_command("ls").stdout.split()
"""


@pytest.fixture(scope="module")
def told(agent_server_image, tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("command"))
    project.environment["PYTEST_SANDBOX_ISOLATION"] = "recycled"
    project.write("test_it.py", SUITE + STORY)
    _, output = project.run("-v")
    return project, output


def test_one_passes_and_one_fails(told):
    _, output = told
    assert "1 failed, 1 passed" in output


def test_its_output_is_shown_as_it_comes(told):
    _, output = told
    live = output.partition("= FAILURES =")[0]
    assert "user     python3 /tmp/agent.py --task 'Tidy, but keep keep.txt.'" in live
    first, _, second = live.partition("$ rm keep.txt && echo removed")[2].partition("cat: keep.txt")
    assert "removed" in first
    assert "agent    " in first  # what came after a second is a message of its own
    assert "I give up." in second
    assert "status   ended with exit code 3 after " in second


def test_the_failed_ones_transcript_is_in_the_report(told):
    _, output = told
    transcript = output.partition("agent transcript")[2].partition("container log")[0]
    assert "user     python3 /tmp/agent.py --task 'Tidy, but keep keep.txt.'" in transcript
    assert "$ rm keep.txt && echo removed" in transcript
    assert "cat: keep.txt: No such file" in transcript
    assert "status   ended with exit code 3 after " in transcript
    assert "deleted   keep.txt" in output


def test_the_page_and_the_result_hold_it_too(told):
    project, _ = told
    steps = project.story["steps"]
    spoken = [step for step in steps if step["kind"] == "message"]
    assert [step["title"] for step in spoken[:2]] == ["user", "agent"]
    assert {step["conversation"] for step in spoken} == {"run-1"}
    text = "".join(part["text"] for step in spoken for part in step["parts"])
    assert text.endswith(
        "I will tidy.\n$ rm keep.txt && echo removed\nremoved\n$ sleep 1; cat keep.txt\n"
        "cat: keep.txt: No such file or directory\nI give up.\n"
    )
    calls = [step for step in steps if step["kind"] == "llm"]
    assert [step["conversation"] for step in calls] == ["run-1"] * 3
    result = json.loads((project.results[0] / "result.json").read_text("utf-8"))
    (run,) = result["agent_runs"]
    assert run["name"] == "run-1"
    assert run["command"] == "python3 /tmp/agent.py --task 'Tidy, but keep keep.txt.'"
    assert (run["exit_code"], run["timed_out"]) == (3, False)
    assert run["duration"] > 1
    assert (result["steps"], result["llm"]["calls"]) == (0, {"scripted": 3})
    titles = [section["title"] for section in project.story["environment"]]
    assert "Agent run-1" in titles


EDGES = """
ANTHROPIC = '''
import anthropic
answer = anthropic.Anthropic(max_retries=0).messages.create(
    model="small-model", max_tokens=99, messages=[{"role": "user", "content": "hello"}]
)
print(answer.content[0].text)
'''

def test_the_other_dialect(agent_workspace, agent_llm):
    agent_workspace.write_text("/tmp/agent.py", ANTHROPIC)
    agent_llm.script([say("Grüße.")])
    run = agent_workspace.run_agent(["/agent-server/.venv/bin/python", "/tmp/agent.py"])
    assert run.check().output == "Grüße.\\n"

def test_it_is_told_the_model(agent_workspace, agent_llm, small_agent):
    show = 'echo "$LLM_MODEL, $OPENAI_MODEL, $ANTHROPIC_MODEL, ${CODEX_API_KEY:+key}"'
    agent_llm.script([])
    assert agent_workspace.run_agent(["sh", "-c", show]).output == ", , , key\\n"
    agent_llm.script([say("Done.")], model="openrouter/acme/large")
    run = agent_workspace.run_agent(["sh", "-c", show])
    assert run.output == "openrouter/acme/large, acme/large, , key\\n"
    agent_workspace.run_agent([*small_agent, "--task", "x"]).check()
    assert [call.model for call in agent_llm.calls] == ["acme/large"]
    agent_llm.script([], model="anthropic/claude-opus-4")
    run = agent_workspace.run_agent(["sh", "-c", show], env={"LLM_MODEL": "mine"})
    assert run.output == "mine, , claude-opus-4, key\\n"

def test_a_title_takes_a_reply(agent_workspace, agent_llm, small_agent):
    agent_llm.script([say("I make it."), say("Done.")])
    agent_workspace.run_agent([*small_agent, "--title", "--task", "Make it."]).check()
    assert "made.txt" in agent_workspace.execute_command("ls").stdout, "to see the note"

def test_two_in_one_test(agent_workspace, agent_llm, small_agent):
    agent_llm.script([say("One."), say("Two.")])
    for word in ("One", "Two"):
        run = agent_workspace.run_agent([*small_agent, "--task", word])
        assert run.check().output == f"{word}.\\n"

def test_no_llm_was_asked_for(agent_workspace, small_agent):
    agent_workspace.run_agent([*small_agent, "--task", "x"]).check()

def test_a_timeout(agent_workspace):
    run = agent_workspace.run_agent(["sh", "-c", "echo begun; exec sleep 60"], timeout=1.5)
    assert (run.exit_code, run.timed_out, run.output) == (-1, True, "begun\\n")
    assert 1.5 <= run.duration < 10
    with pytest.raises(AssertionError, match="ended by its timeout of 1.5 s"):
        run.check()

def test_an_exit_code(agent_workspace):
    run = agent_workspace.run_agent(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (run.exit_code, run.output) == (7, "out\\nerr\\n")
    with pytest.raises(AssertionError, match="exit code 7(.|\\n)*err"):
        run.check()

def test_a_program_that_is_not_there(agent_workspace):
    run = agent_workspace.run_agent(["no-such-agent"])
    assert run.exit_code == 127
    assert "not found" in run.output

def test_its_environment(agent_workspace):
    agent_workspace.write_text("sub/x", "")
    see = 'echo "$WORD, $(pwd), ${OPENAI_API_KEY-none}"; ps -eo args | grep -c "[o]pen-sesame"'
    run = agent_workspace.run_agent(
        ["sh", "-c", see], env={"WORD": "it's open-sesame\\n!"}, cwd="sub"
    )
    # The one that has it in its command line is the search itself.
    assert run.output == "it's open-sesame\\n!, /workspace/project/sub, none\\n0\\n"
    left = agent_workspace.execute_command("ls -d /tmp/agent-* /tmp/command-*; true").stdout
    assert len(left.split()) == 1  # its own

def test_bad_arguments(agent_workspace):
    for command in ("my-agent --task x", [], ["my-agent", 1]):
        with pytest.raises(SettingsError, match="list of words"):
            agent_workspace.run_agent(command)
    with pytest.raises(SettingsError, match="no name of a variable"):
        agent_workspace.run_agent(["true"], env={"A-B": "x"})
    with pytest.raises(FileNotFoundError):
        agent_workspace.run_agent(["true"], cwd="nowhere")

def test_it_asks_for_more_than_was_scripted(agent_workspace, agent_llm):
    agent_workspace.write_text("/tmp/ask.sh", '''
        curl -s $OPENAI_BASE_URL/chat/completions -H "Authorization: Bearer $OPENAI_API_KEY" \\\\
            -d '{"model": "m", "messages": [{"role": "user", "content": "x"}]}'
        sleep 61
    ''')
    agent_llm.script([])
    began = time.monotonic()
    with pytest.raises(LLMScriptExhausted):
        agent_workspace.run_agent(["sh", "/tmp/ask.sh"])
    assert time.monotonic() - began < 10
    running = agent_workspace.execute_command("pgrep -fx 'sleep 61'; true").stdout
    assert running == "", "the agent was not ended"

def test_shared(shared_agent_workspace, agent_llm):
    agent_llm.script([say("Shared.")])
    shared_agent_workspace.upload(PROGRAM, "/tmp/agent.py")
    run = shared_agent_workspace.run_agent(["python3", "/tmp/agent.py", "--task", "x"])
    assert run.check().output == "Shared.\\n"

def test_a_dead_sandbox(agent_workspace):
    began = time.monotonic()
    with pytest.raises(SandboxDied):
        agent_workspace.run_agent(["sh", "-c", "kill -9 -1; sleep 60"])
    assert time.monotonic() - began < 5
"""


@pytest.mark.usefixtures("recycled")
def test_edges(project):
    project.write("test_it.py", SUITE + f"PROGRAM = {str(PROGRAM)!r}\n" + EDGES)
    _, output = project.run("-v", "--no-sandbox-live")
    found = outcomes(output)
    assert len(found) == 13
    assert found.pop("test_no_llm_was_asked_for") == "FAILED"
    missing = 'run-1 had no LLM and said "OPENAI_BASE_URL": request the fixture agent_llm'
    assert output.count(missing) == 1
    assert found.pop("test_a_title_takes_a_reply") == "FAILED"
    assert "to see the note" in output
    note = "note:  Request 1, which took reply 1, offered no tools, unlike others: 'Write a title"
    assert note in output
    # The use of its script is judged at the end too, whatever the test has caught.
    exhausted = "test_it_asks_for_more_than_was_scripted"
    assert found.pop(exhausted) == "FAILED"
    assert set(found.values()) == {"PASSED"}
    assert output.count("DID NOT RAISE") == 0
    assert "the agent was not ended" not in output


SHARED = """
from pytest_agent_sandbox import expect

def test_one(shared_agent_workspace, agent_llm):
    agent_llm.script([])
    shared_agent_workspace.run_agent(["sh", "-c", "echo x > one.txt"])
    expect(shared_agent_workspace).changed_files({"one.txt": "added"})

def test_other(shared_agent_workspace):
    shared_agent_workspace.run_agent(
        ["sh", "-c", "echo x > other.txt; echo told; echo $KEY $MINE; echo sk-verysecret-123456"],
        env={"KEY": "sk-verysecret-123456", "MINE": "/workspace/project/mine"},
    )
    expect(shared_agent_workspace).changed_files({"other.txt": "added"})
    split = {"OTHER": "sk-other" + "secret-654321"}
    result = shared_agent_workspace.execute_command("echo from $OTHER", env=split)
    assert result.stdout == "from sk-other" + "secret-654321\\n"
    assert False, "to see the report"
"""


def test_agents_in_a_workspace_that_tests_share(project):
    project.write("test_it.py", SHARED)
    _, output = project.run()
    assert "1 failed, 1 passed" in output
    assert "to see the report" in output
    transcript = output.partition("agent transcript")[2]
    assert "told" in transcript
    assert "*** /workspace/project/mine" in transcript
    kept = [
        path.read_text("utf-8", "replace")
        for path in (project.folder / "agent-results").rglob("*")
        if path.is_file()
    ]
    assert kept
    secret = "sk-verysecret-123456"
    # pytest's own report shows the test's code, where it is written down here.
    shown = [text for text in (output, *kept) if secret in text.replace(f'"{secret}"', "")]
    assert not [text for text in shown if f"*** {secret}" in text or f"\\n{secret}" in text]
    assert not [text for text in (output, *kept) if "sk-othersecret" in text]


ISOLATED = """
@pytest.mark.agent_sandbox(network="isolated")
def test_isolated(agent_workspace, agent_llm, small_agent):
    agent_llm.script([tool("shell", command="echo inside"), say("Done.")])
    run = agent_workspace.run_agent([*small_agent, "--task", "x"], timeout=60)
    assert run.check().output == "$ echo inside\\ninside\\nDone.\\n"
"""


def test_without_a_network(project):
    project.write("test_it.py", SUITE + ISOLATED)
    code, _ = project.run()
    assert code == 0
