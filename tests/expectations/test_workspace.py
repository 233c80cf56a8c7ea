"""What is expected of a workspace, without one."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from pytest_agent_sandbox.errors import SandboxError, ServiceUnavailable, SettingsError
from pytest_agent_sandbox.expectations.workspace import WorkspaceExpectation
from pytest_agent_sandbox.sandbox.workspace import Workspace

ADDED = (
    "diff --git a/{0} b/{0}\nnew file mode 100644\n--- /dev/null\n+++ b/{0}\n@@ -0,0 +1 @@\n+x\n"
)


def workspace(*files: str, note: str = ""):
    diff = "".join(ADDED.format(file) for file in files) + note
    return WorkspaceExpectation(SimpleNamespace(changes_as_diff=lambda **_: diff))


def test_files_by_name_or_with_what_became_of_them():
    workspace("a.txt", "b.txt").changed_files(["b.txt", "a.txt"]).changed_files(
        {"a.txt": "added", "b.txt": "added"}
    )
    workspace().changed_files([])


CACHED = (
    "tests/__pycache__/test_a.cpython-313.pyc",
    ".pytest_cache/CACHEDIR.TAG",
    "src/.ruff_cache/0.8/1",
    "src/project.egg-info/PKG-INFO",
    "a.pyc",
)


def test_caches_of_programs_do_not_count():
    workspace("a.py", *CACHED).changed_files(["a.py"])
    workspace("a.py", *CACHED).changed_files({"a.py": "added", "a.pyc": "added"})
    with pytest.raises(AssertionError, match=r"a\.pyc: added, which was not expected"):
        workspace("a.py", "a.pyc").changed_files(["a.py"], ignore=[])
    with pytest.raises(AssertionError, match=r"pycache\.txt: added"):
        workspace("pycache.txt").changed_files([])


@pytest.mark.parametrize(
    ("ignore", "ignored"),
    [
        (["*.log"], {"a.log", "build/b.log"}),
        (["build"], {"build/b.log", "build/c/d.txt"}),
        (["build/"], {"build/b.log", "build/c/d.txt"}),
        (["build/c"], {"build/c/d.txt"}),
        (["c"], {"build/c/d.txt"}),
        (["*"], {"a.log", "build/b.log", "build/c/d.txt"}),
        ([], set()),
    ],
)
def test_what_a_test_ignores(ignore, ignored):
    files = ["a.log", "build/b.log", "build/c/d.txt"]
    others = [file for file in files if file not in ignored]
    workspace(*files).changed_files(others, ignore=ignore)
    for other in others:
        with pytest.raises(AssertionError, match=re.escape(f"{other}: added")):
            workspace(*files).changed_files([], ignore=ignore)


@pytest.mark.parametrize("ignore", ["*.log", [5]])
def test_what_cannot_be_ignored(ignore):
    with pytest.raises(SettingsError, match="ignore takes a list of patterns"):
        workspace().changed_files([], ignore=ignore)


def test_many_other_files_are_not_all_listed():
    with pytest.raises(AssertionError) as caught:
        workspace(*(f"{n}.txt" for n in range(40))).changed_files([])
    assert len(str(caught.value).splitlines()) < 25
    assert "… and 25 more" in str(caught.value)


def test_what_is_missing_in_the_diff_does_not_count_as_unchanged():
    cut = workspace("a.txt", note="[Cut here: the whole has 20000000 bytes.]\n")
    with pytest.raises(SandboxError, match="cannot be told which files have changed: "):
        cut.changed_files(["a.txt"])


def test_a_missing_snapshot_is_no_reason_to_compare_with_something_else():
    unknown = WorkspaceExpectation(
        SimpleNamespace(changes_as_diff=lambda **_: "", no_snapshot="git failed")
    )
    with pytest.raises(SandboxError, match=r"how they were before the agents\. git failed"):
        unknown.changed_files([])


@pytest.mark.parametrize(
    ("expected", "problem"),
    [
        ("a.txt", "Files are expected as a list or a dict, not as one text: 'a.txt'"),
        ({"a.txt": "new"}, "added, deleted, modified, renamed, not 'a.txt': 'new'"),
        ([5], "A changed file is a path"),
    ],
)
def test_what_makes_no_sense(expected, problem):
    with pytest.raises(SettingsError, match=re.escape(problem)):
        workspace().changed_files(expected)


def test_a_file_that_becomes_a_link_is_modified():
    diff = (
        "diff --git a/a.txt b/a.txt\ndeleted file mode 100644\n--- a/a.txt\n+++ /dev/null\n"
        "@@ -1 +0,0 @@\n-x\n" + ADDED.format("a.txt").replace("100644", "120000")
    )
    changed = WorkspaceExpectation(SimpleNamespace(changes_as_diff=lambda **_: diff))
    changed.changed_files({"a.txt": "modified"})


def test_files_that_are_no_text_or_not_there():
    def read_bytes(path):
        if path == "logo.png":
            return b"\x89PNG"
        raise FileNotFoundError(path)

    def changes_as_diff(**_):
        raise SandboxError("git is not there")

    found = WorkspaceExpectation(
        SimpleNamespace(read_bytes=read_bytes, changes_as_diff=changes_as_diff)
    )
    found.has_file("logo.png").has_file("logo.png", "PNG")
    with pytest.raises(AssertionError, match=r"^expected a file nope\.txt, and there is none$"):
        found.has_file("nope.txt")


def test_fresh_containers_are_of_workspaces_with_an_engine():
    with pytest.raises(SettingsError, match="copy and image are of fresh=True"):
        workspace().succeeds("true", copy=["src"])
    with pytest.raises(ServiceUnavailable, match="no engine for a fresh one"):
        workspace().succeeds("true", fresh=True, copy=["src"])
    served = object.__new__(Workspace)
    with pytest.raises(ServiceUnavailable, match="cannot be verified in a fresh container"):
        WorkspaceExpectation(served).succeeds("true", fresh=True, copy=["src"])
