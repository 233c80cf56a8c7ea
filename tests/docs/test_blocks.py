"""Code blocks of the pages are whole, and say what they need beside the package and an engine."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.examples import _free_names
from tests.docs.markdown import ROOT, Block, blocks, text_of

#: What Python itself gives a module.
_OF_A_MODULE = {"__file__", "__name__"}
#: What in a block tells that it needs something, and the words for that above it.
_NEEDS = (
    (r"LLM_API_KEY", "LLM_API_KEY"),
    (r"client_tools=|@client_tool", "pytest-agent-sandbox[tools]"),
    (r"trajectory_snapshot", "pytest-agent-sandbox[snapshots]"),
    (r"browser=True|vscode_url|vnc_url|extra_ports", "agent-sandbox build --target source"),
)
#: In how many lines above a block it is said.
_NEAR = 4

PYTHON = [block for block in blocks("python") if block.page.startswith("docs/")]


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_a_block_of_python_is_whole(block: Block) -> None:
    assert "before" not in block.notes, "what is hidden above it belongs into it"
    assert _free_names(ast.parse(block.code)) <= _OF_A_MODULE


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_it_says_what_it_needs(block: Block) -> None:
    above = "\n".join(text_of(block.page).splitlines()[: block.line - 1])
    shown = re.sub("<!--.*?-->", "", above, flags=re.DOTALL)  # what readers of the page see
    told = [line for line in shown.splitlines() if line.strip()][-_NEAR:]
    needed = {words for sign, words in _NEEDS if re.search(sign, block.code)}
    needed |= {"agent-sandbox build --"} if "image" in block.notes else set()
    needed |= {"LLM_API_KEY"} if "llm" in block.notes else set()
    needed |= {"Needs"} if "not run" in block.notes else set()
    said = [line for line in told if line.startswith("*Needs ")]
    assert all(any(words in line for line in said) for words in needed), needed


@pytest.mark.parametrize("file", sorted(ROOT.glob("examples/**/*.py")), ids=lambda file: file.name)
def test_examples_say_what_they_need(file: Path) -> None:
    code = file.read_text("utf-8")
    told = ast.get_docstring(ast.parse(code)) or ""
    needed = {words for sign, words in _NEEDS if re.search(sign, code)}
    assert all(re.search(rf"^Needs .*{re.escape(words)}", told, re.M) for words in needed), needed
