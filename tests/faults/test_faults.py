"""Whatever fails, a run says so in time, by the right error, with its evidence, and leaves nothing.

`scripts/faults` writes the table of docs/faults.md out of this.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest

from tests.support.project import Project

SUITE = Path(__file__).with_name("suite")
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and sockets are POSIX's")


@dataclass(frozen=True)
class Expected:
    """What is to come of a fault.

    Attributes:
        what: What was done, for people.
        error: The error; empty where the run outlives the fault.
        verdict: What the test is counted as.
        within: Seconds until the error, or the end, from the fault on.
        words: What the error says, of it.
        evidence: What the evidence holds, by file.
    """

    what: str
    error: str
    verdict: str = "sandbox"
    within: float = 2.0
    words: str = ""
    evidence: dict[str, str] = field(default_factory=lambda: {"events.jsonl": "begun"})


BEGUN = {"events.jsonl": "begun"}
NONE: dict[str, str] = {}
FAULTS = {
    "server_killed": Expected("the server is killed in the middle of a run", "SandboxDied"),
    "server_asked_to_end": Expected(
        "the server gets SIGTERM in the middle of a run", "SandboxDied"
    ),
    "server_killed_by_the_agent": Expected("the agent kills all it can", "SandboxDied"),
    "server_frozen": Expected(
        "the server is stopped (SIGSTOP); the run has 3 s", "ConversationTimeout", "agent", 9.0
    ),
    "container_killed": Expected("somebody kills the container", "SandboxDied"),
    "container_stopped": Expected("somebody stops the container", "SandboxDied"),
    "container_removed": Expected(
        "somebody removes the container", "SandboxDied", words="removed by somebody else"
    ),
    "container_removed_during_a_command": Expected(
        "somebody removes the container while the test itself runs a command",
        "SandboxDied",
        evidence=NONE,
    ),
    "container_paused": Expected(
        "somebody pauses the container; the run has 3 s",
        "SandboxPaused",
        within=9.0,
        words="docker unpause",
    ),
    "memory_used_up": Expected(
        "the agent uses up the memory", "SandboxDied", words="out of memory"
    ),
    "fork_bomb": Expected("the agent starts more processes than it may have", "", "", within=60.0),
    "tunnel_killed": Expected(
        "the way into an isolated sandbox is ended from inside", "SandboxDied", words="out of reach"
    ),
    "conversation_deleted": Expected("the conversation is deleted on the server", "ServerError"),
    "socket_cut": Expected("all connections to the server are cut", "", "", within=10.0),
    "socket_held_up": Expected("nothing comes through for 4 s", "", "", within=15.0),
    "socket_half_open": Expected(
        "nothing comes through any more; the run has 3 s",
        "ConversationTimeout",
        "agent",
        9.0,
        "",
        NONE,
    ),
    "llm_rate_limit": Expected("the LLM answers 429 once", "", "", within=10.0, evidence=NONE),
    "llm_broken": Expected(
        "the LLM answers 500", "ConversationFailed", "agent", 5.0, "Out to lunch", NONE
    ),
    "llm_silent": Expected(
        "the LLM does not answer; the run has 2 s", "ConversationTimeout", "agent", 8.0, "", NONE
    ),
    "llm_cut_off": Expected("the LLM's answer breaks off", "", "", within=15.0, evidence=NONE),
    "llm_writes_nonsense": Expected(
        "the LLM's tool call is no JSON", "", "", within=15.0, evidence=NONE
    ),
    "llm_script_used_up": Expected(
        "the agent asks for more than was scripted", "LLMScriptExhausted", "script", 6.0
    ),
    "llm_budget_used_up": Expected("the budget is used up", "BudgetExceeded", "budget", 6.0),
    "cassette_that_misses": Expected(
        # The agent makes itself ready first, which takes its time on a machine that is busy.
        "there is no cassette",
        "CassetteMiss",
        "script",
        within=6.0,
        evidence=NONE,
    ),
    "evidence_has_no_room": Expected(
        "the disk of the evidence is full", "", "", within=10.0, evidence=NONE
    ),
    "sandbox_has_no_room": Expected(
        "the sandbox's disk is full",
        "ServerError",
        within=60.0,
        words="No space left on device",
        evidence={"container.log": "No space left on device"},
    ),
    "image_deleted": Expected(
        "the image is deleted between two sandboxes", "ImageNotFound", evidence=NONE
    ),
    "clock_jumps[30]": Expected("the clock jumps ahead by 30 h", "", "", within=10.0),
    "clock_jumps[-30]": Expected("the clock jumps back by 30 h", "", "", within=10.0),
    "port_taken": Expected(
        "the port that was asked for is taken", "SandboxStartFailed", evidence=NONE
    ),
    "server_that_cannot_start": Expected(
        "the server crashes while it starts", "SandboxStartFailed", within=12.0, evidence=NONE
    ),
    "server_that_never_answers": Expected(
        "the server does not answer in time (0.5 s)", "SandboxStartFailed", evidence=NONE
    ),
    "janitor_killed[0]": Expected(
        "what cleans a recycled sandbox is killed", "", "", evidence=NONE
    ),
    "janitor_killed[1]": Expected("the same, in the next test", "", "", evidence=NONE),
    "engine_gone": Expected(
        "the engine does not answer any more", "SandboxDied", evidence=NONE, words="is lost"
    ),
    "engine_away_for_a_moment": Expected(
        "all connections to the engine are cut, once", "", "", within=10.0, evidence=NONE
    ),
}


@dataclass
class Run:
    """The suite's run, and what it left."""

    project: Project
    output: str
    rows: dict[str, dict[str, Any]]
    left: list[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, agent_server_image: str) -> Run:
    folder = tmp_path_factory.mktemp("faults") / "project"
    folder.mkdir()
    return _run(Project(folder), agent_server_image)


