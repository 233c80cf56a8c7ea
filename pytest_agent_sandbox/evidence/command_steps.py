"""Steps out of commands.jsonl: the commands that a test itself ran in its sandbox."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_agent_sandbox.evidence.story import Part, Step

_LONGEST = 300


def build_steps(records: Iterable[Mapping[str, Any]], started: float) -> Iterator[Step]:
    """Build the steps, in the order of the commands."""
    for record in records:
        time, duration = record.get("time"), record.get("duration")
        command = str(record.get("command", ""))
        code = "timed out" if record.get("timed_out") else str(record.get("exit_code", ""))
        outputs = {"output": record.get("stdout"), "errors": record.get("stderr")}
        parts = [Part(label="command", text=command)]
        parts += [
            Part(label=label, text=str(text), format="terminal")
            for label, text in outputs.items()
            if text
        ]
        facts = [("exit code", code)]
        if image := record.get("image"):
            copied = ", ".join(map(str, record.get("copied") or ())) or "nothing"
            facts += [("ran in", f"a fresh container of {image}"), ("with a copy of", copied)]
        yield Step(
            kind="test",
            title="test",
            summary=" ".join(command[:_LONGEST].split()),
            time=time - started if isinstance(time, int | float) else None,
            duration=duration if isinstance(duration, int | float) else None,
            facts=facts,
            parts=parts,
        )
