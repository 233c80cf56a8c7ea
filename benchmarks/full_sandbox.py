"""The full image and the minimal one: until the server answers, and until VS Code and desktop do.

The sandboxes take turns. "full, off" is the full image where nothing of it is asked for, which has
to be as quick as the minimal one; "full, on" has VS Code and the desktop too.
"""

from __future__ import annotations

import time
from contextlib import closing

from measuring import Report, read_arguments

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_names import FULL_TARGET, MINIMAL_TARGET
from pytest_agent_sandbox.containers.images import Image, find_built
from pytest_agent_sandbox.containers.progress import megabytes
from pytest_agent_sandbox.engines.docker.workspace import DockerWorkspace


def measure(rounds: int, engine: ContainerEngine, *, is_quick: bool) -> Report:
    images = {name: _built(engine, name) for name in (MINIMAL_TARGET, FULL_TARGET)}
    report = Report(
        "Full sandbox",
        engine=engine.description,
        rounds=str(rounds),
        **{f"size of {name}": megabytes(image.size) for name, image in images.items()},
    )
    ways = [
        ("minimal", images[MINIMAL_TARGET].reference, False),
        ("full, off", images[FULL_TARGET].reference, False),
        ("full, on", images[FULL_TARGET].reference, True),
    ]
    for way in ways[:0] if is_quick else ways:  # reads the images into the page cache
        _start(engine, Report("warm-up"), *way)
    for number in range(rounds):
        # Who comes next finds the machine a little different: that goes to each in turn.
        for way in ways[number % 3 :] + ways[: number % 3]:
            _start(engine, report, *way)
    report.ratio("up, full off / minimal", "up, full, off", "up, minimal")
    report.ratio("up, full on / minimal", "up, full, on", "up, minimal")
    return report


def _start(engine: ContainerEngine, report: Report, name: str, image: str, is_full: bool) -> None:
    began = time.perf_counter()
    workspace = DockerWorkspace(server_image=image, engine=engine, extra_ports=is_full)
    with closing(workspace):
        report.add(f"up, {name}", time.perf_counter() - began)
        if is_full:
            workspace.vscode_url()
            workspace.vnc_url()
            report.add("VS Code and desktop answer", time.perf_counter() - began)


def _built(engine: ContainerEngine, target: str) -> Image:
    image = find_built(engine, target=target)
    if image is None:
        raise SystemExit(f"Build it first: agent-sandbox build --target {target}")
    return image


def main() -> None:
    arguments = read_arguments(__doc__, rounds=8)
    with ContainerEngine.connect() as engine:
        measure(arguments.rounds, engine, is_quick=arguments.quick).finish(arguments.json)


if __name__ == "__main__":
    main()
