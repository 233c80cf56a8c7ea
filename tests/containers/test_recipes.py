"""What images are made of, without an engine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox.cli.main import make_parser
from pytest_agent_sandbox.containers import recipes
from pytest_agent_sandbox.containers.image_names import AGENTS, AGENTS_LABEL
from pytest_agent_sandbox.containers.images import Image
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host.host_network import HostNetwork

FOLDER = Path(recipes.__file__).parent / "image"
GUIDE = Path(__file__).parents[2] / "docs" / "coding-agents.md"
BASE = Image("python:3.13", "sha256:1", None, "linux/amd64")


def read(agent: str, name: str) -> dict[str, Any]:
    return dict(json.loads((FOLDER / "agents" / agent / name).read_text("utf-8")))


def test_each_agent_has_a_folder_and_a_line_in_the_guide() -> None:
    assert sorted(path.name for path in (FOLDER / "agents").iterdir() if path.is_dir()) == [*AGENTS]
    told = dict(re.findall(r"^\| `([\w-]+)` \| `([\w-]+)` \|", GUIDE.read_text("utf-8"), re.M))
    assert told == {agent: read(agent, "package.json")["programs"] for agent in AGENTS}


@pytest.mark.parametrize("agent", AGENTS)
def test_each_package_of_an_agent_is_pinned(agent: str) -> None:
    wanted = read(agent, "package.json")["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    packages = read(agent, "package-lock.json")["packages"]
    assert packages.pop("")["dependencies"] == wanted
    assert len(packages) > 1
    for name, about in packages.items():
        assert about["integrity"].startswith("sha512-"), name
        assert "resolved" not in about, "it comes from whatever registry the environment names"


def test_tools_are_pinned_with_their_hashes() -> None:
    text = (FOLDER / "requirements-tools.txt").read_text("utf-8")
    entries = re.split(r"(?m)^(?=\w)", text)[1:]
    assert [entry.partition("==")[0] for entry in entries] == [
        "iniconfig",
        "packaging",
        "pluggy",
        "pygments",
        "pytest",
    ]
    assert all(entry.count("--hash=sha256:") == 2 for entry in entries)


def test_the_recipe_of_agents() -> None:
    server = recipes.server_recipe(BASE, "1.58.0", HostNetwork())
    made = recipes.agents_recipe(server, ["codex", "claude-code"])
    assert made.reference.startswith("pytest-agent-sandbox/agent-server:1.58.0-source-minimal-")
    assert made.reference != server.reference
    assert made.labels == {AGENTS_LABEL: "claude-code,codex"}
    assert [name for name in made.files if name.startswith("packages/")] == [
        "packages/claude-code/package.json",
        "packages/claude-code/package-lock.json",
        "packages/codex/package.json",
        "packages/codex/package-lock.json",
    ]
    with pytest.raises(SettingsError, match=r"no agent 'cursor' to build with; choose from "):
        recipes.agents_recipe(server, ["codex", "cursor"])


def test_agents_on_the_command_line() -> None:
    parse = make_parser().parse_args
    assert parse(["build"]).agents == []
    assert parse(["build", "--with", "claude-code, codex,"]).agents == ["claude-code", "codex"]
