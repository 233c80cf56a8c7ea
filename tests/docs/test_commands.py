"""Every command, flag, variable and ini key of the documentation is one that there is."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from functools import cache

import pytest
import yaml

from pytest_agent_sandbox.cli.main import make_parser
from pytest_agent_sandbox.settings.setting import Setting, flag, ini_key
from pytest_agent_sandbox.settings.table import SETTINGS

from .commands import Command, commands, walked
from .examples import projects_of
from .markdown import PAGES, ROOT, Block, blocks, prose_of, text_of

LANGUAGES = {"python", "console", "text", "ini", "toml", "yaml", "json", "diff"}
VARIABLES = {f"PYTEST_{ini_key(setting).upper()}": setting for setting in SETTINGS}
#: What takes little time and changes nothing.
CHEAP = [["doctor"], ["prune", "--dry-run"], ["--help"], ["--version"], ["cassettes", "check"]]


def test_every_block_says_what_it_is() -> None:
    assert not [str(block) for block in blocks() if block.language not in LANGUAGES]


@pytest.mark.parametrize("command", commands(), ids=str)
def test_command(command: Command, pytester: pytest.Pytester) -> None:
    check_variables(command.variables)
    arguments = command.arguments_of("pytest")
    if arguments is not None:
        pytester.parseconfig(*arguments)
    arguments = command.arguments_of("agent-sandbox")
    if arguments is not None:
        check_arguments(arguments)
    if command.words and command.words[0].startswith("scripts/"):
        assert os.access(ROOT / command.words[0], os.X_OK)
    arguments = command.arguments_of("python")
    if arguments and arguments[0].endswith(".py"):
        files = {
            name.partition("/")[2]
            for project in projects_of(blocks(page=command.block.page))
            for name in project.files
        }
        assert ROOT.joinpath(arguments[0]).exists() or arguments[0] in files


def test_the_commands_are_found() -> None:
    """Or else nothing above would fail."""
    words = [command.words for command in commands()]
    assert ("agent-sandbox", "doctor") in words
    assert ("pytest", "test_facts.py") in words
    assert sum(command[0] == "pytest" for command in words if command) > 5


@pytest.mark.parametrize("name", ["--sandbox-memroy=2g", "--sandbox-memory=lots"])
def test_a_wrong_flag_would_be_found(name: str, pytester: pytest.Pytester) -> None:
    with pytest.raises(pytest.UsageError):
        pytester.parseconfig(name)


def check_arguments(arguments: list[str]) -> None:
    try:
        make_parser().parse_args(arguments)
    except SystemExit as ended:
        assert ended.code == 0, f"agent-sandbox does not take {arguments}"  # noqa: PT017


def check_variables(variables: Mapping[str, object]) -> None:
    for name, value in variables.items():
        if name.startswith(("PYTEST_SANDBOX_", "PYTEST_LLM_")):
            assert name in VARIABLES
            check_value(VARIABLES[name], str(value))


def check_value(setting: Setting, value: str) -> None:
    if "$" not in value:  # a variable of the CI
        setting.parse(value)


@pytest.mark.usefixtures("agent_server_image")
@pytest.mark.parametrize("arguments", CHEAP, ids=" ".join)
def test_cheap_commands_run(arguments: list[str], pytester: pytest.Pytester) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "pytest_agent_sandbox.cli", *arguments],
        cwd=pytester.path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("block", blocks("ini", "toml"), ids=str)
def test_settings_in_files(block: Block, pytestconfig: pytest.Config) -> None:
    known = {ini_key(setting): setting for setting in SETTINGS}
    for name, value in settings_in(block.language, block.code).items():
        pytestconfig.getini(name)  # raises where there is no such key
        if name in known:
            check_value(known[name], "\n".join(value) if isinstance(value, list) else str(value))


def settings_in(language: str, text: str) -> dict[str, object]:
    """What a file tells pytest."""
    if language == "toml":
        tool = tomllib.loads(text).get("tool", {}).get("pytest", {})
        return dict(tool.pop("ini_options", {})) | tool
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    return dict(parser["pytest"]) if "pytest" in parser else {}


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_variables_in_yaml(block: Block) -> None:
    for key, value in walked(yaml.safe_load(block.code)):
        if key in ("env", "variables"):
            check_variables(value)


@cache
def flags() -> set[str]:
    """All flags of pytest here, as its help tells them."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--help"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text))


@pytest.mark.parametrize("page", PAGES)
def test_flags_and_variables_in_words(page: str) -> None:
    text = text_of(page)
    ours = re.compile(r"--(?:no-)?(?:sandbox|llm|agent)-[a-z][a-z-]*[a-z]\b")
    assert not set(ours.findall(text)) - flags()
    assert not set(re.findall(r"\bPYTEST_(?:SANDBOX|LLM)_[A-Z_]+\b", text)) - VARIABLES.keys()
    names = {setting.name for setting in SETTINGS}
    assert not set(re.findall(r"mark\.agent_sandbox\((\w+)=", text)) - (names | {"scope"})
    by_flag = {flag(setting): setting for setting in SETTINGS}
    for name, value in re.findall(r"`(--[a-z-]+)=([\w.]+)`", prose_of(page)):
        if name in by_flag and not value.isupper():  # DIR, N
            by_flag[name].parse(value)


def test_the_page_of_settings_tells_all_of_them_and_their_defaults() -> None:
    _, head, rest = text_of("docs/settings.md").partition("| setting | what it does |")
    assert head
    table = rest.partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", table))
    assert named >= {setting.name for setting in SETTINGS}
    by_name = {setting.name: setting for setting in SETTINGS}
    told = dict(re.findall(r"^\| `(\w+)` \|.*\| `?([^|`]+)`? \|$", table, re.MULTILINE))
    assert len(told) > 20
    for name, default in told.items():
        setting = by_name[name]
        if setting.default in (None, ()):  # told in words, as it depends
            continue
        assert setting.parse(default) == setting.default, name
