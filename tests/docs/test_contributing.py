"""CONTRIBUTING.md shows the house as it is, and the house stays as small as it promises."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pytest_agent_sandbox"
GUIDE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")

MOST_ENTRIES = 16
MOST_LAYERS = 8
MOST_LINES = 400


def entries() -> set[str]:
    found = {f"{path.name}/" if path.is_dir() else path.name for path in PACKAGE.iterdir()}
    return found - {"__pycache__/"}


def test_the_tree_is_that_of_the_package():
    tree = re.search(r"```\npytest_agent_sandbox/\n(.*?)```", GUIDE, re.S)
    told = {line.split()[0] for line in tree[1].splitlines()}
    assert told == entries() - {"__init__.py", "py.typed"}


def test_each_file_that_it_names_is_there():
    named = set(re.findall(r"`([\w./-]+/[\w./-]*)`", GUIDE))
    assert len(named) > 50
    places = (PACKAGE, ROOT)
    assert {name for name in named if not any((place / name).exists() for place in places)} == set()


def test_the_package_has_few_rooms_on_few_floors():
    assert len(entries()) <= MOST_ENTRIES
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]
    assert layers["exhaustive"]
    assert len(layers["layers"]) <= MOST_LAYERS


@pytest.mark.parametrize("kind", ["*.py", "*.js", "*.css", "*.sh"])
def test_no_module_is_long(kind):
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in PACKAGE.rglob(kind)}
    assert lines
    assert {path.name: count for path, count in lines.items() if count > MOST_LINES} == {}


def test_nobody_above_asks_which_engine_it_is():
    above = [path for name in ("plugin", "cli") for path in (PACKAGE / name).rglob("*.py")]
    above.append(PACKAGE / "standalone.py")
    text = {path.name: path.read_text("utf-8") for path in above}
    assert not [name for name, code in text.items() if re.search(r"isinstance\([^)]*Docker", code)]
    asks = r"settings\.(engine|url)\b"
    assert not [name for name, code in text.items() if re.search(asks, code)]
