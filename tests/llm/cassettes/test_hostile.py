"""Files in the place of cassettes that mean harm: a clear error, in time, or a replay."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox.errors import CassetteError
from pytest_agent_sandbox.llm.cassettes import cassette
from pytest_agent_sandbox.llm.cassettes.cassette import Cassette
from pytest_agent_sandbox.llm.cassettes.new_interaction import _parsed
from tests.support.hostile import cassettes


def test_whatever_is_in_its_place() -> None:
    """For longer: scripts/fuzz cassettes."""
    cassettes.run(seed=0, count=150)


def nested(levels: int) -> Any:
    inner: Any = []
    for _ in range(levels):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("headers", {"a\r\nb": "c"}, "headers.a"),
        ("headers", {"a": "b\r\nSet-Cookie: c"}, "headers.a"),
        ("headers", {"a": "€"}, "headers.a"),
        ("headers", {"a": 5}, "headers.a"),
        ("headers", {"Content-Length": "5"}, "content-length"),
        ("headers", {"transfer-encoding": "chunked"}, "transfer-encoding"),
        ("status", 99, "status"),
        ("status", 1000, "status"),
        ("status", True, "status"),
        ("cost", float("nan"), "cost"),
        ("cost", -1, "cost"),
        ("cost", "1", "cost"),
        ("ms", "1", "ms"),
        ("base64", "?", "base64"),
        ("events", [{"ms": 1, "event": "a\nb", "data": 1}], "event"),
        ("events", [{"ms": 1}], "data"),
        ("body", nested(300), "deeper than 250"),
    ],
)
def test_what_no_answer_can_have_is_said(
    tmp_path: Path, field: str, value: Any, words: str
) -> None:
    content = copy.deepcopy(cassettes.WHOLE)
    content["lanes"]["1"][0]["answer"][field] = value
    assert words in _complaint(tmp_path, json.dumps(content))


def test_the_one_that_they_are_made_of_is_replayed(tmp_path: Path) -> None:
    (tmp_path / "whole.json").write_text(json.dumps(cassettes.WHOLE), "utf-8")
    assert len(Cassette.load(tmp_path / "whole.json").lanes["1"]) == 4


def test_a_long_value_is_not_quoted_whole(tmp_path: Path) -> None:
    long = "x" * 100_000
    for change in ({"version": long}, {"lanes": {long: 1}}):
        assert len(_complaint(tmp_path, json.dumps(cassettes.WHOLE | change))) < 2000


def test_an_answer_that_is_too_deep_to_be_read_is_kept_as_text() -> None:
    """What is written can be read."""
    text = json.dumps(nested(300)).encode()
    assert _parsed(text) == text.decode()
    assert _parsed(b"[[]]") == [[]]


@pytest.mark.skipif(os.name == "nt", reason="Windows has none of these")
def test_what_has_no_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name in ("pipe", "zeros"):
        with pytest.raises(CassetteError, match="cannot be read: there is no such file"):
            Cassette.load(tmp_path / name)


def test_what_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cassette, "_LARGEST", 1 << 20)
    with (tmp_path / "large").open("wb") as large:
        large.truncate(10 << 20)
    with pytest.raises(CassetteError, match="it is larger than 1 MB"):
        Cassette.load(tmp_path / "large")


def _complaint(folder: Path, text: str) -> str:
    file = folder / "odd.json"
    file.write_text(text, "utf-8")
    with pytest.raises(CassetteError) as failure:
        Cassette.load(file)
    return str(failure.value)
