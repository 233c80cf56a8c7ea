"""Recorded once, replayed for ever: real agents in real sandboxes, whose provider is then gone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, say, tool
from tests.support.project import Project, outcomes
from tests.support.provider import Provider, serving

#: A test whose tools print what is new in every container and at every hour.
THREE_STEPS = """
def test_three_steps(agent_workspace, agent_llm, agent_conversation):
    agent_workspace.write_text("README.md", "# demo\\n")
    conversation = agent_conversation()
    conversation.send_message("Read the repo and write down what it is.")
    conversation.run(timeout=60)
    assert conversation.status == "finished"
    assert agent_workspace.read_text("FACTS.txt") == "It is a demo.\\n"
    print("MODE", agent_llm.mode, len(agent_llm.calls))
"""
REPLIES = [
    say("Let me look.", tool("terminal", command="cat README.md; date; hostname; date -Is; ls -l")),
    tool("terminal", command="echo 'It is a demo.' > FACTS.txt"),
    say("FACTS.txt says what it is."),
]
CASSETTE = "cassettes/test_it/test_three_steps.json"


@pytest.fixture
def offline(project: Project) -> Callable[..., tuple[int, str]]:
    """Runs the project's tests as CI does: without a key, a model or a provider."""

    def run(*arguments: str) -> tuple[int, str]:
        for name in ("LLM_MODEL", "LLM_API_KEY", "LLM_BASE_URL"):
            project.environment.pop(name, None)
        project.environment["CI"] = "true"
        return project.run(*arguments)

    return run


def record(
    project: Project,
    replies: Any,
    *arguments: str,
    model: str = "openai/gpt-4o",
    expected: int = 0,
) -> str:
    """Runs the project's tests with a live LLM; what pytest printed."""
    with serving(Provider(replies, pause=0.002)) as provider:
        project.environment |= {
            "LLM_MODEL": model,
            "LLM_API_KEY": provider.token,
            "LLM_BASE_URL": provider.base_url("127.0.0.1", model),
        }
        code, output = project.run(*arguments)
    assert code == expected
    assert provider.token not in output
    for file in project.folder.rglob("*"):
        if file.is_file():
            assert provider.token.encode() not in file.read_bytes(), file
    return output


def lanes(project: Project, cassette: str = CASSETTE) -> dict[str, list[dict[str, Any]]]:
    content: dict[str, Any] = json.loads((project.folder / cassette).read_text("utf-8"))
    return dict(content["lanes"])


STREAMING = "from pytest_agent_sandbox import LLM, default_agent\n" + THREE_STEPS.replace(
    "test_three_steps", "test_streaming"
).replace(
    "agent_conversation()",
    "agent_conversation(default_agent(LLM(model='x', stream=True)))",
)


MODELS = {
    "openai-chat": "openai/gpt-4o",
    "openai-responses": "openai/gpt-5",
    "anthropic-messages": "anthropic/claude-sonnet-4-5",
}
#: Where tests are recorded, each is in each dialect.
IN_EACH_DIALECT = f"""
import os
import pytest

MODELS = {MODELS}

@pytest.fixture(autouse=True, params=MODELS)
def dialect(request, monkeypatch):
    if "LLM_MODEL" in os.environ:
        monkeypatch.setenv("LLM_MODEL", MODELS[request.param])
        if request.param == "anthropic-messages":
            monkeypatch.setenv("LLM_BASE_URL", os.environ["LLM_BASE_URL"].removesuffix("/v1"))
"""


@pytest.mark.usefixtures("recycled")
def test_what_was_recorded_is_replayed_strictly_and_offline(
    project: Project, offline: Callable[..., tuple[int, str]]
) -> None:
    project.write("conftest.py", IN_EACH_DIALECT)
    project.write("test_it.py", THREE_STEPS + STREAMING)
    output = record(project, REPLIES, "-s", "-v")
    assert output.count("MODE recorded 3") == 2 * len(MODELS)
    before = {file: file.read_bytes() for file in project.folder.glob("cassettes/test_it/*.json")}
    assert len(before) == 2 * len(MODELS)
    for dialect in MODELS:
        assert f"test_it.py::test_three_steps[{dialect}]: 3 LLM calls recorded, " in output
        steps, streamed = (
            next(str(file) for file in before if name in file.name and dialect in file.name)
            for name in ("three_steps", "streaming")
        )
        (lane,) = lanes(project, steps).values()
        assert {entry["request"]["dialect"] for entry in lane} == {dialect}
        if dialect == "openai-responses":  # the agent does not stream from that one
            continue
        (lane,) = lanes(project, streamed).values()
        answers = [[event["ms"] for event in entry["answer"]["events"]] for entry in lane]
        assert all(len(times) > 3 and times == sorted(times) for times in answers)
        # Stored as it came; a busy machine may read one answer at once, not each.
        assert any(times[-1] > times[0] for times in answers)

    few = r"agent-sandbox: (1 sandbox|2 sandboxes) started"  # recycled: two take turns
    assert re.search(few, output)
    code, output = offline("-s", "-v")
    assert code == 0
    assert re.search(few, output)
    assert output.count("MODE replayed 3") == 2 * len(MODELS)
    assert "3 LLM calls replayed" in output
    assert {file: file.read_bytes() for file in before} == before
    assert project.results == []


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, on_running_server: dict[str, str]) -> str:
    """The cassette of the three steps."""
    project = Project(tmp_path_factory.mktemp("recorded"))
    project.environment |= on_running_server
    project.write("test_it.py", THREE_STEPS)
    record(project, REPLIES)
    return (project.folder / CASSETTE).read_text("utf-8")


