"""Memory of sandboxes that are recycled, with those of others: each at rest, after its start.

What the engine counts for a container, without what is only kept from its files. A recycled
sandbox's servers are forked from a process that has loaded the same: what both have is there once.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

from measuring import Report, Size, read_arguments

from pytest_agent_sandbox import DockerWorkspace
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import choose_image, ensure_image

_LEVELS = ("fresh", "recycled")


def megabytes(engine: ContainerEngine, workspace: DockerWorkspace) -> float:
    """What a sandbox takes of the machine's memory."""
    found: Any = engine.client.api.stats(workspace.container.id, stream=False)
    memory = found["memory_stats"]
    files = memory["stats"].get("total_inactive_file", memory["stats"].get("inactive_file", 0))
    return float(memory["usage"] - files) / 1e6


def main() -> None:
    arguments = read_arguments(
        __doc__, rounds=None, sandboxes=Size(10, 1, "how many there are at a time")
    )
    with ContainerEngine.connect() as engine:
        image = ensure_image(
            engine, choose_image(engine, os.environ.get("PYTEST_SANDBOX_IMAGE"))
        ).reference
        report = Report("Memory", image=image, engine=engine.description)
        for level in _LEVELS:
            with ExitStack() as workspaces, report.timing(f"all up, {level}"):
                taken = [
                    megabytes(
                        engine,
                        workspaces.enter_context(
                            DockerWorkspace(server_image=image, engine=engine, isolation=level)
                        ),
                    )
                    for _ in range(arguments.sandboxes)
                ]
            report.series(f"MB, {level}", taken)
            report.value(f"MB of each, {level}", sum(taken) / len(taken))
    report.finish(arguments.json)


if __name__ == "__main__":
    main()
