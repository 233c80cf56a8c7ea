"""Network: what it costs that an isolated sandbox is reached by a tunnel instead of a port.

Sandboxes of both kinds take turns: their start, a small request, a command, a file in either
direction, and twenty requests at once.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from measuring import Report, read_arguments

from pytest_agent_sandbox import DockerWorkspace
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import choose_image, ensure_image

_KINDS = ("open", "isolated")
_FILE_BYTES = 20_000_000
_REQUESTS = 20


def measure(report: Report, engine: ContainerEngine, image: str, kind: str) -> None:
    content = os.urandom(_FILE_BYTES)
    with report.timing(f"start, {kind}"):
        workspace = DockerWorkspace(server_image=image, engine=engine, network=kind)
    with workspace:
        workspace.execute_command("true")  # makes the working directory
        for _ in range(_REQUESTS):
            with report.timing(f"request, {kind}"):
                assert workspace.alive()
            with report.timing(f"command, {kind}"):
                workspace.execute_command("echo hello").check()
        with (
            ThreadPoolExecutor(_REQUESTS) as pool,
            report.timing(f"{_REQUESTS} requests at once, {kind}"),
        ):
            assert all(pool.map(lambda _: workspace.alive(), range(_REQUESTS)))
        with report.timing(f"20 MB in, {kind}"):
            workspace.write_bytes("file", content)
        with report.timing(f"20 MB out, {kind}"):
            assert workspace.read_bytes("file") == content


def main() -> None:
    arguments = read_arguments(__doc__, rounds=6)
    with ContainerEngine.connect() as engine:
        image = ensure_image(
            engine, choose_image(engine, os.environ.get("PYTEST_SANDBOX_IMAGE"))
        ).reference
        report = Report(
            "Network", image=image, engine=engine.description, rounds=str(arguments.rounds)
        )
        for number in range(arguments.rounds):
            for kind in _KINDS[:: -1 if number % 2 else 1]:
                measure(report, engine, image, kind)
    what = ("start", "command", "20 MB in", "20 MB out")
    for name in what:
        report.ratio(f"{name}, isolated / open", f"{name}, isolated", f"{name}, open")
    report.difference("request, isolated - open (ms)", "request, isolated", "request, open")
    report.finish(arguments.json)


if __name__ == "__main__":
    main()
