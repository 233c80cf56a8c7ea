"""The annotated tests: `scripts/check` has their types checked, and here they run."""

import json
import re
from pathlib import Path

import pytest

from tests.support.project import Project

SUITE = Path(__file__).parent / "suite"
CHECK = Path(__file__).parents[2] / "scripts" / "check"


def test_the_annotated_tests_pass(tmp_path: Path, agent_server_image: str) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    project = Project(folder)
    project.environment["PYTEST_SANDBOX_ISOLATION"] = "recycled"
    for file in SUITE.glob("*.py"):
        project.write(file.name, file.read_text("utf-8"))
    code, output = project.run()
    assert code == 0, output
    written = (SUITE / "test_annotated.py").read_text("utf-8")
    assert f"{len(re.findall('^def test_', written, re.MULTILINE))} passed" in output


@pytest.mark.parametrize("checker", ["mypy --strict", "basedpyright"])
def test_both_checkers_look_at_them(checker: str) -> None:
    assert f"step {checker}" in CHECK.read_text("utf-8")
    settings = json.loads((SUITE.parent / "pyrightconfig.json").read_text("utf-8"))
    assert settings["typeCheckingMode"] == "strict"
