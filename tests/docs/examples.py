"""Python examples: what each is, and the files that a reader would make of them."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import pytest_agent_sandbox
from pytest_agent_sandbox import errors
from pytest_agent_sandbox.plugin import fixtures

from .markdown import Block

_NAME = re.compile(r"# ([\w./-]+\.py)\n")
_FIXTURES = {
    name
    for name, value in vars(fixtures).items()
    if isinstance(value, type(fixtures.agent_workspace))
} | {"request", "tmp_path", "monkeypatch", "capsys", "snapshot"}
_CONFIGURATIONS = {"ini": "pytest.ini", "toml": "pyproject.toml"}


@dataclass
class Project:
    """Blocks of a page that one run of pytest takes.

    Attributes:
        image: The target of the image that its sandboxes are of; empty for the usual one.
        files: What is to be written, by path.
        tests: The files with tests, and their blocks.
        programs: Those to be run by themselves.
    """

    image: str = ""
    files: dict[str, str] = field(default_factory=dict)
    tests: dict[str, Block] = field(default_factory=dict)
    programs: dict[str, Block] = field(default_factory=dict)

    def replace(self, image: str, other: str) -> None:
        """Has another image in the place of one that is not here."""
        for name, text in self.files.items():
            self.files[name] = text.replace(image, other)

    def write(self, folder: Path) -> None:
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")


def projects_of(blocks: list[Block]) -> list[Project]:
    """What the blocks of a page make: one project, and one for each section with settings."""
    configured = {block.section for block in blocks if block.language in _CONFIGURATIONS}
    found: dict[tuple[int, str], Project] = {}
    image = ""
    for number, block in enumerate(blocks):
        own = block.section if block.section in configured else 0
        image = block.notes.get("image", "")
        if "not run" in block.notes or block.language not in ("python", *_CONFIGURATIONS):
            continue
        project = found.setdefault((own, image), Project(image))
        if block.language in _CONFIGURATIONS:
            project.files[_CONFIGURATIONS[block.language]] = block.code
        else:
            _add(project, block, blocks, blocks[:number])
    return [project for project in found.values() if project.tests or project.programs]


def _add(project: Project, block: Block, page: list[Block], earlier: list[Block]) -> None:
    before = dedent(block.notes.get("before", "")).strip("\n")
    code = f"{before}\n{block.code}" if before else block.code
    tree = ast.parse(code)
    named = _NAME.match(block.code)
    path = _free_path(project, block, named[1] if named else f"test_line_{block.line}.py")
    if named:  # it is said to be complete
        project.files[path] = block.code
        if _has_tests(tree):
            project.tests[path] = block
        elif path.endswith("conftest.py"):
            pass
        elif not any(named[1] in other.code for other in page if other is not block):
            project.programs[path] = block
        else:  # something to upload: found from where pytest is run, too
            project.files.setdefault(named[1], block.code)
    elif _has_tests(tree):
        project.files[path] = _imports(tree, earlier) + code
        project.tests[path] = block
    elif used := sorted(_free_names(tree) & _FIXTURES):
        project.files[path] = _imports(tree, earlier) + _as_test(code, used)
        project.tests[path] = block
    else:
        project.files[path] = _imports(tree, earlier) + code
        project.programs[path] = block


def _free_path(project: Project, block: Block, name: str) -> str:
    """Blocks under one heading share a folder, until a name comes again."""
    folders = (f"section_{block.section}{'_again' * times}" for times in range(20))
    return next(path for folder in folders if (path := f"{folder}/{name}") not in project.files)


def _has_tests(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and node.name.lower().startswith("test")
        for node in tree.body
    )


def _free_names(tree: ast.AST) -> set[str]:
    """Names that are used and come from elsewhere."""
    used, bound = set(), set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return used - bound


def _imports(tree: ast.Module, earlier: list[Block]) -> str:
    """What a part of a file lacks: what the page has imported before, pytest, and our own names."""
    free = _free_names(tree)
    known = {"pytest": "import pytest"}
    known |= {name: f"from {errors.__name__} import {name}" for name in vars(errors)}
    known |= {
        name: f"from {pytest_agent_sandbox.__name__} import {name}"
        for name in pytest_agent_sandbox.__all__
    }
    for name, statement in _imported(earlier):
        known[name] = statement
    return "".join(f"{known[name]}\n" for name in sorted(free & known.keys()))


def _imported(earlier: list[Block]) -> Iterator[tuple[str, str]]:
    for block in earlier:
        if block.language != "python":
            continue
        for node in ast.parse(block.code).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    yield (alias.asname or alias.name).partition(".")[0], ast.unparse(node)


def _as_test(code: str, used: list[str]) -> str:
    """A part of a test as a whole one."""
    body = "".join(f"    {line}\n" if line else "\n" for line in code.splitlines())
    head = f"def test_it({', '.join(used)}):\n"
    try:
        compile(head + body, "<example>", "exec")
    except SyntaxError:  # it awaits something
        head = f"import pytest\n\n\n@pytest.mark.anyio\nasync {head}"
    return f"\n\n{head}{body}"
