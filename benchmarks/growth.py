"""Growth: whether the last of many tests, and the last of many events, cost what the first did.

One suite has many tests with recycled sandboxes; the other one has a single test, whose agent makes
tool calls until the conversation has as many events as are wanted. Both are watched from inside
pytest's process, after each test and after each run of the agent, and their last tenth is compared
with their first: how long one takes, and what the process holds. What an agent sends its LLM grows
with every event, and with it the work of the server and of the gateway, which is in this process.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from measuring import Report, Size, read_arguments
from running import run_suite

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import choose_image, ensure_image

#: What is held, and what it is divided by to be read.
_HELD = {"memory (MB)": ("memory", 1e6), "threads": ("threads", 1), "open files": ("files", 1)}


def measure(engine: ContainerEngine, image: str, *, tests: int, events: int) -> Report:
    report = Report(
        "Growth", image=image, engine=engine.description, tests=str(tests), events=str(events)
    )
    _many_tests(report, image, tests)
    _many_events(report, image, events)
    return report


def _many_tests(report: Report, image: str, number: int) -> None:
    options = ("-pgauges", "--sandbox-isolation=recycled")
    run = run_suite("hello", *options, image=image, tests=number)
    _compare_times(report, "test", [sum(test) for test in run.tests])
    _compare_times(report, "CPU of pytest for a test", _cpu(run.gauges))
    held = {**_HELD, "containers": ("containers", 1)}
    for name, (key, unit) in held.items():
        compare_held(report, f"tests, {name}", [gauge[key] / unit for gauge in run.gauges])


def _many_events(report: Report, image: str, number: int) -> None:
    run = run_suite("events", "-pgauges", image=image, tests=1, events=number)
    runs = [gauge for gauge in run.gauges if "events" in gauge]
    each = [gauge["seconds"] / gauge["events"] for gauge in runs]
    _compare_times(report, "event", each)
    cpu = [gauge["used"] / gauge["events"] for gauge in runs]
    _compare_times(report, "CPU of pytest for an event", cpu)
    for name, (key, unit) in _HELD.items():
        compare_held(report, f"events, {name}", [gauge[key] / unit for gauge in runs])
    count = sum(gauge["events"] for gauge in runs)
    added = runs[-1]["memory"] - runs[0]["memory"]
    report.value("memory added for an event (KB)", added / count / 1e3)


def _compare_times(report: Report, what: str, seconds: Sequence[float]) -> None:
    report.series(f"{what} (s)", seconds)
    for place, some in zip(("first", "last"), _ends(seconds), strict=True):
        for each in some:
            report.add(f"{what}, {place} tenth", each)
    report.ratio(f"{what}, last / first", f"{what}, last tenth", f"{what}, first tenth")


def compare_held(report: Report, what: str, numbers: Sequence[float]) -> None:
    """Puts what is held at first and in the end into the report."""
    report.series(what, numbers)
    first, last = map(statistics.median, _ends(numbers))
    report.value(f"{what}, first tenth", first)
    report.value(f"{what}, last - first", last - first)


def _ends(numbers: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """The first tenth and the last one."""
    tenth = max(1, len(numbers) // 10)
    return numbers[:tenth], numbers[-tenth:]


def _cpu(gauges: Sequence[dict[str, Any]]) -> list[float]:
    """What each test took but the first, which pays for what all of them need."""
    return [after["cpu"] - before["cpu"] for before, after in pairwise(gauges)]


def main() -> None:
    arguments = read_arguments(
        __doc__,
        rounds=None,
        tests=Size(500, 2, "tests in the suite"),
        events=Size(10_000, 10, "events in the conversation"),
    )
    with ContainerEngine.connect() as engine:
        image = ensure_image(
            engine, choose_image(engine, os.environ.get("PYTEST_SANDBOX_IMAGE"))
        ).reference
        measure(engine, image, tests=arguments.tests, events=arguments.events).finish(
            arguments.json
        )


if __name__ == "__main__":
    main()
