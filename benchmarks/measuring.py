"""What the benchmarks share: their arguments, and a report as text and JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Size(NamedTuple):
    """A number that says how large a benchmark is.

    Attributes:
        usual: What it is unless told otherwise.
        quick: What it is with `--quick`.
        meaning: For `--help`.
    """

    usual: int
    quick: int
    meaning: str


def read_arguments(
    description: str | None, *, rounds: int | None, **sizes: Size
) -> argparse.Namespace:
    """The command line: `quick`, `json`, `rounds` and further sizes.

    Args:
        description: What the benchmark is, for `--help`.
        rounds: How many rounds there usually are; None where it has none.
        sizes: Further numbers, by their names.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there too")
    parser.add_argument("--quick", action="store_true", help="as small as can be, to see it work")
    if rounds is not None:
        sizes = {"rounds": Size(rounds, 1, "how often everything is done"), **sizes}
    for name, size in sizes.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=int, help=f"{size.meaning} (default: {size.usual})")
    arguments = parser.parse_args()
    for name, size in sizes.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, size.quick if arguments.quick else size.usual)
        if getattr(arguments, name) < size.quick:
            parser.error(f"--{name.replace('_', '-')}: at least {size.quick}")
    return arguments


class Report:
    """Samples by name, and how some of them compare.

    Args:
        title: What was measured.
        facts: On what it was measured; machine and Python are added.
    """

    def __init__(self, title: str, **facts: str) -> None:
        self._title = title
        self._facts = {
            **facts,
            "cores": str(os.cpu_count()),
            "machine": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
        }
        self._milliseconds: dict[str, list[float]] = {}
        self._comparisons: dict[str, dict[str, float]] = {}
        self._series: dict[str, Sequence[float]] = {}

    def add(self, name: str, seconds: float) -> None:
        """Adds one sample."""
        self._milliseconds.setdefault(name, []).append(seconds * 1000)

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Adds one sample: how long the block takes."""
        began = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - began)

    def ratio(self, name: str, ours: str, floor: str) -> None:
        """Compares two names' samples: how many times as long ours take."""
        mine, least = self._summary(ours), self._summary(floor)
        self._comparisons[name] = {key: mine[key] / least[key] for key in mine}

    def difference(self, name: str, ours: str, floor: str) -> None:
        """Compares two names' samples: how many milliseconds longer ours take."""
        mine, least = self._summary(ours), self._summary(floor)
        self._comparisons[name] = {key: mine[key] - least[key] for key in mine}

    def value(self, name: str, number: float) -> None:
        """Adds a number that was worked out from the samples' medians."""
        self._comparisons[name] = {"median": number}

    def series(self, name: str, numbers: Sequence[float]) -> None:
        """Adds numbers that are for the JSON only: what was counted or weighed again and again."""
        self._series[name] = numbers

    def median(self, name: str) -> float:
        """The median of a name's samples, in milliseconds."""
        return statistics.median(self._milliseconds[name])

    def finish(self, file: Path | None) -> None:
        """Prints the report; writes it as JSON too where a file is given."""
        print(f"{self._title} ({', '.join(f'{key}: {text}' for key, text in self._facts.items())})")
        width = max(map(len, [*self._milliseconds, *self._comparisons]))
        print(f"{'':{width}}  {'median':>12}  {'minimum':>12}")
        for name in self._milliseconds:
            cells = (f"{number:9.1f} ms" for number in self._summary(name).values())
            print(f"{name:{width}}  {'  '.join(cells)}")
        for name, numbers in self._comparisons.items():
            print(f"{name:{width}}  {'  '.join(f'{number:12.3f}' for number in numbers.values())}")
        if file is not None:
            file.write_text(json.dumps(self._as_json(), indent=2) + "\n", encoding="utf-8")

    def _summary(self, name: str) -> dict[str, float]:
        return {"median": self.median(name), "minimum": min(self._milliseconds[name])}

    def _as_json(self) -> dict[str, object]:
        return {
            "title": self._title,
            "facts": self._facts,
            "milliseconds": {
                name: {**self._summary(name), "samples": samples}
                for name, samples in self._milliseconds.items()
            },
            "comparisons": self._comparisons,
            "series": self._series,
        }
