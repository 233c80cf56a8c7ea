"""The time before each line of a service's log."""

from __future__ import annotations

from pathlib import Path

from pytest_agent_sandbox.evidence.clock import Clock
from pytest_agent_sandbox.evidence.log_lines import read_stamped
from pytest_agent_sandbox.host.log_file import LogFile
from pytest_agent_sandbox.sandbox.services.log_stamps import stamped, without_stamps

PRINTED = "first\n\n  2026-01-01 FATAL:  no such role\nWARN: low\nlast"


def test_a_log_is_given_back_as_it_was_printed(tmp_path: Path) -> None:
    text = _written(tmp_path / "service-db.log").read_text("utf-8")
    assert text.startswith("20")
    assert without_stamps(text) == PRINTED


def test_evidence_reads_the_time_and_what_seems_to_be_the_level(tmp_path: Path) -> None:
    lines = read_stamped(_written(tmp_path / "service-db.log"), Clock(0.0), "db")
    assert [line.text for line in lines] == PRINTED.split("\n")
    assert [line.level for line in lines] == ["", "", "ERROR", "WARNING", ""]
    assert all(line.time is not None and line.time > 1.7e9 for line in lines)
    assert {line.container for line in lines} == {"db"}


def test_secrets_are_masked_before_that(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "x.log", stamped(lambda line: line.replace("hunter2", "<secret>")))
    log.write(b"password hunter2\n")
    log.close()
    assert without_stamps((tmp_path / "x.log").read_text("utf-8")) == "password <secret>\n"


def test_a_log_that_is_missing_has_no_lines(tmp_path: Path) -> None:
    assert read_stamped(tmp_path / "none.log", Clock(0.0), "db") == []


def _written(path: Path) -> Path:
    log = LogFile(path, stamped(str))
    log.write(PRINTED.encode())
    log.flush()
    log.close()
    return path
