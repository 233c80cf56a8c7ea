"""Command lines in the documentation, taken apart as a shell would."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from .markdown import Block, blocks

_SEPARATORS = {"&&", "||", ";", "|", "&", "(", ")"}
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_REDIRECTION = re.compile(r"\d*[<>]+&?")


@dataclass(frozen=True)
class Command:
    """A command of a line: `A=1 pytest -n 4`.

    Attributes:
        block: Where it stands.
        variables: What is set for it, or exported.
        words: The program and its arguments.
    """

    block: Block
    variables: dict[str, str]
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.block} {shlex.join(self.words)}"

    def arguments_of(self, program: str) -> list[str] | None:
        """What a program is given; None where this command is of another one."""
        for start in ([program], ["python", "-m", program]):
            if list(self.words[: len(start)]) == start:
                return list(self.words[len(start) :])
        return None


def commands() -> list[Command]:
    """All commands of consoles and of YAML files."""
    found: list[Command] = []
    for block in blocks("console"):
        for line in typed(block.code):
            found += parsed(line, block)
    for block in blocks("yaml"):
        for key, value in walked(yaml.safe_load(block.code)):
            if key in ("run", "script", "before_script", "after_script"):
                for line in joined(value).splitlines():
                    found += parsed(line, block)
    return found


def typed(console: str) -> list[str]:
    """The lines after the prompts, with those that continue them."""
    whole = console.replace("\\\n", " ")
    return [line[2:] for line in whole.splitlines() if line.startswith("$ ")]


def joined(value: Any) -> str:
    """A script of a YAML file, which is text or a list."""
    text = value if isinstance(value, str) else "\n".join(map(str, value))
    return text.replace("\\\n", " ")


def walked(value: Any) -> Iterator[tuple[str, Any]]:
    """Each key of a YAML file with its value, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key), inner
            yield from walked(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walked(inner)


def parsed(line: str, block: Block) -> Iterator[Command]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words: list[str] = []
    for token in [*lexer, ";"]:
        if token not in _SEPARATORS:
            words.append(token)
        elif words:
            yield _command(words, block)
            words = []


def _command(words: list[str], block: Block) -> Command:
    variables = {}
    rest = list(words[1:] if words[0] == "export" else words)
    while rest and (found := _ASSIGNMENT.fullmatch(rest[0])):
        variables[found[1]] = found[2]
        rest.pop(0)
    for number, word in enumerate(rest):
        if _REDIRECTION.fullmatch(word):
            rest = rest[:number] + rest[number + 2 :]
            break
    return Command(block, variables, tuple(rest))
