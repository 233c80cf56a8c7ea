"""Soak: an hour of tests whose sandboxes die, hang and fill up, and what pytest holds at its end.

One pytest process runs test after test, each with a fault that is drawn at random (and the same in
every run): the container killed, removed or paused, the agent ending its own server, an LLM that
fails, is slow or is cut off, processes and files left behind. What the process holds in the last
tenth of them is compared with the first, and so is what is on the engine before and after.
"""

from __future__ import annotations

import os

from growth import compare_held
from measuring import Report, Size, read_arguments
from running import run_suite

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import choose_image, ensure_image

#: More than can be run in a minute.
_TESTS_A_MINUTE = 60
_HELD = {
    "memory (MB)": ("memory", 1e6),
    "threads": ("threads", 1),
    "open files": ("files", 1),
    "containers": ("containers", 1),
}


def measure(engine: ContainerEngine, image: str, seconds: int) -> Report:
    report = Report("Soak", image=image, engine=engine.description, seconds=str(seconds))
    before = _on_the_engine(engine)
    tests = max(4, seconds * _TESTS_A_MINUTE // 60)
    run = run_suite("soak", "-pgauges", image=image, tests=tests, seconds=seconds)
    # The tests that found the time over were done in no time.
    gauges = [
        gauge for gauge, times in zip(run.gauges, run.tests, strict=True) if times.call > 0.05
    ]
    report.value("tests", len(gauges))
    for name, (key, unit) in _HELD.items():
        compare_held(report, name, [gauge[key] / unit for gauge in gauges])
    left = _on_the_engine(engine)
    for kind in ("containers", "networks", "volumes"):
        report.value(f"{kind} left on the engine", len(left[kind] - before[kind]))
    return report


def _on_the_engine(engine: ContainerEngine) -> dict[str, set[str]]:
    api = engine.client.api
    return {
        "containers": {found["Id"] for found in api.containers(all=True)},
        "networks": {found["Id"] for found in api.networks()},
        "volumes": {found["Name"] for found in api.volumes()["Volumes"] or ()},
    }


def main() -> None:
    arguments = read_arguments(
        __doc__, rounds=None, seconds=Size(3600, 4, "how long new tests begin")
    )
    with ContainerEngine.connect() as engine:
        image = ensure_image(
            engine, choose_image(engine, os.environ.get("PYTEST_SANDBOX_IMAGE"))
        ).reference
        measure(engine, image, arguments.seconds).finish(arguments.json)


if __name__ == "__main__":
    main()
