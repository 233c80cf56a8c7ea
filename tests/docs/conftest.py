"""A reader's project."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty folder, and pytest in it."""
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder)
