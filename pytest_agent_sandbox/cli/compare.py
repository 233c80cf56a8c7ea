"""`agent-sandbox compare`: two runs side by side, and which differences are more than chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.evidence import folders, records, results_table, sections
from pytest_agent_sandbox.evidence.readable import dollars
from pytest_agent_sandbox.evidence.story import Row
from pytest_agent_sandbox.trials.statistics import (
    holm,
    mean_difference,
    rate_difference,
    wilson_interval,
)

#: A difference is called more than chance where chance makes one like it less often than this.
_LEVEL = 0.05
#: Such a share of the larger mean is no difference that anybody would want to hear of.
_NEGLIGIBLE = 0.02
_WIDTH = 24


@dataclass(frozen=True)
class _Measure:
    """Number of each trial that two runs are compared by."""

    name: str
    value: Callable[[Row], float | None]
    spell: Callable[[float], str]


_MEASURES = (
    _Measure("duration", lambda row: row.duration, "{:.1f} s".format),
    _Measure("steps", lambda row: float(row.steps), "{:.1f}".format),
    _Measure("LLM calls", lambda row: float(row.llm_calls), "{:.1f}".format),
    _Measure("tokens", lambda row: float(row.tokens), "{:,.0f}".format),
    _Measure("cost", lambda row: row.cost, dollars),
)


@dataclass
class _Line:
    """Comparison of one number."""

    name: str
    first: str
    second: str
    #: The same as numbers; None where they are not known.
    numbers: tuple[float | None, float | None]
    #: How likely chance alone makes such a difference; None where there is nothing to compare.
    chance: float | None = None
    direction: str = ""


@dataclass
class _Test:
    name: str
    lines: list[_Line] = field(default_factory=list)


@dataclass
class _Comparison:
    """Comparison of two runs."""

    tests: list[_Test]
    only_in_first: list[str]
    only_in_second: list[str]


def compare(first: Path, second: Path) -> str:
    """Return what two runs have in common, and where they differ, as text.

    The trials of a test are taken together; a test that ran once is one trial. What a sandbox or a
    budget made fail says nothing of the agent, and is left out.

    Args:
        first: A run's output folder.
        second: That of another.

    Raises:
        SettingsError: One of them holds no run.
    """
    found = _comparison(first, second)
    compared = found.tests
    lines = [f"A: {first}", f"B: {second}", "", f"{'':<{_WIDTH}}{'A':>{_WIDTH}}{'B':>{_WIDTH}}"]
    for test in compared:
        lines += ["", sections.printable(test.name)]
        lines += [_spelled(line) for line in test.lines]
    for only, label in ((found.only_in_first, "A"), (found.only_in_second, "B")):
        lines += [""] * bool(only)
        lines += [f"only in {label}: {sections.printable(name)}" for name in only]
    return "\n".join([*lines, "", *_summary(compared)]) + "\n"


def compare_for_programs(first: Path, second: Path) -> dict[str, Any]:
    """Return the same as a document of JSON; raises as `compare` does."""
    found = _comparison(first, second)
    return {
        "A": str(first),
        "B": str(second),
        "tests": [
            {"test": test.name, "measures": [_document(line) for line in test.lines]}
            for test in found.tests
        ],
        "only_in_A": found.only_in_first,
        "only_in_B": found.only_in_second,
    }


def _document(line: _Line) -> dict[str, Any]:
    return {
        "name": line.name,
        "A": line.numbers[0],
        "B": line.numbers[1],
        "direction": line.direction,
        "p": line.chance,
        "is_more_than_chance": _is_more_than_chance(line),
    }


def _comparison(first: Path, second: Path) -> _Comparison:
    one, other = (_tests(folder) for folder in (first, second))
    compared = [_compared(name, one[name], other[name]) for name in one if name in other]
    _correct([line for test in compared for line in test.lines])
    return _Comparison(
        compared,
        [name for name in one if name not in other],
        [name for name in other if name not in one],
    )


def _tests(folder: Path) -> dict[str, list[Row]]:
    """Return the trials of a run that say something of the agent, by their tests."""
    if not folders.is_ours(folder):
        raise SettingsError(
            f"{folder} holds no run. Give the output folders of two runs, such as agent-results "
            "and one that --sandbox-output named."
        )
    found: dict[str, list[Row]] = {}
    for row in results_table.rows(folder):
        is_telling = row.verdict in ("passed", "failed") and row.fault not in ("sandbox", "budget")
        if is_telling and not row.superseded:
            found.setdefault(row.group or row.test, []).append(row)
    return found


def _compared(name: str, first: Sequence[Row], second: Sequence[Row]) -> _Test:
    test = _Test(name)
    passed, passed_then = (sum(row.verdict == "passed" for row in rows) for rows in (first, second))
    test.lines.append(
        _Line(
            "passed",
            _rate(passed, len(first)),
            _rate(passed_then, len(second)),
            (passed / len(first), passed_then / len(second)),
            rate_difference(passed, len(first), passed_then, len(second)),
            _direction(passed / len(first), passed_then / len(second)),
        )
    )
    for measure in _MEASURES:
        values, others = (
            [value for row in rows if (value := records.number(measure.value(row))) is not None]
            for rows in (first, second)
        )
        if any(values) or any(others):
            test.lines.append(_mean_line(measure, values, others))
    return test


def _mean_line(measure: _Measure, first: Sequence[float], second: Sequence[float]) -> _Line:
    means = fmean(first) if first else None, fmean(second) if second else None
    left, right = ("not known" if mean is None else measure.spell(mean) for mean in means)
    line = _Line(measure.name, left, right, means)
    if first and second:
        line.direction = _direction(fmean(first), fmean(second))
        line.chance = mean_difference(first, second) if line.direction else None
    return line


def _direction(first: float, second: float) -> str:
    if abs(second - first) <= _NEGLIGIBLE * max(abs(first), abs(second)):
        return ""
    return "higher" if second > first else "lower"


def _correct(lines: Sequence[_Line]) -> None:
    """Correct the chances for the number of comparisons."""
    judged = [line for line in lines if line.chance is not None]
    chances = holm([line.chance for line in judged if line.chance is not None])
    for line, chance in zip(judged, chances, strict=True):
        line.chance = chance


def _rate(passed: int, counted: int) -> str:
    low, high = wilson_interval(passed, counted)
    return f"{passed}/{counted} ({low:.0%} to {high:.0%})"


def _spelled(line: _Line) -> str:
    text = f"  {line.name:<{_WIDTH - 2}}{line.first:>{_WIDTH}}{line.second:>{_WIDTH}}"
    if not line.direction:
        return text
    if line.chance is None or not _is_more_than_chance(line):
        return f"{text}  {line.direction}, may be chance"
    return f"{text}  {line.direction} (p = {line.chance:.2g})"


def _is_more_than_chance(line: _Line) -> bool:
    return line.chance is not None and line.chance < _LEVEL and bool(line.direction)


def _summary(compared: Sequence[_Test]) -> Iterator[str]:
    different = sum(_is_more_than_chance(line) for test in compared for line in test.lines)
    noun = "test" if len(compared) == 1 else "tests"
    if not compared:
        yield "no test is in both"
        return
    are = "difference is" if different == 1 else "differences are"
    yield f"{len(compared)} {noun} in both; {different} {are} more than chance"
    if not different:
        yield "(with few trials only large differences are: --agent-trials=20 tells more)"
