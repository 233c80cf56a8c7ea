"""What the terminal says of a run's sandboxes."""

from __future__ import annotations

import json

from pytest_agent_sandbox.sandbox.statistics import SandboxStatistics


def test_nothing_is_said_of_no_sandbox() -> None:
    assert SandboxStatistics().lines(verbose=True) == []
    assert SandboxStatistics.sum_of([]).lines(verbose=True) == []


def test_one_sandbox() -> None:
    numbers = SandboxStatistics()
    numbers.add("test_a.py::test_x", "started", 5.25, 5.125)
    assert numbers.lines(verbose=True) == [
        "agent-sandbox: 1 sandbox started (p50 5.1 s, p95 5.1 s), tests waited 5.2 s for them "
        "(p50 5.2 s, p95 5.2 s)",
        "agent-sandbox: the longest wait: 5.2 s, test_a.py::test_x",
    ]


def test_all_workers_together() -> None:
    one, two = SandboxStatistics(), SandboxStatistics()
    one.add("a", "awaited", 5.0, 5.0)
    one.add("b", "warm", 0.04, 5.0)
    two.add("c", "started", 6.0, 6.0)
    for number in range(7):
        two.add(f"d{number}", "reused", 0.01, 6.0)
    two.resets += [0.05] * 7
    two.unused += 2
    two.thrown_away += ["reused 100 times", "its container has ended", "reused 100 times"]
    parts = json.loads(json.dumps([one.as_json(), two.as_json()]))  # as xdist hands them over
    assert SandboxStatistics.sum_of(parts).lines(verbose=True) == [
        "agent-sandbox: 3 sandboxes started (p50 5.0 s, p95 5.9 s), 2 of them ahead, 1 ready in "
        "time, 2 more that no test came to use, 7 reused (cleaned in 50 ms), tests waited 11.1 s "
        "for them (p50 10 ms, p95 5.5 s)",
        "agent-sandbox: the longest wait: 6.0 s, c",
        "agent-sandbox: thrown away instead of reused: 2 (reused 100 times)",
        "agent-sandbox: thrown away instead of reused: 1 (its container has ended)",
    ]


def test_reasons_are_few_and_readable() -> None:
    numbers = SandboxStatistics()
    numbers.add("a", "started", 0.1, 5.0)
    numbers.thrown_away += [f"/tmp/{number}\udcff\x1b" + "x" * 500 for number in range(8)]
    lines = numbers.lines(verbose=True)[1:]
    assert len(lines) == 6
    assert lines[0].startswith("agent-sandbox: thrown away instead of reused: 1 (/tmp/0\\udcff")
    assert all(len(line) < 250 and line.isprintable() for line in lines)
    assert lines[-1] == "agent-sandbox: and 3 for other reasons"


def test_a_short_wait_is_nobodys_slowest() -> None:
    numbers = SandboxStatistics()
    numbers.add("a", "warm", 0.05, 5.0)
    (line,) = numbers.lines(verbose=True)
    assert "1 of them ahead, 1 ready in time" in line


def test_without_v_only_a_long_wait_is_told() -> None:
    numbers = SandboxStatistics()
    numbers.add("a", "started", 9.0, 9.0)
    assert numbers.lines(verbose=False) == []
    numbers.add("b", "started", 31.2, 31.2)
    numbers.add("c", "started", 25.0, 25.0)
    assert numbers.lines(verbose=False) == [
        "agent-sandbox: b waited 31 s for its sandbox; -v tells more"
    ]