def _run(project: Project, image: str) -> Run:
    client = docker.from_env()
    try:
        before = _things(client)
        processes = set(psutil.pids())
        shutil.copytree(SUITE, project.folder, dirs_exist_ok=True)
        project.write("pytest.ini", "[pytest]\nfilterwarnings = error\n")
        rows = project.folder / "rows.jsonl"
        project.environment |= {
            "FAULT_ROWS": str(rows),
            "FAULT_IMAGE": image,
            "PYTHONPATH": str(ROOT),
        }
        arguments = ("-n", "2", "-v", "--no-sandbox-live", "-p", "no:rerunfailures")
        _, output = project.run(*arguments, timeout=600)
        found = [json.loads(line) for line in rows.read_text("utf-8").splitlines()]
        left = [*sorted(_things(client) - before), *_ours(set(psutil.pids()) - processes)]
    finally:
        client.close()
    return Run(project, output, {row["fault"]: row for row in found}, left)


def _things(client: docker.DockerClient) -> set[str]:
    """All networks and volumes of the engine, and the containers of this suite."""
    api = client.api
    return {
        *(f"network {network['Name']}" for network in api.networks()),
        *(f"volume {volume['Name']}" for volume in api.volumes()["Volumes"] or ()),
    }


def _ours(pids: set[int]) -> list[str]:
    found = []
    for pid in pids:
        try:
            words = " ".join(psutil.Process(pid).cmdline())
        except psutil.Error:
            continue
        if "watcher_process.py" in words and "faults" in words:
            found.append(f"process {words}")
    return found


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault(run: Run, name: str) -> None:
    expected, row = FAULTS[name], run.rows[name]
    assert row["error"] == expected.error, row
    assert expected.words in row["message"]
    assert row["seconds"] < expected.within
    tests = {
        row["test"].partition("test_")[2].partition("::test_")[2]: row for row in run.project.rows
    }
    kept = tests[name]
    if expected.error:
        assert (kept["verdict"], kept["fault"]) == ("failed", expected.verdict)
        folder = (run.project.folder / "agent-results" / kept["page"]).parent
        for file, text in {"result.json": expected.error, **expected.evidence}.items():
            assert text in (folder / file).read_text("utf-8"), file
        assert (folder / "transcript.html").exists()
    else:
        assert kept["verdict"] == "passed", kept


def test_all_were_injected_and_nothing_is_left(run: Run, tmp_path: Path) -> None:
    assert run.rows.keys() == FAULTS.keys()
    assert "INTERNALERROR" not in run.output
    assert run.left == []
    place = next(run.project.scratch.glob("*/place")).read_text()
    label = f"pytest-agent-sandbox.owner-place={place}"
    client = docker.from_env()
    try:
        assert client.api.containers(all=True, filters={"label": label}) == []
    finally:
        client.close()
    assert {path.name for path in run.project.scratch.rglob("*") if path.is_file()} <= {
        "place",
        "place.lock",
    }
    if "FAULT_RESULTS" in os.environ:
        results = [{"what": expected.what, **run.rows[name]} for name, expected in FAULTS.items()]
        Path(os.environ["FAULT_RESULTS"]).write_text(json.dumps(results), "utf-8")
