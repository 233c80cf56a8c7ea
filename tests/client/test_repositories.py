"""Repositories as they are asked for; tests/interop/test_scenarios.py clones some."""

from __future__ import annotations

import subprocess

import pytest
from pydantic import BaseModel

from pytest_agent_sandbox.client.repositories import (
    CloneResult,
    RepoMapping,
    as_repository,
    repos_context,
    unique_folders,
)
from pytest_agent_sandbox.errors import SettingsError


class Source(BaseModel):
    url: str
    ref: str | None = None
    provider: str | None = None


@pytest.mark.parametrize(
    ("given", "url", "folder", "token"),
    [
        ("https://github.com/o/r", "https://github.com/o/r", "r", "github_token"),
        ("https://gitlab.com/o/r.git/", "https://gitlab.com/o/r.git/", "r", "gitlab_token"),
        ("https://github.com.evil.example/o/r", None, "r", None),
        ("http://github.com/o/r", None, "r", None),
        ("git@github.com:o/r.git", None, "r", None),
        ("file:///srv/a b", None, "a_b", None),
        ("/srv/..", None, "repo", None),
        ({"url": "o/r", "provider": "github"}, "https://github.com/o/r", "r", "github_token"),
        (
            {"url": "https://git.example/o/r", "provider": "gitlab"},
            "https://git.example/o/r",
            "r",
            "gitlab_token",
        ),
        (Source(url="o/r", provider="bitbucket"), "https://bitbucket.org/o/r", "r", None),
    ],
)
def test_what_is_asked_for(
    given: str | dict[str, str] | Source, url: str | None, folder: str, token: str | None
) -> None:
    asked = as_repository(given)
    assert asked.url == (url or given)
    assert asked.folder == folder
    assert asked.token_name == (token or ("bitbucket_token" if isinstance(given, Source) else None))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("o/r", "whole address"),
        ({"url": "o/r", "provider": "azure_devops"}, "whole address"),
        ({"url": "o/r", "provider": "svn"}, "there are github"),
        ({"url": "https://x/r", "ref": "--upload-pack=x"}, "no branch"),
        ({"url": "https://x/r", "branch": "main"}, "no 'branch'"),
        ({"ref": "main"}, "an address or"),
        (7, "an address or"),
    ],
)
def test_what_is_no_repository(given: object, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        as_repository(given)  # type: ignore[arg-type]


def test_folders() -> None:
    asked = [
        as_repository(url) for url in ("https://a/x", "https://b/x", "https://a/x", "https://c/y")
    ]
    found = unique_folders(asked)
    assert {name: one.url for name, one in found.items()} == {
        "x": "https://a/x",
        "x_1": "https://b/x",
        "y": "https://c/y",
    }


def test_a_token_is_for_its_host_only_and_in_no_command() -> None:
    command = as_repository("https://github.com/o/r").command("/r", has_token=True)
    ask, _, clone = command.partition("clone ")
    assert clone == "--quiet -- https://github.com/o/r /r"

    def fill(host: str) -> str:
        return subprocess.run(
            ["sh", "-c", f"{ask} credential fill"],
            input=f"protocol=https\nhost={host}\n\n",
            env={"PATH": "/usr/bin:/bin:/usr/local/bin", "TOKEN": "sk-of-a-test", "HOME": "/none"},
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    assert "username=x-access-token\npassword=sk-of-a-test" in fill("github.com")
    assert "sk-of-a-test" not in fill("evil.example")
    assert "sk-of-a-test" not in command


def test_what_an_agent_is_told() -> None:
    at = RepoMapping("https://a/x", "x", "/workspace/project/x", "v1")
    told = repos_context({at.url: at})
    assert "- /workspace/project/x: https://a/x at v1" in told
    assert repos_context({}) == ""


def test_a_result_is_checked() -> None:
    good = CloneResult(0, [], {})
    assert good.check() is good
    with pytest.raises(AssertionError, match="https://a/x: not found"):
        CloneResult(0, ["https://a/x"], {}, {"https://a/x": "not found"}).check()
