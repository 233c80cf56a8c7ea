"""`agent-sandbox completion`: what it prints, its shell can read, and it knows every command."""

import shutil
import subprocess
import sys

import pytest

from pytest_agent_sandbox.cli import main


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_it_knows_the_commands_and_their_options(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("doctor", "build", "prune", "cassettes", "base-image", "dry-run", "json"):
        assert word in script


def test_bash_completes_by_it(capsys, tmp_path):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    ask = (
        "source ./script; COMP_WORDS=(agent-sandbox prune --d); COMP_CWORD=2; "
        "_shtab_agent_sandbox; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(
        [bash, "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["--dry-run"], done.stderr


def test_without_what_makes_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 1
    assert "pip install 'pytest-agent-sandbox[completion]'" in capsys.readouterr().err


def test_another_shell(capsys):
    with pytest.raises(SystemExit):
        main(["completion", "fish"])
    assert "invalid choice: 'fish'" in capsys.readouterr().err
