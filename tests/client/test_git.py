"""What git says changed, in real repositories, in none, and in some within others."""

from __future__ import annotations

import pytest

from pytest_agent_sandbox.client.git import GitChange, GitChangeStatus, GitDiff
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import ServerError

COMMIT = "git add -A && git -c user.email=a@example.com -c user.name=A commit -q -m commit"
STATE = "git status --porcelain; md5sum .git/index; find .git | sort | md5sum; ls -A; ls -A /tmp"


@pytest.fixture
def repository(workspace: RemoteWorkspace) -> RemoteWorkspace:
    """A workspace with one commit, and one change of every kind since."""
    workspace.write_text("changed file.txt", "one\ntwo\n")
    workspace.write_text("gone.txt", "gone\n")
    workspace.write_text("same.txt", "same\n")
    workspace.write_text(".gitignore", "*.log\n")
    workspace.execute_command(f"git init -q && {COMMIT}").check()
    workspace.write_text("changed file.txt", "one\n2\n")
    workspace.execute_command("rm gone.txt; touch noise.log").check()
    workspace.write_text("sub/nëw.txt", "new\n")
    workspace.write_bytes("picture.png", bytes(range(256)))
    return workspace


def summary(changes: list[GitChange]) -> dict[str, str]:
    return {change.path: change.status for change in changes}


def test_changes_of_every_kind_are_found(repository: RemoteWorkspace) -> None:
    assert summary(repository.git_changes()) == {
        "changed file.txt": "UPDATED",
        "gone.txt": "DELETED",
        "picture.png": "ADDED",
        "sub/nëw.txt": "ADDED",
    }
    assert summary(repository.git_changes("sub")) == {"nëw.txt": GitChangeStatus.ADDED}


def test_the_diff_holds_them_all_and_leaves_the_repository_alone(
    repository: RemoteWorkspace,
) -> None:
    before = repository.execute_command(STATE).stdout
    text = repository.changes_as_diff()
    after = repository.execute_command(STATE).stdout
    assert [line for line in before.splitlines() if "command-" not in line] == [
        line for line in after.splitlines() if "command-" not in line
    ]
    assert "-two\n+2\n" in text
    assert "deleted file mode" in text
    assert "+++ b/sub/nëw.txt" in text
    assert "Binary files /dev/null and b/picture.png differ" in text
    assert "noise.log" not in text


def test_the_diff_can_be_applied(repository: RemoteWorkspace) -> None:
    repository.execute_command("rm picture.png").check()
    repository.write_text("/tmp/my.diff", repository.changes_as_diff())
    repository.execute_command("git stash -q -u && git apply /tmp/my.diff").check()
    assert repository.read_text("sub/nëw.txt") == "new\n"
    assert repository.read_text("changed file.txt") == "one\n2\n"


def test_another_base_shows_what_was_committed_since(repository: RemoteWorkspace) -> None:
    base = repository.execute_command("git rev-parse HEAD").stdout.strip()
    repository.execute_command(COMMIT).check()
    assert repository.git_changes() == []
    assert repository.changes_as_diff() == ""
    assert len(repository.git_changes(base=base)) == 4
    assert "+2\n" in repository.changes_as_diff(base=base)
    with pytest.raises(ServerError, match="no commit nope"):
        repository.changes_as_diff(base="nope")


def test_without_a_commit_everything_is_new(workspace: RemoteWorkspace) -> None:
    workspace.execute_command("git init -q").check()
    workspace.write_text("file", "text\n")
    assert summary(workspace.git_changes()) == {"file": "ADDED"}
    assert "+text\n" in workspace.changes_as_diff()


def test_a_folder_that_is_no_repository_has_a_diff_and_stays_none(
    workspace: RemoteWorkspace,
) -> None:
    assert workspace.git_changes() == []
    assert workspace.changes_as_diff() == ""
    workspace.write_text("file", "text\n")
    assert workspace.git_changes() == []
    assert "+text\n" in workspace.changes_as_diff()
    assert workspace.execute_command("ls -A").stdout == "file\n"
    with pytest.raises(FileNotFoundError, match="nope"):
        workspace.git_changes("nope")


def test_repositories_inside_are_looked_into(workspace: RemoteWorkspace) -> None:
    workspace.write_text("outer", "")
    workspace.write_text("a/fresh/file", "fresh\n")
    workspace.write_text("cloned/file", "before\n")
    workspace.execute_command("git init -q; cd a/fresh; git init -q").check()
    workspace.execute_command(f"git init -q && {COMMIT}", cwd="cloned").check()
    workspace.write_text("cloned/file", "after\n")
    assert summary(workspace.git_changes()) == {
        "outer": "ADDED",
        "cloned": "ADDED",
        "cloned/file": "UPDATED",
        "a/fresh/file": "ADDED",
    }
    text = workspace.changes_as_diff()
    assert "+++ b/a/fresh/file" in text
    assert "-before\n+after\n" in text
    assert "Incomplete" not in text


