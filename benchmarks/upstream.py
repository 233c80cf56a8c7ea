"""Upstream and ours: how long a test waits for its sandbox, and until it is gone.

The contenders take turns, on the same engine and image: `docker run`, upstream's `DockerWorkspace`,
ours, and two suites run by pytest, where a test waits for as long as its setup takes. In one of
them sandboxes are fresh and the tests long enough for the pool to start the next one meanwhile; in
the other one they are recycled and the tests short. The first test of a suite, for which nothing
can be there yet, counts on its own.
"""

from __future__ import annotations

from collections.abc import Callable

from cold_start import Floor, Ours, warm_up
from measuring import Report, Size, read_arguments
from running import run_suite
from upstream_client import UpstreamClient, build_client

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import MINIMAL_TARGET, Image, find_built

Turn = Callable[[], None]


def measure(
    engine: ContainerEngine,
    image: Image,
    *,
    rounds: int,
    pool_tests: int,
    recycled_tests: int,
    test_seconds: int,
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
        for number in range(rounds):
            # Who comes next finds the machine a little different: that goes to each in turn.
            start = number % len(turns)
            for turn in turns[start:] + turns[:start]:
                turn()
    report.ratio("up, ours / floor", "up, ours", f"up, {floor.tool}")
    report.ratio("up, upstream / floor", "up, upstream", f"up, {floor.tool}")
    report.ratio("up, upstream / wait with pool", "up, upstream", "wait, pool")
    report.ratio(
        "up and down, upstream / recycled", "up and down, upstream", "wait and teardown, recycled"
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

    def recycled(self, tests: int) -> None:
        recycled = "--sandbox-isolation=recycled"
        first, *others = run_suite("workspaces", recycled, image=self._image, tests=tests).tests
        self._report.add("wait, recycled, first test", first.setup)
        for test in others:
            self._report.add("wait, recycled", test.setup)
            self._report.add("teardown, recycled", test.teardown)
            self._report.add("wait and teardown, recycled", test.setup + test.teardown)


def main() -> None:
    arguments = read_arguments(
        __doc__,
        rounds=6,
        pool_tests=Size(4, 2, "tests in a suite with fresh sandboxes"),
        recycled_tests=Size(11, 2, "tests in a suite with recycled ones"),
        test_seconds=Size(8, 1, "how long a test takes that is to hide a start"),
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
        ).finish(arguments.json)


if __name__ == "__main__":
    main()
