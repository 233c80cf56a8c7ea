"""`agent-sandbox show`."""

import io
import sys

import pytest

from pytest_agent_sandbox.cli import main
from pytest_agent_sandbox.cli import show as module
from pytest_agent_sandbox.cli.show import show
from pytest_agent_sandbox.client.events import parse_event
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.evidence import folders, results_table
from pytest_agent_sandbox.evidence.recorder import Recorder
from pytest_agent_sandbox.evidence.result import Result
from pytest_agent_sandbox.host.redaction import Redactor
from pytest_agent_sandbox.plugin.report.complete import complete_interrupted

EVIL = "\x1b[2J\u202e\r\n::error::x ##[group]"
MESSAGE = {
    "id": "1",
    "kind": "MessageEvent",
    "source": "agent",
    "timestamp": "2026-01-01T10:00:00",
    "llm_message": {"role": "assistant", "content": [{"type": "text", "text": f"hello {EVIL}"}]},
}


@pytest.fixture
def output(tmp_path):
    """What a run has left whose pytest was killed in its second test."""
    output = tmp_path / "agent-results"
    folders.begin_run(output, "run")
    failed = Recorder(output, "t.py::test_failed", Redactor())
    failed.record_event("1", parse_event(MESSAGE))
    failed.result.verdict, failed.result.fault = "failed", "agent"
    failed.result.headline, failed.result.duration = f"E: {EVIL}", 12.5
    failed.result.phases = {"call": {"outcome": "failed", "report": f">   assert {EVIL}"}}
    complete_interrupted(failed)
    results_table.add(output, failed.result, failed.folder)
    Recorder(output, "t.py::test_killed", Redactor())
    results_table.add(
        output, Result(test="t.py::test_passed", verdict="passed", duration=1.0), None
    )
    return output


@pytest.fixture
def folder(output):
    return output / folders.folder_name("t.py::test_failed")


@pytest.fixture
def show_on_desktop(monkeypatch):
    """Shows something where there is a browser; returns the addresses that it was given."""
    monkeypatch.setenv("DISPLAY", ":0")

    def show_on_desktop(path, *, as_text=False, opens=True):
        opened = []
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(module.webbrowser, "open", lambda url: opened.append(url) or opens)
        show(path, as_text=as_text)
        return opened

    return show_on_desktop


def test_a_test(folder, capsys):
    show(folder, as_text=True)
    text = capsys.readouterr().out
    assert text.startswith("t.py::test_failed: failed. E:")
    assert "--- what pytest says of call\n>   assert" in text
    assert "--- agent transcript\n" in text
    assert "hello" in text
    assert "fault: the agent" in text
    assert str(folder / "transcript.html") in text


def test_a_run(output, capsys):
    show(output, as_text=True)
    lines = capsys.readouterr().out.splitlines()
    assert [
        line.rstrip() for line in lines if line.endswith(("_failed", "_killed", "_passed"))
    ] == [
        "passed       1.0s  t.py::test_passed",
        "failed      12.5s  t.py::test_failed",
        "running            t.py::test_killed",
    ]
    assert any(line.strip() == folders.folder_name("t.py::test_killed") for line in lines)
    assert lines[-1] == "3 tests with a sandbox, 1 failed"


@pytest.mark.parametrize("name", ["result.json", "transcript.html", "events.jsonl"])
def test_a_file_of_a_test(folder, name, capsys):
    show(folder / name, as_text=True)
    assert capsys.readouterr().out.startswith("t.py::test_failed")


@pytest.mark.parametrize("name", ["results.jsonl", ".agent-results"])
def test_a_file_of_a_run(output, name, capsys):
    show(output / name, as_text=True)
    assert "3 tests with a sandbox" in capsys.readouterr().out


def test_the_folder_one_is_in(folder, output, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["show", ".", "--text"]) == 0
    assert "t.py::test_failed: failed" in capsys.readouterr().out
    monkeypatch.chdir(output.parent)
    assert main(["show"]) == 0
    assert "3 tests with a sandbox" in capsys.readouterr().out


