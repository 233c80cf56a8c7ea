"""Versions of the agent server: what is known, and the warning of those that were not tested."""

from __future__ import annotations

import warnings

import pytest

from pytest_agent_sandbox.client import versions
from pytest_agent_sandbox.client.versions import AgentServerVersionWarning, Difference


@pytest.fixture(autouse=True)
def _nothing_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_warned", set())
    monkeypatch.setattr(versions, "TESTED", ((1, 20), (1, 58)))
    known = Difference("fork", (1, 30), "there is none")
    monkeypatch.setattr(versions, "DIFFERENCES", (known,))


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("1.59.0", "'1.59.0'; this client was tested with 1.20 to 1.58. Nothing is known"),
        ("2.0.0a1", "'2.0.0a1'"),
        ("1.19.9", "Known to differ:\n- fork: there is none"),
        ("1.59" + "x" * 10_000, "xxx'; this"),
    ],
)
def test_a_version_that_was_not_tested_is_warned_of_once(version: str, words: str) -> None:
    with warnings.catch_warnings(record=True, action="always") as caught:
        for _ in range(2):
            versions.warn_if_untested(version)
    (warning,) = caught
    assert warning.category is AgentServerVersionWarning
    assert words in str(warning.message)
    assert len(str(warning.message)) < 300


@pytest.mark.parametrize("version", ["1.20.0", "1.58.2", "1.30", "", "unknown", "v"])
def test_others_are_not(version: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        versions.warn_if_untested(version)


def test_differences_are_those_of_the_version() -> None:
    assert [one.name for one in versions.differences("1.29.3")] == ["fork"]
    assert versions.differences("1.30.0") == []
    assert versions.differences("unknown") == []


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.58.2", ("/api/file/upload", {"path": "/a b?"})),
        ("", ("/api/file/upload", {"path": "/a b?"})),
        ("1.12.0", ("/api/file/upload//a%20b%3F", {})),
    ],
)
def test_where_a_file_goes(version: str, expected: tuple[str, dict[str, str]]) -> None:
    assert versions.file_request(version, "upload", "/a b?") == expected


def test_what_a_version_cannot_do_is_told() -> None:
    assert versions.has("1.18.0", versions.FORK)
    assert not versions.has("1.17.3", versions.FORK)
    assert versions.lacking("1.17.3", "fork a conversation", versions.FORK) == (
        "The agent server is of version 1.17.3, which cannot fork a conversation; agent servers "
        "since 1.18 can."
    )
