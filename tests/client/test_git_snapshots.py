"""What changed since a snapshot: in repositories inside of the folder, and in large files."""

from __future__ import annotations

import re

import pytest

from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import ServerError

from .server import Server

GIT = "git -c user.email=a@example.com -c user.name=A -c protocol.file.allow=always"
COMMIT = f"{GIT} add -A && {GIT} commit -q -m commit"


def run(workspace: RemoteWorkspace, command: str, cwd: str | None = None) -> str:
    return workspace.execute_command(command, cwd=cwd).check().stdout


def files(diff: str) -> list[str]:
    """The second name of each file of a diff."""
    return re.findall(r"^diff --git .* b/(.*)$", diff, re.MULTILINE)


def test_commits_in_repositories_inside_are_shown_as_changes(workspace: RemoteWorkspace) -> None:
    run(workspace, f"mkdir -p library && cd library && git init -q && echo a >f && {COMMIT}")
    run(
        workspace,
        f"git init -q && {GIT} submodule --quiet add ./library sub && rm -rf library && "
        f"mkdir own bare && (cd own && git init -q && echo a >f && {COMMIT}) && "
        f"(cd bare && git init -q && echo a >f) && printf 'own\nbare\n' >.gitignore && {COMMIT}",
    )
    run(workspace, "echo before >mine", "sub")
    assert workspace.changes_as_diff().count("+before\n") == 1
    snapshot = workspace.snapshot()
    assert workspace.changes_as_diff(base=snapshot) == ""
    for folder in ("sub", "own", "bare"):
        run(workspace, f"echo b >f && {COMMIT} && echo c >g && {COMMIT} && echo d >>g", folder)
    diff = workspace.changes_as_diff(base=snapshot)
    assert files(diff) == ["bare/f", "bare/g", "own/f", "own/g", "sub/f", "sub/g"]
    assert diff.count("-a\n+b\n") == 3
    assert diff.count("+c\n+d\n") == 3
    # Since a commit: of a submodule it is the one that is noted, of others their own last one.
    since_commit = files(workspace.changes_as_diff())
    assert since_commit == ["bare/g", "own/g", "sub/f", "sub/g", "sub/mine", "sub"]
    assert {change.path: change.status for change in workspace.git_changes()} == {
        "bare/g": "UPDATED",
        "own/g": "UPDATED",
        "sub": "UPDATED",
        "sub/f": "UPDATED",
        "sub/g": "ADDED",
        "sub/mine": "ADDED",
    }


def test_repositories_that_came_since(workspace: RemoteWorkspace) -> None:
    run(workspace, "mkdir plain")
    run(
        workspace,
        f"echo same | tee plain/same >plain/f && git init -q && {COMMIT} && "
        f"cd $(mktemp -d) && git init -q && echo a | tee f >g && {COMMIT} && pwd >$OLDPWD/origin",
    )
    snapshot = workspace.snapshot()
    run(
        workspace,
        'git clone -q "$(cat origin)" clone && cd clone && echo b >f && '
        f"{COMMIT} && echo new >new; cd .. && mkdir made && cd made && git init -q && echo x >f && "
        f"{COMMIT}; cd ../plain && git init -q && echo changed >f && {COMMIT}",
    )
    diff = workspace.changes_as_diff(base=snapshot)
    assert files(diff) == ["clone/f", "clone/new", "made/f", "plain/f", "clone"]
    assert "+Subproject commit" in diff
    assert "-a\n+b\n" in diff
    assert "-same\n+changed\n" in diff


def test_repositories_that_are_gone_since(workspace: RemoteWorkspace) -> None:
    run(
        workspace, f"for n in one two three; do git init -q $n; (cd $n; echo $n >f; {COMMIT}); done"
    )
    snapshot = workspace.snapshot()
    run(workspace, "rm -rf one two/.git; mv three four")
    diff = workspace.changes_as_diff(base=snapshot)
    assert "deleted file mode" in diff
    assert files(diff) == ["one/f", "four/f"]
    assert "rename from three/f\nrename to four/f\n" in diff
    assert "Binary files a/one/f and /dev/null differ: one that is not there any more\n" in diff


