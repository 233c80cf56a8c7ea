"""Upstream and ours: how long a test waits for its sandbox, and until it is gone.

The contenders take turns, on the same engine and image: `docker run`, upstream's `DockerWorkspace`,
ours, and three suites run by pytest, where a test waits for as long as its setup takes. In one of
them sandboxes are fresh and the tests long enough for the pool to start the next one meanwhile; in
the others they are recycled, and the tests short, or long enough for another sandbox to be renewed
meanwhile. The first test of a suite, for which nothing can be there yet, counts on its own.
"""

from __future__ import annotations

from collections.abc import Callable

from cold_start import Floor, Ours, warm_up
from measuring import Report, Size, read_arguments
from running import run_suite
from upstream_client import UpstreamClient, build_client

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_names import MINIMAL_TARGET
from pytest_agent_sandbox.containers.images import Image, find_built

Turn = Callable[[], None]


def measure(
    engine: ContainerEngine,
    image: Image,
    *,
    rounds: int,
    pool_tests: int,
    recycled_tests: int,
    test_seconds: int,
    recycled_seconds: int,
) -> Report:
    client = build_client(engine, image)
    with UpstreamClient(engine, client, image) as upstream:
        ours = Ours(engine, image.reference)
        floor = warm_up(ours)
        report = Report(
            "Upstream and ours",
            image=image.reference,
            engine=engine.description,
            rounds=str(rounds),
            **upstream.facts,
        )
        bench = Bench(report, image.reference)
        turns: list[Turn] = [
            lambda: bench.by_hand(floor.tool, floor),
            lambda: bench.upstream(upstream),
            lambda: bench.by_hand("ours", ours),
            lambda: bench.with_pool(pool_tests, test_seconds),
            lambda: bench.recycled(recycled_tests),
        ]
        if recycled_seconds:
            turns.append(lambda: bench.recycled(recycled_tests, recycled_seconds))
        for number in range(rounds):
            # Who comes next finds the machine a little different: that goes to each in turn.
            start = number % len(turns)
            for turn in turns[start:] + turns[:start]:
                turn()
    report.ratio("up, ours / floor", "up, ours", f"up, {floor.tool}")
    report.ratio("up, upstream / floor", "up, upstream", f"up, {floor.tool}")
    report.ratio("up, upstream / wait with pool", "up, upstream", "wait, pool")
    report.ratio("wait, recycled / up, ours", "wait, recycled", "up, ours")
    report.ratio(
        "up and down, upstream / recycled", "up and down, upstream", "wait and teardown, recycled"
    )
    if recycled_seconds:
        report.ratio(
            "up and down, upstream / recycled, long tests",
            "up and down, upstream",
            "wait and teardown, recycled, long tests",
        )
    return report


class Bench:
    """The turns: each adds its samples to the report.

    Args:
        report: Where the samples go.
        image: Name of the image.
    """

    def __init__(self, report: Report, image: str) -> None:
        self._report = report
        self._image = image

    def by_hand(self, name: str, contender: Floor | Ours) -> None:
        try:
            with self._report.timing(f"up, {name}"):
                contender.up()
        finally:
            with self._report.timing(f"down, {name}"):
                contender.down()

    def upstream(self, client: UpstreamClient) -> None:
        up, down = client.up(), client.down()
        self._report.add("up, upstream", up)
        self._report.add("down, upstream", down)
        self._report.add("up and down, upstream", up + down)

    def with_pool(self, tests: int, seconds: int) -> None:
        first, *others = run_suite(
            "workspaces", image=self._image, tests=tests, seconds=seconds
        ).tests
        self._report.add("wait, pool, first test", first.setup)
        for test in others:
            self._report.add("wait, pool", test.setup)
            self._report.add("teardown, pool", test.teardown)

    def recycled(self, tests: int, seconds: int = 0) -> None:
        first, *others = run_suite(
            "workspaces",
            "--sandbox-isolation=recycled",
            image=self._image,
            tests=tests,
            seconds=seconds,
        ).tests
        kind = "recycled, long tests" if seconds else "recycled"
        self._report.add(f"wait, {kind}, first test", first.setup)
        for test in others:
            self._report.add(f"wait, {kind}", test.setup)
            self._report.add(f"teardown, {kind}", test.teardown)
            self._report.add(f"wait and teardown, {kind}", test.setup + test.teardown)


def main() -> None:
    arguments = read_arguments(
        __doc__,
        rounds=6,
        pool_tests=Size(4, 2, "tests in a suite with fresh sandboxes"),
        recycled_tests=Size(11, 2, "tests in a suite with recycled ones"),
        test_seconds=Size(8, 1, "how long a test takes that is to hide a start"),
        recycled_seconds=Size(
            2, 0, "how long a test takes that is to hide a renewal; 0: none does"
        ),
    )
    with ContainerEngine.connect() as engine:
        image = find_built(engine, target=MINIMAL_TARGET)
        if image is None:
            raise SystemExit("Build it first: agent-sandbox build")
        measure(
            engine,
            image,
            rounds=arguments.rounds,
            pool_tests=arguments.pool_tests,
            recycled_tests=arguments.recycled_tests,
            test_seconds=arguments.test_seconds,
            recycled_seconds=arguments.recycled_seconds,
        ).finish(arguments.json)


if __name__ == "__main__":
    main()
