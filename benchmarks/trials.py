"""Verdicts on a real agent that fails one time in four: how often they are right, and their price.

Each group is a test with ten trials, of which six have to pass; with --quick they are three. The
draws are the same in each run, so that runs with and without early stop, with one worker and with
four, can be compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from math import comb
from pathlib import Path

from measuring import Report, Size, read_arguments
from recording import FILE
from suites.test_trials import RATE, WANTED

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import choose_image, ensure_image
from pytest_agent_sandbox.trials.group import Plan
from pytest_agent_sandbox.trials.statistics import wilson_interval

_SUITES = Path(__file__).parent / "suites"


def measure(
    engine: ContainerEngine, image: str, groups: int, workers: int, trials: int, *, is_quick: bool
) -> Report:
    report = Report("Trials", image=image, engine=engine.description, groups=str(groups))
    needed = Plan(trials, WANTED).needed(trials)
    promised = sum(
        comb(trials, k) * RATE**k * (1 - RATE) ** (trials - k) for k in range(needed, trials + 1)
    )
    early = _run(report, "early stop, -n 0", image, groups, trials)
    spread = _run(report, f"early stop, -n {workers}", image, groups, trials, f"-n{workers}")
    assert early.keys() == spread.keys()
    differing = sum(early[test]["verdict"] != spread[test]["verdict"] for test in early)
    report.value(f"verdicts that differ with -n {workers}", differing)
    report.value("share of right verdicts", _right(early))
    report.value("the same, promised for all trials", promised)
    counted = sum(group["counted"] for group in early.values())
    report.value("share of trials spared", 1 - counted / (trials * groups))
    if not is_quick:
        whole = _run(report, "all trials, -n 2", image, groups, trials, "-n2", seconds=1)
        report.value("share of right verdicts, all trials", _right(whole))
        held = [wilson_interval(group["passed"], group["counted"]) for group in whole.values()]
        inside = sum(low <= RATE <= high for low, high in held) / groups
        report.value("share of intervals that hold the true rate", inside)
    return report


def _right(groups: dict[str, dict]) -> float:
    return sum(group["verdict"] == "passed" for group in groups.values()) / len(groups)


def _run(
    report: Report,
    name: str,
    image: str,
    groups: int,
    trials: int,
    *options: str,
    seconds: int = 0,
) -> dict[str, dict]:
    """The groups of a run, by their tests; its failures are part of it."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        finished = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", f"--rootdir={_SUITES}"),
                *("-c", str(_SUITES / "pytest.ini"), str(_SUITES / "test_trials.py")),
                *(f"--sandbox-image={image}", f"--sandbox-output={folder}/results"),
                *("--sandbox-isolation=recycled", *options),
            ],
            cwd=folder,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
                "PYTHONPATH": os.pathsep.join(
                    [str(_SUITES.parent), os.environ.get("PYTHONPATH", "")]
                ),
                FILE: f"{folder}/record.jsonl",
                "BENCHMARK_TESTS": str(groups),
                "BENCHMARK_TRIALS": str(trials),
                "BENCHMARK_SECONDS": str(seconds),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        report.add(name, time.perf_counter() - began)
        lines = Path(folder, "results", "trials.jsonl")
        if finished.returncode not in (0, 1) or not lines.exists():
            raise RuntimeError(finished.stdout)
        found = [json.loads(line) for line in lines.read_text("utf-8").splitlines()]
        assert len(found) == groups
        return {group["test"]: group for group in found}


def main() -> None:
    arguments = read_arguments(
        __doc__,
        rounds=None,
        groups=Size(200, 1, "tests, of as many trials each"),
        trials=Size(10, 3, "trials of a test"),
        workers=Size(4, 2, "workers of the run that is compared"),
    )
    with ContainerEngine.connect() as engine:
        image = ensure_image(
            engine, choose_image(engine, os.environ.get("PYTEST_SANDBOX_IMAGE"))
        ).reference
        measure(
            engine,
            image,
            arguments.groups,
            arguments.workers,
            arguments.trials,
            is_quick=arguments.quick,
        ).finish(arguments.json)


if __name__ == "__main__":
    main()
