"""The pages of the documentation, and what stands in their code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parent.parent.parent
#: Every page, also one that was added a moment ago.
PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "SECURITY.md", *sorted(ROOT.glob("docs/**/*.md")))
]

_FENCE = re.compile(r"^ *(`{3,})(\S*)")
_NOTES = re.compile(r"<!-- ([a-z ]+):\s(.*?)\s*-->", re.DOTALL)
#: Comments that end where a fence begins.
_ABOVE = re.compile(r"((?:<!--(?:(?!-->).)*-->\s*)+)\Z", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    A comment right above it, `<!-- name: text -->`, says something about it to the tests:

    - `not run`: it cannot be run, and why
    - `fails`: its tests fail, with this text in their report
    - `before`: what comes before it in a test or a program, so that a part can be run
    - `llm`: what a live LLM answers in it, as a list of replies
    - `image`: its sandboxes are of the image with this target

    Attributes:
        page: The page's path in the repository.
        line: Where the fence is, counted from 1.
        section: The line of the heading it stands under.
        language: What the fence says it is.
        code: What is in it.
        notes: What the comments above it say.
    """

    page: str
    line: int
    section: int
    language: str
    code: str
    notes: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def text_of(page: str) -> str:
    return ROOT.joinpath(page).read_text("utf-8")


def blocks(*languages: str, page: str = "") -> list[Block]:
    """The blocks of these languages, in one page or in all."""
    return [
        block
        for name in ([page] if page else PAGES)
        for block in blocks_in(text_of(name), name)
        if not languages or block.language in languages
    ]


def blocks_in(markdown: str, page: str) -> Iterator[Block]:
    lines = markdown.splitlines()
    section, number = 0, 0
    while number < len(lines):
        if lines[number].startswith("#"):
            section = number + 1
        fence = _FENCE.match(lines[number])
        if not fence:
            number += 1
            continue
        ends = (at for at in range(number + 1, len(lines)) if lines[at].strip() == fence[1])
        end = next(ends, len(lines))
        above = _ABOVE.search("\n".join(lines[:number]) + "\n")
        yield Block(
            page,
            number + 1,
            section,
            fence[2],
            dedent("\n".join(lines[number + 1 : end])) + "\n",
            dict(_NOTES.findall(above[1])) if above else {},
        )
        number = end + 1


def prose_of(page: str) -> str:
    """The page without its blocks."""
    return re.sub(r"^ *(`{3,}).*?^ *\1 *$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