@pytest.mark.usefixtures("served")
def test_a_changed_prompt_misses_at_once_and_shows_the_word(
    project: Project, offline: Callable[..., tuple[int, str]], recorded: str
) -> None:
    project.write(CASSETTE, recorded)
    project.write(
        "test_it.py",
        THREE_STEPS.replace("write down what", "describe what").replace(
            "conversation.run(timeout=60)",
            "began = time.monotonic()\n"
            "    try:\n"
            "        conversation.run(timeout=60)\n"
            "    finally:\n"
            "        print('SECONDS', time.monotonic() - began)",
        )
        + "\nimport time\n",
    )
    code, output = offline("-s")
    assert code == 1
    shown = output.splitlines()
    first = next(place for place, line in enumerate(shown) if "CassetteMiss: Not as rec" in line)
    told = list(takewhile(lambda line: line.startswith("E  "), shown[first:]))
    assert len(told) <= 10
    assert "Not as recorded: message 2 (user)" in told[0]
    assert "[-write down-]" in told[1]
    assert "[+describe+]" in told[2]
    assert f"The agent's LLM call 1 in conversation 1 is not in {CASSETTE}. The nearest" in output
    (row,) = project.rows
    (folder,) = project.results
    result = json.loads((folder / "result.json").read_text("utf-8"))
    for headline in (row["headline"], result["headline"], project.story["headline"]):
        assert headline.startswith("CassetteMiss: Not as recorded: message 2 (user)")
        assert "[-write down-]" in headline
        assert "[+describe+]" in headline
    assert project.index_rows[0]["headline"] == row["headline"]
    assert "[-write down-]" in output
    assert "[+describe+]" in output
    assert "--llm-record=all" in output
    line = next(line for line in output.splitlines() if "SECONDS" in line)
    assert float(line.rpartition("SECONDS ")[2]) < 1.5
    assert "1 refused" in output or "LLM call refused" in output
    assert "fault: the script or recording" in output
    (call,) = [step for step in project.story["steps"] if step["kind"] == "llm"]
    assert call["is_error"]
    difference = next(part for part in call["parts"] if part["label"] == "problem")
    assert difference["format"] == "diff"
    lines = difference["text"].splitlines()
    assert any(line.startswith("- ") and "[-write down-]" in line for line in lines)
    assert any(line.startswith("+ ") and "[+describe+]" in line for line in lines)


def variants(project: Project, cassette: str, text: str = THREE_STEPS, **markers: str) -> None:
    """Writes a test per name that differs in its marker alone, and gives each the cassette."""
    tests = ["import pytest\n"]
    for name, marker in markers.items():
        project.write(f"cassettes/test_it/test_{name}.json", cassette)
        marked = f"\n@pytest.mark.agent_sandbox({marker})\ndef test_{name}("
        tests.append(text.replace("\ndef test_three_steps(", marked))
    project.write("test_it.py", "".join(tests))


@pytest.mark.usefixtures("served")
def test_what_only_a_tool_printed_is_drift(
    project: Project, offline: Callable[..., tuple[int, str]], recorded: str
) -> None:
    variants(
        project,
        recorded,
        THREE_STEPS.replace("# demo", "# DEMO"),
        default="",
        lenient="llm_match='lenient'",
        volatile="llm_volatile='(?i)# demo'",
    )
    code, output = offline("-v", "--no-sandbox-live")
    assert code == 1
    assert outcomes(output) == {
        "test_default": "FAILED",
        "test_lenient": "PASSED",
        "test_volatile": "PASSED",
    }
    assert "Only what a tool printed is different: --llm-match=lenient" in output
    assert "[+DEMO+]" in output
    assert output.count("although a tool printed something else") == 1
    # Lenient is what a laptop does by default, strict what CI does.
    del project.environment["CI"]
    code, output = project.run("-k", "default")
    assert code == 0
    assert "[+DEMO+]" in output


