"""Files of this machine, packed for a container that has not started."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from pytest_agent_sandbox.containers import host_files
from pytest_agent_sandbox.containers.host_files import folders_above, joined, packed
from pytest_agent_sandbox.errors import SettingsError


def names_in(archive: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        return {member.name: member for member in members}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "kit/deep").mkdir(parents=True)
    (tmp_path / "kit/deep/a.txt").write_text("a")
    (tmp_path / "kit/run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "kit/run.sh").chmod(0o750)
    return tmp_path


def test_files_and_folders_keep_their_modes_and_belong_to_nobody_here(source: Path) -> None:
    found = names_in(packed([f"{source}/kit:/opt/kit", f"{source}/kit/run.sh:/usr/bin/"], ()))
    assert set(found) == {
        "opt/kit",
        "opt/kit/deep",
        "opt/kit/deep/a.txt",
        "opt/kit/run.sh",
        "usr/bin/run.sh",
    }
    assert found["usr/bin/run.sh"].mode == 0o750
    assert {(one.uid, one.gid, one.uname, one.gname) for one in found.values()} == {(0, 0, "", "")}


def test_nothing_for_nothing() -> None:
    assert packed([], ["/data"]) == b""


def test_the_folders_above(source: Path) -> None:
    archive = packed([f"{source}/kit:/opt/x/kit", f"{source}/kit/run.sh:/opt/run"], ())
    assert folders_above(archive) == ["/opt", "/opt/x"]


def test_joined_archives_keep_all(source: Path) -> None:
    one, two = (packed([f"{source}/kit/run.sh:/{name}"], ()) for name in "ab")
    assert list(names_in(joined(one, b"", two))) == ["a", "b"]


@pytest.mark.parametrize(
    ("copy", "problem"),
    [
        ("nothing", "is not written as SOURCE:TARGET"),
        ("a:relative", "is not written as SOURCE:TARGET"),
        ("{}/kit:/data/x", "/data/x is in a volume"),
        ("{}/kit:/data", "/data is in a volume"),
        ("{}/kit:/other/../data/x", "/data/x is in a volume"),
        ("{}/gone:/x", "gone cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_copied(source: Path, copy: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=rf"files: .*{problem}"):
        packed([copy.format(source)], ["/data"])


def test_too_much(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_files, "_LARGEST", 100)
    with pytest.raises(SettingsError, match="mount a folder of that size by volumes"):
        packed([f"{source}/kit:/x"], ())
