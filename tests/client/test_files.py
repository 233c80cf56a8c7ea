"""Files and folders into a real sandbox and out of it, and archives that mean harm."""

from __future__ import annotations

import errno
import os
import stat
import time
import traceback
from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox.client import files
from pytest_agent_sandbox.client.workspace import RemoteWorkspace


@pytest.mark.parametrize(
    "name",
    ["plain.txt", "folder/below/file", "a b&c=d#e%20f+g?.txt", "ünï☃😀.txt", 'it\'s "q"', "-x"],
)
def test_a_file_comes_back_as_it_was_written(workspace: RemoteWorkspace, name: str) -> None:
    text = "first\r\nsecond ☃\n\tthird, no newline"
    workspace.write_text(name, text)
    assert workspace.read_text(name) == text
    assert workspace.read_text(f"{workspace.working_dir}/{name}") == text


@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 5, b"\xff\xfe"])
def test_bytes_come_back_as_they_were_written(workspace: RemoteWorkspace, content: bytes) -> None:
    workspace.write_bytes("file.bin", b"something longer that is replaced")
    workspace.write_bytes("file.bin", content)
    assert workspace.read_bytes("file.bin") == content


def test_a_missing_file_is_told_without_a_chain_of_tracebacks(workspace: RemoteWorkspace) -> None:
    for ask in (
        lambda: workspace.read_text("nope.txt"),
        lambda: workspace.download("nope.txt", "/nowhere"),
        lambda: workspace.write_text("/dev/null/x", ""),
    ):
        with pytest.raises(OSError, match="in the sandbox: ") as told:
            ask()
        assert "".join(traceback.format_exception(told.value)).count("Traceback") == 1


def test_what_cannot_be_read_or_written_raises_what_a_local_file_would(
    workspace: RemoteWorkspace,
) -> None:
    workspace.write_text("folder/file", "")
    with pytest.raises(FileNotFoundError, match=r"sandbox.*/nope"):
        workspace.read_text("nope")
    with pytest.raises(IsADirectoryError, match="/folder"):
        workspace.read_text("folder")
    with pytest.raises(IsADirectoryError, match="/folder"):
        workspace.write_text("folder", "")
    with pytest.raises(NotADirectoryError, match="/folder/file/below"):
        workspace.write_text("folder/file/below", "")
    workspace.execute_command("touch locked; chmod 000 locked").check()
    with pytest.raises(PermissionError, match="/locked"):
        workspace.read_text("locked")
    workspace.execute_command("chmod 600 locked; echo x > locked; chmod 000 locked").check()
    with pytest.raises(PermissionError, match="/locked"):
        workspace.read_text("locked")
    with pytest.raises(NotADirectoryError, match="/folder/file/below"):
        workspace.read_text("folder/file/below")


READ, WRITE, UP, DOWN = "read", "write", "upload", "download"


@pytest.mark.parametrize(
    ("path", "number", "ways"),
    [
        ("/sys/kernel/x", errno.EROFS, (WRITE, UP)),
        ("/proc/self/nowhere", errno.ENOENT, (READ, WRITE, UP, DOWN)),
        ("x" * 300, errno.ENAMETOOLONG, (READ, WRITE, UP, DOWN)),
        ("ring/file", errno.ELOOP, (READ, WRITE, UP, DOWN)),
        ("/root/file", errno.EACCES, (READ, WRITE, UP, DOWN)),
        ("folder", errno.EISDIR, (READ, WRITE, UP)),
        ("folder/file/below", errno.ENOTDIR, (READ, WRITE, UP, DOWN)),
        ("locked", errno.EACCES, (READ, DOWN)),
        ("pipe", errno.EINVAL, (READ, DOWN)),
        ("/dev/full", errno.ENOSPC, (WRITE, UP)),
        ("/etc/passwd", errno.EACCES, (WRITE, UP)),
    ],
)
def test_each_way_says_what_is_wrong_with_a_path(
    workspace: RemoteWorkspace, tmp_path: Path, path: str, number: int, ways: tuple[str, ...]
) -> None:
    workspace.write_text("folder/file", "")
    workspace.execute_command("ln -s ring ring; mkfifo pipe; echo x >locked; chmod 0 locked")
    local = tmp_path / "local"
    local.write_text("x")
    local.chmod(0o600)
    ask = {
        READ: lambda: workspace.read_bytes(path),
        WRITE: lambda: workspace.write_bytes(path, b"x"),
        UP: lambda: workspace.upload(local, path),
        DOWN: lambda: workspace.download(path, tmp_path / "down"),
    }
    for way in ways:
        with pytest.raises(OSError, match="in the sandbox") as found:
            ask[way]()
        assert (way, found.value.errno) == (way, number)
        assert found.value.filename == workspace.path(path)


