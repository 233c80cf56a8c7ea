"""What the pages of the site take from elsewhere: README, SECURITY.md, the examples, the code.

A hook of MkDocs (see mkdocs.yml). A line such as `<!-- made of: settings -->` in a page is replaced
by what the function of that name returns, and links to files of the repository by links to the
pages that show them.
"""

from __future__ import annotations

import argparse
import ast
import json
import posixpath
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest_agent_sandbox
from pytest_agent_sandbox import errors
from pytest_agent_sandbox.cli.main import make_parser
from pytest_agent_sandbox.engines.docker.running_workspace import RunningWorkspace
from pytest_agent_sandbox.plugin import fixtures
from pytest_agent_sandbox.settings.kinds import switch
from pytest_agent_sandbox.settings.setting import Setting, flag, ini_key
from pytest_agent_sandbox.settings.table import SETTINGS

ROOT = Path(__file__).parent.parent

_MADE = re.compile(r"^<!-- made of: (.+?) -->$", re.MULTILINE)
#: What pages tell the tests of their examples.
_NOTE = re.compile(r"^<!-- (?:before|fails|image|llm|not run):\s.*?-->\n", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Completes a page, before it is rendered."""
    folder = posixpath.dirname(page.file.src_uri)
    own = in_site(markdown, posixpath.join("docs", folder), folder)
    whole = _MADE.sub(lambda found: in_site(made_of(found[1]), "", folder), own)
    return _NOTE.sub("", whole)


def made_of(what: str) -> str:
    """Return the text for one of the marks."""
    source, _, heading = what.partition(": ")
    if heading:
        return section(ROOT.joinpath(source).read_text("utf-8"), heading)
    if what.endswith(".md"):
        return ROOT.joinpath(what).read_text("utf-8")
    return MAKERS[what]()


def section(markdown: str, heading: str) -> str:
    """Return what stands under a heading; `its beginning` is what comes before all."""
    parts: dict[str, list[str]] = {}
    title, in_code = "", False
    for line in markdown.splitlines()[1:]:  # the first is the page's own title
        in_code ^= line.startswith("```")
        if line.startswith("#") and not in_code:
            title = line.lstrip("# ")
        else:
            parts.setdefault(title or "its beginning", []).append(line)
    return "\n".join(parts[heading]).strip()


def in_site(markdown: str, source: str, folder: str) -> str:
    """Return the text with its links, relative to a folder of the repository, as the site has them.

    Args:
        markdown: The text.
        source: The folder of the repository in which its links begin.
        folder: That of the page in the site.
    """

    def link(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(source, found[1]))
        target, anchor = place_in_site(path)
        return posixpath.relpath(target, folder or ".") + (found[2] or anchor)

    return _LINK.sub(link, markdown)


def place_in_site(path: str) -> tuple[str, str]:
    """Return the page, and the anchor in it, that shows a file of the repository."""
    if path == "README.md":
        return "index.md", ""
    if path == "SECURITY.md":
        return "security.md", ""
    if path.partition("/")[0] == "examples":
        name = path.partition("/")[2]
        return "examples.md", f"#{anchor_of(name)}" if name else ""
    return posixpath.relpath(path, "docs"), ""


def examples() -> str:
    """Return the examples, file by file."""
    folder = ROOT / "examples"
    lines = []
    for file in sorted(folder.rglob("*.py"), key=lambda file: (len(file.parts), file)):
        name = file.relative_to(folder).as_posix()
        code = file.read_text("utf-8")
        lines += [f"## {name} {{ #{anchor_of(name)} }}", ""]
        if file.parent != folder and not any(f"#{file.parent.name} " in line for line in lines):
            lines[-2] = f"## {name} {{ #{file.parent.name} }}"
        docstring = ast.get_docstring(ast.parse(code))
        told = (docstring or "").splitlines()
        lines += [told[0] if told else "", ""]
        lines += [f"*{line}*\n" for line in told if line.startswith("Needs ")]
        lines += ["```python", code.rstrip(), "```", ""]
    return "\n".join(lines)


def anchor_of(name: str) -> str:
    """Return the anchor of an example, or of a folder of them."""
    return name.removesuffix(".py").replace("/", "-")


def settings() -> str:
    """Return all settings, in the order of their declaration."""
    return "\n".join(map(described, SETTINGS))


def described(setting: Setting) -> str:
    """Return one of them: what it does, and its names."""
    name = setting.name
    spelled = flag(setting) if setting.parse is switch else f"{flag(setting)}={setting.metavar}"
    marker = "none: it is for the whole run" if setting.run_wide else f"`{name}=…`"
    text = setting.help[0].upper() + setting.help[1:]
    return (
        f"## {name} {{ #{name} }}\n\n{text}.\n\n"
        f"| flag | environment | ini file | marker |\n|---|---|---|---|\n"
        f"| `{spelled}` | `PYTEST_{ini_key(setting).upper()}` "
        f"| `{ini_key(setting)}` | {marker} |\n"
    )


def fixture_functions() -> str:
    """Return the fixtures, as their docstrings describe them."""
    kind = type(fixtures.agent_workspace)
    names = [name for name, value in vars(fixtures).items() if isinstance(value, kind)]
    options = {
        "heading_level": 3,
        "separate_signature": False,
        "show_signature": False,  # what a fixture asks for itself
        "show_symbol_type_heading": False,
        "show_symbol_type_toc": False,
    }
    return "\n".join(
        f"::: pytest_agent_sandbox.plugin.fixtures.{name}\n{given(options)}" for name in names
    )


def given(options: Mapping[str, object]) -> str:
    """Options of mkdocstrings, as they stand below a name."""
    lines = (f"      {name}: {json.dumps(value)}\n" for name, value in options.items())
    return "    options:\n" + "".join(lines)


def api() -> str:
    """Everything that `pytest_agent_sandbox` exports, but for the errors."""
    names = (name for name in pytest_agent_sandbox.__all__ if name not in vars(errors))
    # The base is a class of its own for those who read the code, not for its users.
    running = [name for name in vars(RunningWorkspace) if not name.startswith("_")]
    more = {"DockerWorkspace": given({"inherited_members": running})}
    return "\n".join(f"::: pytest_agent_sandbox.{name}\n{more.get(name, '')}" for name in names)


def all_errors() -> str:
    """Every error, in the order of the tree."""
    names = (name for name in vars(errors) if name in pytest_agent_sandbox.__all__)
    return "\n".join(f"::: pytest_agent_sandbox.{name}\n" for name in names)


def command_line() -> str:
    """Return what `agent-sandbox … --help` prints, for each command."""
    parts = []
    for parser in with_commands(make_parser()):
        parser.formatter_class = partial(argparse.HelpFormatter, width=78)
        parts.append(f"## {parser.prog}\n\n```text\n{parser.format_help()}```\n")
    return "\n".join(parts)


def with_commands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Return a parser, and those of its commands."""
    found = [parser]
    for action in parser._actions:  # argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                found += with_commands(command)
    return found


MAKERS: dict[str, Callable[[], str]] = {
    "API": api,
    "command line": command_line,
    "errors": all_errors,
    "examples": examples,
    "fixtures": fixture_functions,
    "settings": settings,
}