def test_a_path_that_is_not_there_is_named(output, capsys):
    # Not even where its parent is a run's folder.
    for path in (output / "typo", output.parent / "typo", output / "typo" / "result.json"):
        with pytest.raises(SettingsError, match="does not exist") as caught:
            show(path, as_text=True)
        assert str(path) in str(caught.value)
    assert main(["show", str(output / "typo")]) == 1
    captured = capsys.readouterr()
    assert str(output / "typo") in captured.err
    assert "Give the folder of a run" in captured.err
    assert captured.out == ""


def test_a_path_that_holds_nothing_is_named(tmp_path):
    (tmp_path / "notes.txt").touch()
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(SettingsError, match="holds no result") as caught:
            show(path, as_text=True)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b'{"phases": 5}', b"\xff", b"[" * 100_000])
def test_a_damaged_result(folder, content, capsys):
    for name in ("result.json", "events.jsonl", "llm-calls.jsonl", "container.log"):
        (folder / name).write_bytes(content)
    show(folder, as_text=True)
    show(folder.parent, as_text=True)
    assert "--- agent evidence" in capsys.readouterr().out


def test_only_the_last_attempt_counts(output, capsys):
    for attempt, verdict in ((1, "failed"), (2, "passed")):
        flaky = Result(test="t.py::test_flaky", attempt=attempt, verdict=verdict, started=attempt)
        results_table.add(output, flaky, None)
    show(output, as_text=True)
    text = capsys.readouterr().out
    assert "t.py::test_flaky (attempt 2)" in text
    assert text.endswith("4 tests with a sandbox, 1 failed\n")


def test_an_empty_run(tmp_path, capsys):
    folders.begin_run(tmp_path / "x", "run")
    show(tmp_path / "x", as_text=True)
    assert capsys.readouterr().out == "0 tests with a sandbox, 0 failed\n"


def test_nothing_steers_the_terminal(folder, capsys):
    show(folder, as_text=True)
    show(folder.parent, as_text=True)
    text = capsys.readouterr().out
    assert not set(text) & set("\x1b\r\u202e")
    assert "##[" not in text
    assert not [line for line in text.splitlines() if line.strip().startswith("::")]


def test_a_terminal_that_cannot_show_every_letter(folder, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    show(folder, as_text=True)
    out.flush()
    assert b"hello ?" in out.buffer.getvalue()


def test_a_browser_shows_the_page(folder, show_on_desktop, capsys):
    page = folder / "transcript.html"
    page.unlink()
    assert show_on_desktop(folder) == [page.as_uri()]
    assert page.exists()
    assert capsys.readouterr().out == f"agent-sandbox: opening {page}\n"


def test_a_browser_shows_the_run_and_each_test_has_its_page(output, show_on_desktop):
    assert show_on_desktop(output) == [(output / "index.html").as_uri()]
    assert (output / folders.folder_name("t.py::test_killed") / "transcript.html").exists()


def test_text_wins_over_a_browser(folder, show_on_desktop, capsys):
    assert show_on_desktop(folder, as_text=True) == []
    assert "t.py::test_failed: failed" in capsys.readouterr().out


def test_a_browser_that_does_not_open_leaves_the_text(folder, show_on_desktop, capsys):
    show_on_desktop(folder, opens=False)
    assert "t.py::test_failed: failed" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="has a screen always")
def test_without_a_screen_there_is_text(folder, show_on_desktop, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert show_on_desktop(folder) == []
    assert "t.py::test_failed: failed" in capsys.readouterr().out


def test_a_page_that_cannot_be_written(folder, show_on_desktop, monkeypatch):
    def full(folder, story):
        raise OSError("no space left")

    (folder / "transcript.html").unlink()
    monkeypatch.setattr(module, "write_page", full)
    with pytest.raises(SettingsError, match=r"transcript\.html cannot be written: no space left"):
        show_on_desktop(folder)
