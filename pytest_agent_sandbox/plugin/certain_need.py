"""Which tests cannot pass unless somebody answers LLM calls, as their code says.

Only what is beyond doubt counts: a call that each way through the test's function comes to, of
something that is known to be ours. Where there is any doubt, the test runs.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

import pytest

_OWN = "pytest_agent_sandbox."
_WORKSPACE, _CONVERSATION, _LLM = "agent_workspace", "agent_conversation", "agent_llm"
#: Methods that ask for the test's LLM, by the fixture.
_ASKING = {
    _WORKSPACE: {"run_agent", "arun_agent"},
    _CONVERSATION: {"astart"},
    _LLM: {"endpoint"},
}
#: What is done later, several times or perhaps not at all, and what an error is kept in.
_UNCERTAIN = (
    *(ast.If, ast.For, ast.AsyncFor, ast.While, ast.Match, ast.Try, ast.TryStar),
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda),
    *(ast.IfExp, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)


def needs_answers(item: pytest.Item) -> bool:
    """Tell whether a test is certain to ask its LLM for something, or to fail before that.

    A test that hands `agent_llm` to something else is not, for that may give it a script. Whether
    the test does so itself is not looked for.

    Args:
        item: The test.
    """
    if _LLM not in getattr(item, "fixturenames", ()):  # its programs are led to no LLM
        return False
    function: Any = getattr(item, "obj", None)
    function = getattr(function, "__func__", function)
    body = _body(function)
    if body is None or _is_handed_on(body, _LLM):
        return False
    information = getattr(item, "_fixtureinfo", None)  # pytest (9.2) tells it in no other way
    fixtures: Mapping[str, Any] = getattr(information, "name2fixturedefs", {})
    names = inspect.signature(function).parameters
    return _Reading({name: _meaning(name, fixtures) for name in names}).comes_to_a_call(body)


def _meaning(name: str, fixtures: Mapping[str, Any]) -> str:
    """Return which of our fixtures one is, or hands on; empty if that is not known."""
    definitions = fixtures.get(name)
    if not definitions:
        return ""
    function = definitions[-1].func
    if (getattr(function, "__module__", None) or "").startswith(_OWN):
        return name
    # An override of that name would hand on what is not known.
    is_workspace = name != _WORKSPACE and _hands_on(function, _WORKSPACE)
    return _meaning(_WORKSPACE, fixtures) if is_workspace else ""


def _hands_on(function: Any, argument: str) -> bool:
    """Tell whether all that a fixture can give is one of its arguments."""
    given: list[ast.expr | None] = []
    for statement in _body(function) or ():
        for node in ast.walk(statement):
            if isinstance(node, ast.Return | ast.Yield):
                given.append(node.value)
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                given += [node] if node.id == argument else []
    return bool(given) and all(
        isinstance(one, ast.Name) and one.id == argument and isinstance(one.ctx, ast.Load)
        for one in given
    )


def _body(function: Any) -> list[ast.stmt] | None:
    """Return what a function does, unless something wraps it or its source is not there."""
    if type(function) is not FunctionType or hasattr(function, "__wrapped__"):
        return None
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, SyntaxError, ValueError):
        return None
    return tree.body if isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef) else None


def _is_handed_on(body: list[ast.stmt], name: str) -> bool:
    """Tell whether a name is used for more than its attributes and methods."""
    nodes = [node for statement in body for node in ast.walk(statement)]
    asked = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    return any(isinstance(n, ast.Name) and n.id == name and id(n) not in asked for n in nodes)


class _Reading:
    """A reading of a function's statements, in order.

    Args:
        meaning: Which of our fixtures names mean.
    """

    def __init__(self, meaning: dict[str, str]) -> None:
        self._meaning = meaning

    def comes_to_a_call(self, statements: list[ast.stmt]) -> bool:
        """Tell whether each way through these statements asks for an LLM, or fails."""
        for statement in statements:
            if any(self._asks(node) for node in _evaluated(statement)):
                return True
            if any(isinstance(node, ast.Return) for node in ast.walk(statement)):
                return False
            self._learn(statement)
        return False

    def _asks(self, node: ast.AST) -> bool:
        if not isinstance(node, ast.Call):
            return False
        called = node.func
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            kind = self._meaning.get(called.value.id, "")
            is_asking = called.attr in _ASKING.get(kind, ())
        else:
            kind = self._meaning.get(called.id, "") if isinstance(called, ast.Name) else ""
            is_asking = kind == _CONVERSATION
        # Unless it may bring a script of its own.
        return is_asking and (kind == _WORKSPACE or all(keyword.arg for keyword in node.keywords))

    def _learn(self, statement: ast.stmt) -> None:
        """Follow the names that a statement gives to things."""
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                self._meaning.pop(node.id, None)
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name(id=other)):
                self._meaning[name] = self._meaning.get(other, "")


def _evaluated(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a statement that are certain to be evaluated with it, or fail."""
    match node:
        case ast.With(items=[first, *_]) | ast.AsyncWith(items=[first, *_]):
            parts: list[ast.AST] = [first]  # what follows may be let off by it
        case ast.Assert(test=test):
            parts = [test]
        case ast.BoolOp(values=[first, *_]):
            parts = [first]
        case ast.Compare(left=left, comparators=[first, *_]):
            parts = [left, first]
        case _:
            parts = [] if isinstance(node, _UNCERTAIN) else list(ast.iter_child_nodes(node))
    yield node
    for part in parts:
        yield from _evaluated(part)
