"""Whatever a hostile sandbox sends: it is written inside of the folder, and shown as text."""

from __future__ import annotations

import io
import json
import random
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from pytest_agent_sandbox.client.commands import CommandResult
from pytest_agent_sandbox.client.events import parse_event
from pytest_agent_sandbox.evidence import live_view
from pytest_agent_sandbox.evidence.recorder import Recorder
from pytest_agent_sandbox.host.redaction import Redactor
from pytest_agent_sandbox.plugin.report.complete import complete
from tests.support.hostile import events as hostile


@dataclass
class Phase:
    outcome: str = "failed"
    duration: float = 1.0
    error: str = ""
    fault: str = "assertion"
    report: str = ""


def is_harmless(character: str) -> bool:
    """Whether a terminal shows it, and does nothing else with it."""
    return character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs")


@pytest.mark.parametrize("seed", range(12))
def test_evidence_of_a_hostile_conversation(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    output = tmp_path / "results"
    recorder = Recorder(output, "t.py::test_x", Redactor(), rerun="pytest t.py")
    log = "\n".join(source.choices(hostile.TEXTS, k=20))
    recorder.new_log().write_text(log, "utf-8", errors="replace")
    seen = io.StringIO()
    view = live_view.LiveView(Console(file=seen, width=100))
    for _ in range(150):
        event = parse_event(hostile.event(source))
        recorder.record_event("1", event)
        view(event)
    text = source.choice(hostile.TEXTS).encode(errors="replace").decode()
    recorder.record_command(CommandResult(text, 1, text, text, duration=0.1))
    recorder.record_conversation(1, status=text, cost=source.choice(hostile.NUMBERS))
    head = f"diff --git a/{text} b/{text}\n--- a/{text}\n+++ b/{text}\n"
    recorder.record_diff("c", f"{head}@@ -1 +1 @@\n+{text}\n")
    recorder.note(text)
    told = complete(recorder, {"call": Phase(error=text, report=text)})

    for title, section in [*told, ("live", seen.getvalue())]:
        bad = {character for character in section if not is_harmless(character)}
        assert not bad, (title, bad)
    page = (recorder.folder / "transcript.html").read_text("utf-8")
    data = re.search(r'<script[^>]*id="story"[^>]*>(.*?)</script>', page, re.S)
    assert data is not None
    json.loads(data[1], parse_constant=pytest.fail)
    rest = page.replace(data[1], "")
    assert "<img" not in rest
    assert rest.count("<script") == 2
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} <= {
        output,
        recorder.folder,
    }