@pytest.mark.usefixtures("served")
def test_recorded_answers_that_are_left_fail_the_test(
    project: Project, offline: Callable[..., tuple[int, str]], recorded: str
) -> None:
    content = json.loads(recorded)
    content["lanes"]["2"] = content["lanes"]["1"][:1]
    variants(project, json.dumps(content), default="", warned="llm_unused='warn'")
    code, output = offline("-v", "--no-sandbox-live")
    assert code == 1
    assert outcomes(output) == {"test_default": "FAILED", "test_warned": "PASSED"}
    where = "cassettes/test_it/test_default.json"
    assert f"CassetteUnused: The agent never asked for 1 of the answers in {where}" in output
    assert "conversation 2, recording 1: /chat/completions" in output
    assert output.count("never asked for 1 of the answers") >= 2


@pytest.mark.usefixtures("served")
def test_a_failed_test_writes_nothing_over_a_good_cassette(project: Project, recorded: str) -> None:
    project.write("test_it.py", THREE_STEPS)
    project.write(CASSETTE, recorded)
    wrong = [*REPLIES[:1], tool("terminal", command="echo nothing > FACTS.txt"), *REPLIES[2:]]
    output = record(project, wrong, "--llm-record=all", expected=1)
    assert (project.folder / CASSETTE).read_text("utf-8") == recorded
    assert f"{CASSETTE} was left as it is" in output
    (folder,) = project.results
    assert "echo nothing" in (folder / "cassette.json").read_text("utf-8")
    output = record(project, REPLIES, "--llm-record=all")
    assert (project.folder / CASSETTE).read_text("utf-8") != recorded, "new ids"
    assert "3 LLM calls recorded" in output


TWO = """
def test_two(agent_conversation):
    for word in WORDS:
        conversation = agent_conversation()
        conversation.send_message(word)
        conversation.run(timeout=60)
        assert conversation.events.final_message == f"You said {word}."
"""


def echo(request: LLMRequest) -> Reply:
    return say(f"You said {request.last_message.split()[-1]}.")


@pytest.mark.usefixtures("served")
def test_new_episodes_keep_the_old_ones(
    project: Project, offline: Callable[..., tuple[int, str]]
) -> None:
    project.write("test_it.py", f'WORDS = ["one"]\n{TWO}')
    record(project, echo)
    project.write("test_it.py", f'WORDS = ["one", "two"]\n{TWO}')
    output = record(project, echo, expected=1)
    assert "CassetteMiss" in output, "once replays what is there, and records nothing more"
    output = record(project, echo, "--llm-record=new_episodes")
    assert "2 LLM calls (1 recorded, 1 replayed)" in output
    assert set(lanes(project, "cassettes/test_it/test_two.json")) == {"1", "2"}
    code, _ = offline()
    assert code == 0
    project.write("test_it.py", f'WORDS = ["two"]\n{TWO}')
    record(project, echo, "--llm-record=new_episodes")
    assert len(lanes(project, "cassettes/test_it/test_two.json")) == 1, "what nobody uses goes"


@pytest.mark.usefixtures("served")
def test_a_test_without_script_cassette_or_key(
    project: Project, offline: Callable[..., tuple[int, str]]
) -> None:
    variants(project, '{"format": ', default="", all="llm_record='all'", broken="")
    for name in ("default", "all"):
        (project.folder / f"cassettes/test_it/test_{name}.json").unlink()
    code, output = project.run("-rs", "-k", "default")
    assert code == 0
    assert "no agent_llm.script([…]), no cassette and no live LLM (LLM_MODEL and LLM_AP" in output
    code, output = offline("-v", "--no-sandbox-live")
    assert code == 1
    assert set(outcomes(output).values()) == {"FAILED"}
    assert "CassetteMiss: There is no cassette cassettes/test_it/test_default.json" in output
    assert "pytest 'test_it.py::test_default' --llm-record=once" in output
    assert "SettingsError: llm_record = all has to ask a live LLM" in output
    # One that cannot be read.
    assert "CassetteError: The cassette " in output
    assert "cannot be read: it ends in line 1 before it is complete" in output
    assert "--llm-record=all" in output


PARALLEL = """
from concurrent.futures import ThreadPoolExecutor

def test_two(agent_workspace, agent_conversation):
    conversations = [agent_conversation() for _ in range(2)]

    def talk(number):
        conversation = conversations[number]
        for step in range(3):
            conversation.send_message(f"{number}-{step}")
            conversation.run(timeout=60)
        return [message.text for message in conversation.events.messages("agent")]

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(talk, range(2)))
    assert said == [[f"You said {n}-{step}." for step in range(3)] for n in range(2)]
"""


@pytest.mark.usefixtures("served")
def test_two_conversations_at_once_have_a_lane_each(
    project: Project, offline: Callable[..., tuple[int, str]]
) -> None:
    project.write("test_it.py", PARALLEL)
    record(project, echo)
    recorded = lanes(project, "cassettes/test_it/test_two.json")
    assert {name: len(lane) for name, lane in recorded.items()} == {"1": 3, "2": 3}
    code, _ = offline()
    assert code == 0


