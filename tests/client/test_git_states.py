"""What changed in repositories whose state hides changes, or keeps git from telling them."""

from __future__ import annotations

import re

import pytest

from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import ServerError

GIT = "git -c user.email=a@example.com -c user.name=A"
COMMIT = f"{GIT} add -A && {GIT} commit -q -m commit"


def run(workspace: RemoteWorkspace, command: str, cwd: str | None = None) -> str:
    return workspace.execute_command(command, cwd=cwd).check().stdout


def summary(workspace: RemoteWorkspace, path: str | None = None) -> dict[str, str]:
    return {change.path: change.status for change in workspace.git_changes(path)}


def headers(diff: str) -> list[str]:
    return re.findall(r"^diff --git (.*)$", diff, re.MULTILINE)


@pytest.mark.parametrize(
    "state",
    [
        ":",
        "git update-index --split-index",
        "git config core.untrackedCache true && git update-index --untracked-cache",
        "git config core.ignoreStat true",
        "git sparse-checkout set --cone --sparse-index sub",
    ],
    ids=["plain", "split index", "untracked cache", "ignored times", "sparse index"],
)
def test_an_edit_of_the_same_size_in_the_second_of_the_commit(
    workspace: RemoteWorkspace, state: str
) -> None:
    # git looks at whole seconds: as if all of this were done within one.
    now = "touch -d @1700000000 f sub/f"
    run(
        workspace,
        "git init -q && git config core.trustctime false && mkdir sub out && "
        f"echo aa | tee f sub/f >out/f && {now} && {COMMIT} && {state} && "
        f"echo bb | tee f >sub/f && {now} $(find .git -name '*index*')",
    )
    assert "M f" in run(workspace, "git --no-optional-locks status --short")
    before = run(workspace, "find .git -type f -exec md5sum {} + | sort")
    assert summary(workspace) == {"f": "UPDATED", "sub/f": "UPDATED"}
    assert workspace.changes_as_diff().count("-aa\n+bb\n") == 2
    assert summary(workspace, "sub") == {"f": "UPDATED"}
    assert run(workspace, "find .git -type f -exec md5sum {} + | sort") == before


def test_a_linked_worktree_and_a_submodule_have_an_index_elsewhere(
    workspace: RemoteWorkspace,
) -> None:
    now = "touch -d @1700000000 f"
    run(workspace, f"git init -q origin && cd origin && echo aa >f && {now} && {COMMIT}")
    run(
        workspace,
        "git init -q && git config core.trustctime false && "
        "git -C origin config core.trustctime false && git -C origin worktree add -q ../tree && "
        f"{GIT} -c protocol.file.allow=always submodule add -q ./origin sub && "
        "git -C sub config core.trustctime false",
    )
    for folder, index in (
        ("tree", "../origin/.git/worktrees/tree/index"),
        ("sub", "../.git/modules/sub/index"),
    ):
        run(
            workspace, f"{now} && git update-index --refresh && echo bb >f && {now} {index}", folder
        )
        assert "M f" in run(workspace, "git --no-optional-locks status --short", folder)
    changes = summary(workspace)
    assert changes["tree/f"] == changes["sub/f"] == "UPDATED"
    assert summary(workspace, "tree") == summary(workspace, "sub") == {"f": "UPDATED"}


def test_a_checkout_with_lfs_where_there_is_no_git_lfs(workspace: RemoteWorkspace) -> None:
    pointer = (
        "version https://git-lfs.github.com/spec/v1\\n"
        "oid sha256:87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7\\nsize 2\\n"
    )
    run(
        workspace,
        "git init -q && echo '*.bin filter=lfs diff=lfs' >.gitattributes && "
        f"printf '{pointer}' | tee pointer.bin same.bin >changed.bin && {COMMIT} && "
        "git config filter.lfs.process 'git-lfs filter-process' && "
        "git config filter.lfs.required true && "
        "echo a >same.bin && touch pointer.bin && echo b >changed.bin && echo t >app.py && "
        "truncate -s 20M large.bin && : >empty.bin",
    )
    assert summary(workspace) == {
        "app.py": "ADDED",
        "changed.bin": "UPDATED",
        "empty.bin": "ADDED",
        "large.bin": "ADDED",
    }
    diff = workspace.changes_as_diff()
    assert "+oid sha256:0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f\n" in diff
    assert "+size 20971520\n" in diff
    assert "Incomplete" not in diff


