"""Tests that are named as those of a promise."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

_TESTS = Path(__file__).parents[1]


def check_there_is(name: str) -> None:
    """Fail where there is no such test, or no test in such a file, below `tests/`."""
    file, _, test = name.partition("::")
    assert _tests_in(file), f"{file} has no tests"
    assert not test or test in _tests_in(file), f"there is no {name}"


@cache
def _tests_in(file: str) -> frozenset[str]:
    tree = ast.parse((_TESTS / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
    return frozenset(name for name in names if name.startswith("test_"))
