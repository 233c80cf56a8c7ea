"""Files and folders into a real sandbox and out of it, and archives that mean harm."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import ServerError


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
    assert workspace.execute_command("ls /tmp/archive-*").exit_code == 2


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
    with pytest.raises(ServerError, match=r"mkdir.*file"):
        workspace.upload(tmp_path, "file")
    workspace.execute_command("mkdir locked; touch locked/x; chmod 000 locked/x").check()
    with pytest.raises(ServerError, match="Permission denied"):
        workspace.download("locked", tmp_path / "locked")


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