def test_a_path_that_is_not_utf8_is_one_like_any_other(
    workspace: RemoteWorkspace, tmp_path: Path
) -> None:
    name = os.fsdecode(b"caf\xe9 'x' $y\\1")
    workspace.write_text(f"{name}/{name}", "text")
    assert workspace.read_text(f"{name}/{name}") == "text"
    assert workspace.execute_command(f"cat {name[:4]}*", cwd=name).check().stdout == "text"
    (tmp_path / "local").write_text("up")
    workspace.upload(tmp_path / "local", f"{name}/up")
    workspace.download(name, tmp_path / "down")
    assert (tmp_path / "down" / "up").read_text() == "up"
    assert (tmp_path / "down" / name).read_text() == "text"
    workspace.download(f"{name}/up", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "up"
    workspace.upload(tmp_path / "down", f"{name} too")
    assert workspace.read_text(f"{name} too/{name}") == "text"
    for ask in (workspace.read_text, lambda path: workspace.execute_command("ls", cwd=path)):
        with pytest.raises(FileNotFoundError):
            ask(f"no {name}")
    with pytest.raises(IsADirectoryError):
        workspace.read_text(name)
    assert workspace.execute_command("ls -d /tmp/copy-*").exit_code == 2


def test_fifty_megabytes_go_in_and_out(workspace: RemoteWorkspace, tmp_path: Path) -> None:
    content = os.urandom(1_000_000) * 50
    local = tmp_path / "big"
    local.write_bytes(content)
    started = time.monotonic()
    workspace.upload(local, "big")
    uploaded = time.monotonic()
    workspace.download("big", tmp_path / "new folder" / "big")
    downloaded = time.monotonic()
    assert (tmp_path / "new folder" / "big").read_bytes() == content
    print(f"50 MB: up {uploaded - started:.2f} s, down {downloaded - uploaded:.2f} s")


def test_a_folder_goes_in_and_out_whole(workspace: RemoteWorkspace, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "build" / ".hidden").mkdir(parents=True)
    (source / "empty").mkdir()
    (source / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (source / "run.sh").chmod(0o755)
    (source / "build" / "ü x").write_text("text")
    (source / "link").symlink_to("build/ü x")
    (source / "build" / "up").symlink_to("../run.sh")

    workspace.upload(source, "deep/copy")
    result = workspace.execute_command("git init -q . && ./run.sh && cat link", cwd="deep/copy")
    assert result.check().stdout == "ran\ntext"
    owner = workspace.execute_command("stat -c %U deep/copy/run.sh; id -un").stdout.split()
    assert owner[0] == owner[1]

    workspace.download("deep/copy", tmp_path / "back")
    found = {str(path.relative_to(tmp_path / "back")) for path in (tmp_path / "back").rglob("*")}
    assert {"empty", "build/.hidden", "build/ü x", "link", "build/up", ".git/config"} <= found
    assert os.access(tmp_path / "back" / "run.sh", os.X_OK)
    assert not os.access(tmp_path / "back" / "build" / "ü x", os.X_OK)
    assert os.readlink(tmp_path / "back" / "build" / "up") == "../run.sh"  # noqa: PTH115
    assert workspace.execute_command("ls -d /tmp/copy-*").exit_code == 2


@pytest.mark.skipif(os.name == "nt", reason="no permissions there")
def test_permissions_come_along(workspace: RemoteWorkspace, tmp_path: Path) -> None:
    workspace.write_text("there", "old")
    workspace.execute_command("chmod 755 there; mkdir folder; ln -s folder link").check()
    for mode in (0o600, 0o640, 0o400, 0o754, 0o644):
        local = tmp_path / f"{mode:o}"
        local.write_text("text")
        local.chmod(mode)
        for name in ("there", f"below/{mode:o}", f"link/{mode:o}"):
            workspace.upload(local, name)
            assert workspace.execute_command(f"stat -c %a {name}").stdout == f"{mode:o}\n"
            workspace.execute_command("chmod 755 there")
        back = tmp_path / "back"
        workspace.download(f"below/{mode:o}", back)
        assert stat.S_IMODE(back.stat().st_mode) == mode
        assert back.read_text() == "text"
    workspace.execute_command("chmod 2751 folder; chmod 000 folder/400").check()
    workspace.execute_command("rm folder/400; cp -r folder elsewhere; ln -s ../link elsewhere/up")
    workspace.download("link", tmp_path / "folder")
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o751
    assert stat.S_IMODE((tmp_path / "folder" / "754").stat().st_mode) == 0o754
    (tmp_path / "local link").symlink_to("folder")
    workspace.upload(tmp_path / "local link", "copy")
    assert workspace.execute_command("stat -c %a copy copy/600").stdout == "751\n600\n"


@pytest.mark.skipif(os.name == "nt", reason="no permissions there")
def test_a_private_file_is_never_readable_for_others(
    workspace: RemoteWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at when it is written, before its own permissions are set."""
    key = tmp_path / "key"
    key.write_text("secret")
    key.chmod(0o600)
    workspace.write_text("there", "not secret yet")
    seen = []
    write = files.write_bytes

    def write_and_look(*args: Any) -> None:
        write(*args)
        seen.append(workspace.execute_command(f"stat -c %a {args[1]}").stdout)

    monkeypatch.setattr(files, "write_bytes", write_and_look)
    for name in ("there", "new", "folder/below"):
        workspace.upload(key, name)
    assert seen == ["600\n"] * 3


def test_a_program_stays_executable(workspace: RemoteWorkspace, tmp_path: Path) -> None:
    (tmp_path / "program").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "program").chmod(0o755)
    workspace.upload(tmp_path / "program", "bin/program")
    assert workspace.execute_command("bin/program").stdout == "ran\n"


def test_an_upload_into_a_folder_keeps_what_is_there(
    workspace: RemoteWorkspace, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("new")
    workspace.write_text("folder/a", "old")
    workspace.write_text("folder/b", "stays")
    workspace.upload(tmp_path, "folder")
    assert workspace.read_text("folder/a") == "new"
    assert workspace.read_text("folder/b") == "stays"


def test_a_copy_that_fails_says_why(workspace: RemoteWorkspace, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        workspace.download("nope", tmp_path / "nope")
    with pytest.raises(FileNotFoundError):
        workspace.upload(tmp_path / "nope", "nope")
    assert not list(tmp_path.iterdir())
    workspace.write_text("file", "")
    with pytest.raises(NotADirectoryError, match="/file"):
        workspace.upload(tmp_path, "file")
    workspace.execute_command("mkdir locked; touch locked/x; chmod 000 locked/x").check()
    with pytest.raises(PermissionError, match="/locked"):
        workspace.download("locked", tmp_path / "locked")
    assert workspace.execute_command("ls /tmp | grep -e ^copy -e ^path").stdout == ""


def test_links_and_devices_do_not_come_out(
    workspace: RemoteWorkspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.execute_command(
        "mkdir tree; cd tree; echo text > file; ln file hard; mkfifo pipe;"
        " ln -s /etc/passwd absolute; ln -s ../../outside relative; ln -s file inside"
    ).check()
    workspace.download("tree", tmp_path / "tree")
    assert {path.name for path in (tmp_path / "tree").iterdir()} == {"file", "hard", "inside"}
    assert (tmp_path / "tree" / "hard").read_text() == "text\n"
    assert caplog.text.count("Not downloaded") == 3
