"""All benchmarks, one after the other: every number in one JSON, and the comparisons at the end.

One that fails, as where an image is missing that it wants, does not keep the others.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import read_arguments

NAMES = (
    *("cold_start", "upstream", "suite", "growth", "soak", "network", "memory", "services"),
    *(
        "full_sandbox",
        "client",
        "gateway",
        "cassettes",
        "evidence",
        "import_time",
        "trials",
        "pods",
        "simulated_pods",
    ),
)
_HERE = Path(__file__).parent


def run(name: str, *, is_quick: bool) -> dict[str, Any] | None:
    """Runs a benchmark; its report, unless it failed."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "report.json")
        command = [sys.executable, str(_HERE / f"{name}.py"), f"--json={file}"]
        if subprocess.run([*command, *["--quick"] * is_quick], check=False).returncode != 0:
            return None
        return dict(json.loads(file.read_text(encoding="utf-8")))


def print_comparisons(reports: dict[str, dict[str, Any]]) -> None:
    for report in reports.values():
        print(f"\n{report['title']}")
        for name, numbers in report["comparisons"].items():
            print(f"  {name:55}  {numbers['median']:12.3f}")


def main() -> None:
    arguments = read_arguments(__doc__, rounds=None)
    reports, failed = {}, []
    for name in NAMES:
        print(f"-- {name}", flush=True)
        report = run(name, is_quick=arguments.quick)
        if report is None:
            failed.append(name)
        else:
            reports[name] = report
    print_comparisons(reports)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(reports, indent=2) + "\n", encoding="utf-8")
    if failed:
        raise SystemExit(f"These failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