def test_large_files_are_compared_by_id_and_never_copied(workspace: RemoteWorkspace) -> None:
    run(
        workspace,
        "git init -q && truncate -s 9M committed kept && truncate -s 10M gone && "
        f"{COMMIT} && head -c 9M /dev/urandom >mine",
    )
    snapshot = workspace.snapshot()
    assert int(run(workspace, f"du -sb {snapshot.objects}").split()[0]) < 1_000_000
    run(workspace, f"touch kept mine && {COMMIT}")
    assert workspace.changes_as_diff(base=snapshot) == "", "it is the same, committed or not"
    run(
        workspace,
        "echo x >>committed; rm gone; echo x >mine; chmod +x kept; echo t >t; "
        "yes | head -c 9M >lines",
    )
    diff = workspace.changes_as_diff(base=snapshot)
    assert sorted(files(diff)) == ["committed", "gone", "kept", "lines", "mine", "t"]
    sizes = "9,437,184 bytes and 9,437,186 bytes"
    assert f"Binary files a/committed and b/committed differ: {sizes}\n" in diff
    assert "Binary files a/gone and /dev/null differ: 10,485,760 bytes\n" in diff
    assert "Binary files a/mine and b/mine differ: 9,437,184 bytes and 2 bytes\n" in diff
    assert "Binary files /dev/null and b/lines differ: 9,437,184 bytes\n" in diff
    assert "old mode 100644\nnew mode 100755\n" in diff
    assert f"..{run(workspace, 'git hash-object lines')}" in diff
    cut = workspace.changes_as_diff(base=snapshot, max_bytes=100)
    assert cut.endswith(f"[Cut here: the whole difference is {len(diff.encode())} bytes.]\n")


@pytest.mark.parametrize(
    ("made", "found"),
    [
        ("true", []),
        ("echo a >f; mkdir d; echo b >d/g", ["d/g", "f"]),
        (f"git init -q; echo a >f; {COMMIT}; echo b >g", ["f", "g"]),
        (f"git init -q --object-format=sha256; echo a >f; {COMMIT}", ["f"]),
        (f"mkdir own; cd own; git init -q; echo a >f; {COMMIT}", ["own/f"]),
        (f"(cd .. && git init -q); echo a >f; {COMMIT}", ["f"]),
        ("git init -q; echo f >.gitignore; echo a >f", [".gitignore"]),
    ],
)
def test_of_an_empty_folder_everything_is_new(
    workspace: RemoteWorkspace, server: Server, made: str, found: list[str]
) -> None:
    run(workspace, "mkdir in")
    with RemoteWorkspace(server.host, server.api_key, f"{workspace.working_dir}/in") as inside:
        snapshot = inside.snapshot()
        assert (snapshot.tree, snapshot.objects) == ("", "")
        run(inside, made)
        assert files(inside.changes_as_diff(base=snapshot)) == found


def test_in_a_repository_an_empty_folder_is_looked_at(
    workspace: RemoteWorkspace, server: Server
) -> None:
    run(workspace, f"git init -q; mkdir in; echo a >in/f; {COMMIT}; rm in/f")
    with RemoteWorkspace(server.host, server.api_key, f"{workspace.working_dir}/in") as inside:
        snapshot = inside.snapshot()
        assert snapshot.tree
        run(inside, "echo a >f; echo b >g")
        assert files(inside.changes_as_diff(base=snapshot)) == ["f", "g"]


def test_a_snapshot_that_was_removed_is_said(workspace: RemoteWorkspace) -> None:
    workspace.write_text("f", "text\n")
    snapshot = workspace.snapshot()
    run(workspace, f"rm -r {snapshot.objects}")
    with pytest.raises(ServerError, match=f"the snapshot is gone: {snapshot.objects} was removed"):
        workspace.changes_as_diff(base=snapshot)
