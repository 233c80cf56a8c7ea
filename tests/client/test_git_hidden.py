"""What changed where the agent hid it from git: settings, repositories deep inside, odd names."""

from __future__ import annotations

import pytest

from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import ServerError

GIT = "git -c user.email=a@example.com -c user.name=A -c protocol.file.allow=always"
COMMIT = f"{GIT} add -A && {GIT} commit -q -m commit"


def run(workspace: RemoteWorkspace, command: str, cwd: str | None = None) -> str:
    return workspace.execute_command(command, cwd=cwd).check().stdout


def summary(workspace: RemoteWorkspace) -> dict[str, str]:
    return {change.path: change.status for change in workspace.git_changes()}


def test_repositories_at_any_depth(workspace: RemoteWorkspace) -> None:
    run(workspace, "git init -q && mkdir -p src/host/org/project/vendor/a/b/c/d/e")
    for folder in ("src/host/org/project", "src/host/org/project/vendor/a/b/c/d/e"):
        run(workspace, "git init -q && echo new >f", folder)
    assert summary(workspace) == {
        "src/host/org/project/f": "ADDED",
        "src/host/org/project/vendor/a/b/c/d/e/f": "ADDED",
    }


@pytest.mark.parametrize(
    "setting", ["core.bare true", "core.worktree /tmp", "core.checkStat minimal"]
)
def test_settings_that_hide_the_files(workspace: RemoteWorkspace, setting: str) -> None:
    for folder in (".", "inner"):
        run(
            workspace,
            f"mkdir -p {folder} && cd {folder} && git init -q && echo inner >.gitignore && "
            f"echo aa | tee f >same && touch -d @1700000000 f && {COMMIT} && "
            f"git config core.trustctime false && git config {setting}",
        )
    # git looks at whole seconds.
    run(workspace, "sleep 1.1; echo bb | tee f >inner/f && touch -d @1700000000 f inner/f")
    assert summary(workspace) == {"f": "UPDATED", "inner/f": "UPDATED"}
    assert workspace.changes_as_diff().count("-aa\n+bb\n") == 2


def test_a_repository_that_is_none_any_more_is_told(workspace: RemoteWorkspace) -> None:
    run(workspace, f"mkdir empty empty/.git && git init -q && echo a >f && {COMMIT}")
    run(workspace, f"git init -q inner && cd inner && echo a >f && {COMMIT}")
    assert "Incomplete" not in workspace.changes_as_diff()
    run(workspace, "rm inner/.git/HEAD")
    with pytest.raises(ServerError, match=r"no repository: .*/inner/\.git(.|\n)*ADDED inner/f"):
        workspace.git_changes()
    run(workspace, "rm -rf inner && chmod 000 .git")
    with pytest.raises(ServerError, match=r"no repository: .*/\.git"):
        workspace.git_changes()
    run(workspace, "chmod 700 .git && rm .git/HEAD")
    with pytest.raises(ServerError, match=r"no repository: .*/\.git"):
        workspace.git_changes()
    assert "Incomplete" in workspace.changes_as_diff()


def test_names_that_are_not_utf8(workspace: RemoteWorkspace) -> None:
    run(
        workspace,
        "git init -q && touch $(printf 'x\\376') $(printf 'x\\377') && "
        f"git init -q $(printf 'r\\377') && cd $(printf 'r\\377') && echo a >f && {COMMIT}",
    )
    snapshot = workspace.snapshot()
    run(workspace, "echo b >$(printf 'r\\377')/f")
    inner = "r\udcff"
    new = dict.fromkeys(["x\udcfe", "x\udcff", inner], "ADDED")
    assert summary(workspace) == {**new, f"{inner}/f": "UPDATED"}
    assert workspace.changes_as_diff(base=snapshot).endswith("-a\n+b\n")
    changed = workspace.git_diff(f"{workspace.working_dir}/{inner}/f")
    assert (changed.original, changed.modified) == ("a\n", "b\n")


def test_a_submodule_that_lost_its_git(workspace: RemoteWorkspace) -> None:
    run(workspace, f"git init -q library && cd library && echo a | tee a >b && {COMMIT}")
    run(
        workspace,
        f"git init -q && {GIT} submodule --quiet add ./library sub && rm -rf library && "
        f"mkdir deep && {GIT} submodule --quiet add ./sub 'deep/s u b' && {COMMIT}",
    )
    snapshot = workspace.snapshot()
    run(workspace, "rm -rf sub/.git 'deep/s u b/.git' && echo evil | tee sub/a >'deep/s u b/a'")
    assert summary(workspace) == {
        "deep/s u b": "DELETED",
        "deep/s u b/a": "ADDED",
        "deep/s u b/b": "ADDED",
        "sub": "DELETED",
        "sub/a": "ADDED",
        "sub/b": "ADDED",
    }
    diff = workspace.changes_as_diff(base=snapshot)
    assert diff.count("-a\n+evil\n") == diff.count("diff --git") == 2


def test_commits_that_were_pushed_since_a_snapshot(workspace: RemoteWorkspace) -> None:
    run(
        workspace,
        f"git init -q --bare origin && git init -q first && cd first && echo a >f && {COMMIT} && "
        "git push -q ../origin HEAD:master && cd .. && rm -rf first && git init -q --bare other && "
        "git -C origin symbolic-ref HEAD refs/heads/master",
    )
    snapshot = workspace.snapshot()
    run(
        workspace,
        f"git clone -q ./origin clone && cd clone && echo b >f && {COMMIT} && git push -q",
    )
    run(
        workspace,
        f"git init -q made && cd made && echo mine >m && {COMMIT} && "
        "git remote add origin ../other && git push -q origin HEAD && git fetch -q origin",
    )
    run(workspace, "git clone -q ./origin same && rm -rf origin other")
    diff = workspace.changes_as_diff(base=snapshot)
    assert "diff --git a/clone/f b/clone/f" in diff
    assert "-a\n+b\n" in diff
    assert "+mine\n" in diff
    assert "same/f" not in diff


@pytest.mark.parametrize(
    ("name", "program"),
    [("x.clean", "touch ran; git show HEAD:sub/a"), ("lfs.process", "touch ran; false")],
    ids=["clean", "process of lfs"],
)
def test_filters_that_the_agent_wrote_are_not_run(
    workspace: RemoteWorkspace, name: str, program: str
) -> None:
    run(workspace, f"git init -q && mkdir sub && echo a | tee sub/a same >b && {COMMIT}")
    snapshot = workspace.snapshot()
    run(
        workspace,
        f"git config 'filter.{name}' '{program}' && git config 'filter.odd name.clean' false && "
        f"echo '* filter={name.partition('.')[0]}' >.git/info/attributes && echo evil >sub/a; "
        "git add sub/a; rm -f ran",
    )
    told = "sub/a: taken as it is: the agent may have written its filter"
    with pytest.raises(ServerError, match=rf"{told}(.|\n)*: UPDATED sub/a$"):
        workspace.git_changes()
    assert told in workspace.changes_as_diff()
    diff = workspace.changes_as_diff(base=snapshot)
    assert diff.count("diff --git") == 1
    assert diff.endswith("-a\n+evil\n")
    assert "ran" not in run(workspace, "ls . sub").split()