def test_a_filter_that_fails(workspace: RemoteWorkspace) -> None:
    # Of the system's settings: others are not run at all.
    setting = "sudo -n git config --system filter.broken"
    run(
        workspace,
        f"git init -q && echo '*.x filter=broken' >.gitattributes && echo a >m.x && {COMMIT} && "
        f"{setting}.clean 'echo sorry >&2; false' && {setting}.required true && "
        "echo b >m.x && echo t >app.py",
    )
    try:
        with pytest.raises(ServerError, match=r"clean filter 'broken' failed(.|\n)*ADDED app\.py"):
            workspace.git_changes()
        diff = workspace.changes_as_diff()
        assert headers(diff) == ["a/app.py b/app.py", "a/m.x b/m.x"]
        assert "clean filter 'broken' failed]" in diff
        snapshot = workspace.snapshot()
        assert workspace.changes_as_diff(base=snapshot) == "", "both are as they are on the disk"
        run(workspace, f"echo c >m.x; {setting}.required false")
        assert workspace.changes_as_diff(base=snapshot).endswith("-b\n+c\n")
        assert summary(workspace) == {"app.py": "ADDED", "m.x": "UPDATED"}, "as git itself says"
    finally:
        run(workspace, "sudo -n git config --system --remove-section filter.broken")


def test_a_sparse_checkout(workspace: RemoteWorkspace) -> None:
    run(
        workspace,
        f"git init -q && mkdir x y z && echo a | tee x/a y/b >z/c && {COMMIT} && "
        "git sparse-checkout set x && mkdir y z && echo new >y/new && echo changed >z/c",
    )
    assert summary(workspace) == {"y/new": "ADDED", "z/c": "UPDATED"}
    assert "Incomplete" not in workspace.changes_as_diff()
    run(workspace, "rm x/a")
    assert summary(workspace)["x/a"] == "DELETED"


def test_files_that_git_was_told_not_to_look_at(workspace: RemoteWorkspace) -> None:
    run(
        workspace,
        f"git init -q && echo a | tee assumed skipped >'both of\nthem' && {COMMIT} && "
        "git update-index --assume-unchanged assumed 'both of\nthem' && "
        "git update-index --skip-worktree skipped 'both of\nthem'",
    )
    assert summary(workspace) == {}
    snapshot = workspace.snapshot()
    run(workspace, "echo b | tee assumed >'both of\nthem'; rm skipped")
    assert run(workspace, "git status --short") == ""
    assert summary(workspace) == {
        "assumed": "UPDATED",
        "both of\nthem": "UPDATED",
        "skipped": "DELETED",
    }
    assert len(headers(workspace.changes_as_diff(base=snapshot))) == 3


def test_what_may_not_be_read(workspace: RemoteWorkspace) -> None:
    run(
        workspace,
        f"git init -q && echo a | tee tracked other && {COMMIT} && echo new >new && "
        "echo b >tracked && chmod 000 tracked new && mkfifo pipe",
    )
    assert summary(workspace) == {"new": "ADDED", "tracked": "UPDATED"}, "as `git status` says"
    snapshot = workspace.snapshot()
    assert workspace.changes_as_diff(base=snapshot) == ""
    run(workspace, "chmod 600 new && echo other >new && chmod 000 new && rm other && mkfifo other")
    diff = workspace.changes_as_diff(base=snapshot)
    assert headers(diff) == ["a/new b/new", "a/other b/other"]
    assert "+(cannot be read: regular file, 6 bytes" in diff
    assert "+(cannot be read: fifo" in diff
    assert 'open("tracked"): Permission denied' in workspace.changes_as_diff()
    run(workspace, "mkdir locked && touch locked/f && chmod 000 locked")
    with pytest.raises(ServerError, match=r"'locked/': Permission denied(.|\n)*UPDATED other"):
        workspace.git_changes()
    assert "'locked/': Permission denied" in workspace.changes_as_diff(base=snapshot)
    hidden = workspace.snapshot()
    run(workspace, "chmod 700 locked")
    assert "Incomplete" in workspace.changes_as_diff(base=hidden), "it was not seen then"


