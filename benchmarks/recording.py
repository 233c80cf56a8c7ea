"""What the suites write down for the benchmark that runs them: lines of JSON in one file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

#: The variable that names the file.
FILE = "BENCHMARK_RECORD"


def record(kind: str, **values: Any) -> None:
    """Adds a line."""
    with Path(os.environ[FILE]).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"kind": kind, **values}) + "\n")


def recorded(file: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind, in order."""
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line["kind"] == kind]