def test_files_of_another_user_are_no_obstacle(repository: RemoteWorkspace) -> None:
    repository.execute_command("sudo -n chown -R root .git").check()
    assert len(repository.git_changes()) == 4
    assert "+2\n" in repository.changes_as_diff()


def test_settings_of_the_repository_do_not_change_the_diff(repository: RemoteWorkspace) -> None:
    plain = repository.changes_as_diff()
    repository.execute_command(
        "git config diff.noprefix true; git config color.ui always; "
        "git config diff.external false; git config diff.mnemonicPrefix true"
    ).check()
    assert repository.changes_as_diff() == plain


def test_a_file_that_cannot_be_read_is_named(repository: RemoteWorkspace) -> None:
    repository.execute_command("touch locked; chmod 000 locked").check()
    text = repository.changes_as_diff()
    assert "+2\n" in text
    assert "Incomplete" in text
    assert "locked" in text.partition("Incomplete")[2]


def test_a_long_diff_is_cut_and_says_so(workspace: RemoteWorkspace) -> None:
    workspace.write_text("file", "".join(f"line {n} ☃\n" for n in range(10_000)))
    text = workspace.changes_as_diff(max_bytes=1000)
    assert len(text.encode()) < 1100
    assert text.splitlines()[-2].startswith("+line ")
    assert text.endswith("bytes.]\n")
    assert "[Cut here: the whole difference is 1" in text


def test_one_file_has_both_texts(repository: RemoteWorkspace) -> None:
    changed = repository.git_diff("changed file.txt")
    assert changed == GitDiff("changed file.txt", "one\ntwo\n", "one\n2\n")
    assert changed.unified().endswith("@@ -1,2 +1,2 @@\n one\n-two\n+2\n")
    assert repository.git_diff("gone.txt") == GitDiff("gone.txt", "gone\n", None)
    assert repository.git_diff("sub/nëw.txt") == GitDiff("sub/nëw.txt", None, "new\n")
    assert repository.git_diff("same.txt").unified() == ""
    with pytest.raises(FileNotFoundError):
        repository.git_diff("nope/nope.txt")
    with pytest.raises(IsADirectoryError):
        repository.git_diff("sub")


def test_a_diff_says_where_a_newline_is_missing() -> None:
    text = GitDiff("f", "a", "b\n").unified()
    assert text == "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n"


def test_a_snapshot_shows_what_changed_since_then_committed_or_not(
    repository: RemoteWorkspace,
) -> None:
    before = repository.execute_command(STATE.replace("; ls -A /tmp", "")).stdout
    snapshot = repository.snapshot()
    assert repository.execute_command(STATE.replace("; ls -A /tmp", "")).stdout == before
    assert repository.changes_as_diff(base=snapshot) == ""
    repository.execute_command(f"echo more >> sub/nëw.txt; {COMMIT}; rm same.txt").check()
    diff = repository.changes_as_diff(base=snapshot)
    assert "+more" in diff
    assert "-same" in diff
    assert "gone.txt" not in diff, "that went before the snapshot"


def test_a_snapshot_of_no_repository_serves_once_it_is_one(workspace: RemoteWorkspace) -> None:
    workspace.write_text("LICENSE", "MIT\n")
    snapshot = workspace.snapshot()
    assert workspace.execute_command("ls -A").stdout == "LICENSE\n"
    workspace.execute_command("git init -q && rm LICENSE && echo hello > new.txt").check()
    diff = workspace.changes_as_diff(base=snapshot)
    assert "-MIT" in diff
    assert "+hello" in diff


def test_a_snapshot_of_a_folder_that_is_not_there_yet_is_empty(workspace: RemoteWorkspace) -> None:
    snapshot = workspace.snapshot()
    workspace.write_text("new.txt", "new\n")
    assert "+new" in workspace.changes_as_diff(base=snapshot)


def test_the_latest_commits(workspace: RemoteWorkspace) -> None:
    workspace.write_text("a", "1")
    assert workspace.git_commits() == []
    run = workspace.execute_command
    git = "git -c user.name='Ö X' -c user.email=x@example.com"
    run("git init -q").check()
    assert workspace.git_commits() == []
    for number in range(3):
        run(f"{git} add -A; {git} commit -q --allow-empty -m 'Öl {number}' -m body").check()
    found = workspace.git_commits(most=2)
    assert [commit.subject for commit in found] == ["Öl 2", "Öl 1"]
    assert found[0].sha == run("git rev-parse HEAD").stdout.strip()
    assert found[0].author == "Ö X"
    with pytest.raises(FileNotFoundError):
        workspace.git_commits("no/such/folder")