def test_locks_hooks_and_drivers_of_the_repository(workspace: RemoteWorkspace) -> None:
    run(workspace, f"git init -q && echo a >f && echo '* diff=x' >.gitattributes && {COMMIT}")
    run(workspace, "echo b >f")
    plain = workspace.changes_as_diff()
    run(
        workspace,
        "for hook in post-index-change pre-commit fsmonitor-watchman; do "
        "  printf '#!/bin/sh\ntouch ran\n' >.git/hooks/$hook; chmod +x .git/hooks/$hook; done; "
        "touch .git/index.lock; "
        "git config core.fsmonitor .git/hooks/fsmonitor-watchman; "
        "git config diff.x.textconv false; git config diff.x.command false; "
        "git config diff.context 0; git config color.diff always",
    )
    assert workspace.changes_as_diff() == plain
    assert workspace.changes_as_diff(base=workspace.snapshot()) == ""
    assert "ran" not in workspace.execute_command("ls").stdout


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        ("echo '[' >>.git/config", "bad config line"),
        ("echo broken >.git/index", "index file"),
        ("rm -r .git/objects/*", "no commit HEAD|bad object|unable to read|index"),
    ],
    ids=["settings", "index", "objects"],
)
def test_a_broken_repository_is_an_error(
    workspace: RemoteWorkspace, harm: str, problem: str
) -> None:
    run(workspace, f"git init -q && echo a >f && {COMMIT} && echo b >f && {harm}")
    with pytest.raises(ServerError, match=problem):
        workspace.git_changes()
    with pytest.raises(ServerError, match=problem):
        workspace.changes_as_diff()


def test_names_of_any_kind(workspace: RemoteWorkspace) -> None:
    run(
        workspace,
        "git init -q; "
        "for n in $(printf 'bad\\377') -dash 'a\"b' ':(top)x' \"$(printf 'tab\\tx')\"; "
        'do echo text >"$n"; done; truncate -s 9M -- "-large\nof \\"two\\" lines"',
    )
    names = {"bad\udcff", "-dash", 'a"b', ":(top)x", "tab\tx", '-large\nof "two" lines'}
    assert set(summary(workspace)) == names
    diff = workspace.changes_as_diff()
    assert len(headers(diff)) == len(names)
    assert r'"b/-large\nof \"two\" lines" differ: 9,437,184 bytes' in diff


def test_a_folder_in_a_repository(workspace: RemoteWorkspace) -> None:
    run(
        workspace,
        f"git init -q && mkdir -p 'sub dir' && echo a | tee f 'sub dir/f' && {COMMIT} && "
        f"git checkout -q -b other && echo b >f && {COMMIT} && git checkout -q - && "
        f"echo c >f && {COMMIT}; {GIT} merge other; echo d | tee 'sub dir/f' 'sub dir/g'",
    )
    below = RemoteWorkspace(
        workspace.host, workspace.connection.api_key, f"{workspace.working_dir}/sub dir"
    )
    with below:
        assert summary(below) == {"f": "UPDATED", "g": "ADDED"}
        snapshot = below.snapshot()
        run(below, "rm f; echo x >../h")
        assert headers(below.changes_as_diff(base=snapshot)) == ["a/f b/f"]
        assert headers(below.changes_as_diff()) == ["a/f b/f", "a/g b/g"]
