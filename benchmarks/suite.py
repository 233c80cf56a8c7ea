"""A suite of scripted conversation tests, at each isolation level, with more and more workers.

A suite's time is that of a whole run: pytest's start, the sandboxes, the tests, and clearing up.
The floor is the same conversations one after the other on one server that lives all the while,
without pytest; they are held anew before each level. "floor, whole" has the start of such a server
in it too, which a run of pytest cannot do without.
"""

from __future__ import annotations

import os
import time

from measuring import Report, Size, read_arguments
from running import run_suite
from talk import SCRIPT, talk

from pytest_agent_sandbox import LLM, DockerWorkspace, RemoteConversation, default_agent
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import choose_image, ensure_image
from pytest_agent_sandbox.llm.script import Script
from pytest_agent_sandbox.sandbox.gateway import with_each_llm

LEVELS = ("fresh", "recycled", "shared")
WORKERS = (0, 2, 4)
_MODEL = "openai/gpt-4o-mini"
_FLOOR, _WHOLE_FLOOR = "floor, conversations", "floor, whole"


def measure(
    engine: ContainerEngine, image: str, *, rounds: int, tests: int, is_quick: bool
) -> Report:
    report = Report(
        "Suite", image=image, engine=engine.description, rounds=str(rounds), tests=str(tests)
    )
    workers = WORKERS[:1] if is_quick else WORKERS
    levels = LEVELS[:2] if is_quick else LEVELS
    with DockerWorkspace(server_image=image, engine=engine) as server:
        for number in range(rounds):
            for level in levels[:: 1 if number % 2 == 0 else -1]:
                _take_floor(report, server, tests)
                for count in workers:
                    options = (f"--sandbox-isolation={level}", f"-n{count}")
                    run = run_suite("conversations", *options, image=image, tests=tests)
                    assert len(run.tests) == tests
                    report.add(f"{level}, -n {count}", run.seconds)
    for level in levels:
        for count in workers:
            name = f"{level}, -n {count}"
            report.ratio(f"{name} / {_FLOOR}", name, _FLOOR)
            report.ratio(f"{name} / {_WHOLE_FLOOR}", name, _WHOLE_FLOOR)
    return report


def _take_floor(report: Report, server: DockerWorkspace, conversations: int) -> None:
    began = time.perf_counter()
    for _ in range(conversations):
        _converse(server)
    seconds = time.perf_counter() - began
    report.add(_FLOOR, seconds)
    report.add(_WHOLE_FLOOR, server.start_seconds + seconds)


def _converse(workspace: DockerWorkspace) -> None:
    script = Script(SCRIPT)
    with workspace.gateway.open_lane(script, name="benchmark") as lane:
        fields = workspace.gateway.llm_fields(lane, _MODEL)
        agent = with_each_llm(default_agent(LLM(model=_MODEL)), lambda _: fields)
        with RemoteConversation(workspace, agent) as conversation:
            talk(workspace, conversation)
        lane.verify()


def main() -> None:
    arguments = read_arguments(
        __doc__, rounds=1, tests=Size(50, 1, "tests in the suite, conversations of the floor")
    )
    with ContainerEngine.connect() as engine:
        image = ensure_image(
            engine, choose_image(engine, os.environ.get("PYTEST_SANDBOX_IMAGE"))
        ).reference
        measure(
            engine,
            image,
            rounds=arguments.rounds,
            tests=arguments.tests,
            is_quick=arguments.quick,
        ).finish(arguments.json)


if __name__ == "__main__":
    main()