TRIALS = """
import pytest

@pytest.mark.parametrize("trial", ["a/b", "a-b", "c"])
def test_trial(agent_conversation, trial):
    conversation = agent_conversation()
    conversation.send_message(trial)
    conversation.run(timeout=60)
    assert conversation.events.final_message == f"You said {trial}."

class TestGroup:
    def test_one(self, agent_conversation):
        conversation = agent_conversation()
        conversation.send_message("x")
        conversation.run(timeout=60)
"""


@pytest.mark.usefixtures("served")
def test_every_trial_has_a_cassette_of_its_own_under_xdist_too(
    project: Project, offline: Callable[..., tuple[int, str]]
) -> None:
    project.write("test_it.py", TRIALS)
    output = record(project, echo, "-n", "2")
    assert "this run: 4 LLM calls recorded" in output
    files = sorted(path.name for path in (project.folder / "cassettes/test_it").iterdir())
    assert len(files) == 4
    assert "TestGroup.test_one.json" in files
    code, output = offline("-n", "2")
    assert code == 0
    assert "this run: 4 LLM calls replayed" in output


@pytest.fixture
def stopped_provider() -> str:
    """The address of a provider that is not there any more."""
    with Gateway() as gateway:
        return f"http://127.0.0.1:{gateway.port}/v1"


@pytest.mark.usefixtures("served")
def test_once_replays_although_the_provider_is_gone(
    project: Project, stopped_provider: str, recorded: str
) -> None:
    project.write("test_it.py", THREE_STEPS)
    project.write(CASSETTE, recorded)
    project.environment |= {
        "LLM_BASE_URL": stopped_provider,
        "LLM_MODEL": "openai/another",
        "LLM_API_KEY": "sk-of-nobody",
    }
    code, output = project.run("-s")
    assert code == 0
    assert "MODE replayed 3" in output


@pytest.mark.usefixtures("served")
def test_the_folder_of_cassettes_is_a_setting(project: Project, tmp_path: Path) -> None:
    project.write("test_it.py", f'WORDS = ["one"]\n{TWO}')
    record(project, echo, "--llm-cassettes=recordings")
    assert (project.folder / "recordings/test_it/test_two.json").is_file()
    record(project, echo, f"--llm-cassettes={tmp_path}/elsewhere")
    assert (tmp_path / "elsewhere/test_it/test_two.json").is_file()


SEARCH = """
import base64, contextlib, json, os
import docker, psutil, pytest

@pytest.mark.parametrize("why", ["to keep the evidence", ""])
@pytest.mark.agent_sandbox(security="sudo")
def test_search(agent_workspace, agent_conversation, why):
    conversation = agent_conversation()
    conversation.send_message("Show me the environment.")
    conversation.run(timeout=60)
    key = os.environ["LLM_API_KEY"]
    look = "ps axeww; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\\\0' '\\\\n'"
    shown = agent_workspace.execute_command(look).stdout
    assert "OH_PRELOAD_TOOLS" in shown, "it was allowed to look"
    assert key not in shown
    (call,) = conversation.events.tool_calls()
    assert "OH_PRELOAD_TOOLS" in call.result
    assert agent_workspace.session_key.get_secret_value() not in call.result
    # The key's letters are put together inside, so that this command does not hold them.
    encoded = base64.b64encode(key.encode()).decode()
    search = f"grep -raslF -e \\\\$(echo {encoded} | base64 -d)"
    search += " / --exclude-dir=proc --exclude-dir=sys"
    found = agent_workspace.execute_command(f'sudo sh -c "{search}"', timeout=120)
    assert found.stdout == ""
    assert found.exit_code == 1, found
    for process in psutil.process_iter(["cmdline"]):
        assert key not in " ".join(process.info["cmdline"] or [])
    with contextlib.closing(docker.from_env()) as client:
        about = client.api.inspect_container(agent_workspace.container.id)
    assert key not in json.dumps(about)
    assert key not in conversation.events.final_message
    assert not why, why
"""


@pytest.mark.usefixtures("recycled")
def test_the_real_key_is_nowhere(project: Project) -> None:
    project.write("test_it.py", SEARCH)
    replies = [tool("terminal", command="env; cat /proc/self/environ"), say("That is all.")]
    output = record(project, replies, expected=1)  # looks through all files and the output too
    assert "AssertionError: to keep the evidence" in output
    assert "1 failed, 1 passed" in output
    (folder,) = project.results
    names = {file.name for file in folder.iterdir()}
    assert {"events.jsonl", "container.log", "cassette.json", "result.json"} <= names
    (cassette,) = project.folder.glob("cassettes/test_it/test_search*.json")
    assert cassette.is_file()
