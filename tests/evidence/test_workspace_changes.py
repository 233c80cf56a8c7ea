"""Diffs, file by file."""

import subprocess

import pytest

from pytest_agent_sandbox.evidence import workspace_changes

DIFF = """\
diff --git a/LICENSE b/LICENSE
deleted file mode 100644
index a22a2da..0000000
--- a/LICENSE
+++ /dev/null
@@ -1,2 +0,0 @@
-MIT
--- a line of the file
diff --git a/notes.txt b/notes.txt
index 814f4a4..4cb29ea 100644
--- a/notes.txt
+++ b/notes.txt
@@ -1,2 +1,4 @@
 one
-two
+++ b/not/a/name
+diff --git a/no b/no
+# no title
 three
"""


def read(diff):
    found, note = workspace_changes.read(diff)
    return [(one.path, one.status, one.added, one.removed) for one in found], note


def test_files_and_their_lines():
    assert read(DIFF) == ([("LICENSE", "deleted", 0, 2), ("notes.txt", "modified", 3, 1)], "")


def test_nothing_of_it_is_lost():
    found, _ = workspace_changes.read(DIFF)
    assert "".join(one.diff for one in found) == DIFF


def test_nothing_changed():
    assert read("") == ([], "")
    assert read("\n") == ([], "")


def test_only_line_feeds_end_a_line():
    diff = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1,2 @@\n+a\x0c-b\x85-c\u2028-d\r-e\n-f\n"
    assert read(diff)[0] == [("x", "modified", 1, 1)]


@pytest.mark.parametrize(
    ("note"),
    [
        "(the workspace could not be read: the server does not answer)",
        "(the workspace could not be read: E: x\nmore of it)",
    ],
)
def test_a_workspace_that_could_not_be_read(note):
    assert read(f"{note}\n") == ([], note)


def test_what_git_says_at_the_end():
    cut = "[Cut here: the whole difference is 500 bytes.]"
    incomplete = "[Incomplete, git says: error: cannot open x\nfatal: y]"
    found, note = read(f"{DIFF}{cut}\n{incomplete}\n")
    assert found[1] == ("notes.txt", "modified", 3, 1)
    assert note == f"{cut}\n{incomplete}"


def test_several_workspaces():
    diff = (
        f"# one\n{DIFF}# two\n(the workspace could not be read: gone)\n"
        "# three\ndiff --git a/x b/x\nnew file mode 100644\n# four\n"
    )
    assert read(diff) == (
        [
            ("one: LICENSE", "deleted", 0, 2),
            ("one: notes.txt", "modified", 3, 1),
            ("three: x", "added", 0, 0),
        ],
        "two: (the workspace could not be read: gone)",
    )
    # A title is no part of the file before it.
    assert workspace_changes.read(diff)[0][1].diff.endswith(" three\n")


@pytest.mark.parametrize(
    "text",
    [
        "diff --git ",
        "diff --git \n",
        "diff --git a b",
        'diff --git "a/x" "b/',
        'diff --git "\\',
        "diff --git a/x b/x\n+++ ",
        "diff --git a/x b/x\n@@",
        'diff --git "a/\\777\\q\ud800" "b/\\777\\q\ud800"',
        "@@ -1 +1 @@\n+x",
        "\x00\x1b[2J",
    ],
)
def test_what_is_no_diff(text):
    found, note = workspace_changes.read(text)
    assert found or note
    assert all(one.path for one in found)


NAMES = [
    "plain.txt",
    "with space.txt",
    "sub dir/b/a b/x b/y",
    'quoted "name".txt',
    'ends with "',
    "tab\there",
    "back\\slash",
    "\u00e4\u4e2d\U0001f600.txt",
    "new\nline",
    "-dash",
    "# hash",
]


def git(folder, *arguments):
    settings = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "init.defaultBranch=m"]
    done = subprocess.run(
        ["git", *settings, *arguments], cwd=folder, check=True, capture_output=True
    )
    return done.stdout.decode(errors="replace")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "-q")
    for number, name in enumerate(NAMES):
        path = folder / "kept" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n" * 20)
        (folder / "binary").mkdir(exist_ok=True)
        (folder / "binary" / f"{number} b").write_bytes(b"\x00\x01")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "x")
    return folder


@pytest.mark.parametrize("quote", ["true", "false"])
def test_names_as_git_spells_them(repository, quote):
    (repository / "added").mkdir(exist_ok=True)
    for number, name in enumerate(NAMES):
        (repository / "kept" / name).write_text(f"{number}\n" * 20 + "new\n")
        path = repository / "added" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        (repository / "binary" / f"{number} b").write_bytes(b"\x00\x02")
    git(repository, "add", "-A")
    diff = git(repository, "-c", f"core.quotepath={quote}", "diff", "--cached")
    found, note = read(diff)
    assert note == ""
    assert sorted(found) == sorted(
        [(f"kept/{name}", "modified", 1, 0) for name in NAMES]
        + [(f"added/{name}", "added", 0, 0) for name in NAMES]
        + [(f"binary/{number} b", "modified", 0, 0) for number in range(len(NAMES))]
    )


def test_renamed_copied_deleted_and_other_modes(repository):
    git(repository, "reset", "-q", "--hard")
    git(repository, "mv", "kept/plain.txt", "moved plain.txt")
    git(repository, "mv", "kept/with space.txt", "moved with.txt")
    (repository / "moved with.txt").write_text("1\n" * 20 + "new\n")
    git(repository, "add", "moved with.txt")
    git(repository, "rm", "-q", "kept/tab\there")
    git(repository, "update-index", "--chmod=+x", "kept/-dash")
    (repository / "copy").write_bytes((repository / "kept" / "back\\slash").read_bytes())
    git(repository, "add", "copy")
    found, _ = read(git(repository, "diff", "--cached", "-M", "-C", "--find-copies-harder"))
    assert sorted(found) == [
        ("copy", "added", 0, 0),
        ("kept/-dash", "modified", 0, 0),
        ("kept/tab\there", "deleted", 0, 20),
        ("moved plain.txt", "renamed", 0, 0),
        ("moved with.txt", "renamed", 1, 0),
    ]
