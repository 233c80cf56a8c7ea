"""What a run keeps for its processes, and what is cleared away when it is over."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host import lock_folder
from pytest_agent_sandbox.plugin.pytest_run import forget_trials, ledger_file, run_id, trials_file


@pytest.fixture
def config() -> Any:
    return SimpleNamespace(stash=pytest.Stash())


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.skipif(os.name != "posix", reason="about modes of POSIX")
def test_the_files_of_a_run_are_this_users_alone(temporary: Path, config: Any) -> None:
    """SECURITY.md: "what the processes of a run tell one another is in a folder of mode 0700"."""
    for file in (trials_file(config), ledger_file(run_id(config))):
        assert file.parent.parent == temporary
        assert file.parent.stat().st_mode & 0o777 == 0o700
    lock_folder.lock_folder_path().chmod(0o755)
    with pytest.raises(SandboxError, match="is open to other users"):
        trials_file(config)
    with pytest.raises(SandboxError, match="is open to other users"):
        ledger_file(run_id(config))


def test_what_was_told_of_trials_goes(temporary: Path, config: Any) -> None:
    file = trials_file(config)
    file.touch()
    forget_trials(config)
    assert not file.exists()


def test_runs_without_trials_make_no_folder(temporary: Path, config: Any) -> None:
    forget_trials(config)
    assert not list(temporary.iterdir())


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="root can be another user")
def test_another_users_folder_is_no_trouble_to_runs_without_trials(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_folder, "_runtime_folders", list)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o1777)
        Path(folder, "pytest-agent-sandbox-65534").mkdir(mode=0o700)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        os.seteuid(65534)
        try:
            forget_trials(config)
            with pytest.raises(SandboxError, match=r"belongs to another user \(number 0\)"):
                trials_file(config)
        finally:
            os.seteuid(0)
