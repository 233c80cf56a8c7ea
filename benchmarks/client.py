"""The client: how long commands, output, turns and closing take on a server that runs already.

A command is compared with the server's own `execute_bash_command`, asked over one connection that
stays open: the least that any client can take. The turns' LLM is a script and answers at once.
"""

from __future__ import annotations

import os

import httpx
from measuring import Report, read_arguments

from pytest_agent_sandbox import LLM, DockerWorkspace, RemoteConversation, default_agent, say
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import choose_image, ensure_image
from pytest_agent_sandbox.llm.script import Script
from pytest_agent_sandbox.sandbox.gateway import with_each_llm

MODEL = "openai/gpt-4o-mini"
OUTPUT_BYTES = 5_000_000
_LARGE_OUTPUT = f"head -c {OUTPUT_BYTES} /dev/zero | tr '\\0' x"


def measure_commands(report: Report, workspace: DockerWorkspace, rounds: int) -> None:
    workspace.execute_command("true")  # makes the working directory
    body = {"command": "echo hello", "cwd": workspace.working_dir}
    with httpx.Client(
        base_url=workspace.host, headers=workspace.connection.headers, trust_env=False
    ) as client:
        client.get("/alive")
        for _ in range(rounds):
            with report.timing("echo, endpoint"):
                answer = client.post("/api/bash/execute_bash_command", json=body).json()
            assert answer["stdout"] == "hello\n"
            with report.timing("echo, execute_command"):
                result = workspace.execute_command("echo hello")
            assert result.stdout == "hello\n"
    for _ in range(rounds):
        with report.timing("5 MB of output"):
            result = workspace.execute_command(_LARGE_OUTPUT)
        assert len(result.stdout) == OUTPUT_BYTES
    report.ratio("echo, execute_command / endpoint", "echo, execute_command", "echo, endpoint")
    report.value("output (MB/s)", OUTPUT_BYTES / 1e3 / report.median("5 MB of output"))


def measure_conversation(report: Report, workspace: DockerWorkspace) -> None:
    script = Script([say("Hello."), say("Hello again.")])
    with workspace.gateway.open_lane(script, name="benchmark") as lane:
        fields = workspace.gateway.llm_fields(lane, MODEL)
        agent = with_each_llm(default_agent(LLM(model=MODEL)), lambda _: fields)
        with report.timing("conversation, start"):
            conversation = RemoteConversation(workspace, agent)
        with conversation:
            for name in ("conversation, first turn", "conversation, next turn"):
                with report.timing(name):
                    conversation.send_message("Say hello.")
                    conversation.run(timeout=60)
            with report.timing("conversation, close"):
                conversation.close()
        lane.verify()


def main() -> None:
    arguments = read_arguments(__doc__, rounds=20)
    with ContainerEngine.connect() as engine:
        image = ensure_image(
            engine, choose_image(engine, os.environ.get("PYTEST_SANDBOX_IMAGE"))
        ).reference
        report = Report("Client", image=image, rounds=str(arguments.rounds))
        with DockerWorkspace(server_image=image, engine=engine) as workspace:
            measure_commands(report, workspace, arguments.rounds)
            # The server's first conversation loads what all of them need: it does not count.
            measure_conversation(Report("Warm-up"), workspace)
            for _ in range(arguments.rounds):
                measure_conversation(report, workspace)
    report.finish(arguments.json)


if __name__ == "__main__":
    main()
