"""README: one screen, and as good on the package index as in the repository."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from hatch_build import absolute

from .markdown import ROOT, blocks, text_of

MOST_LINES = 120
README = text_of("README.md")
PROJECT = tomllib.loads(text_of("pyproject.toml"))["project"]
SOURCE = "https://code.example/team/project"


def test_it_fits_a_screen() -> None:
    assert len(README.splitlines()) <= MOST_LINES


def test_its_first_sentence_is_the_description_of_the_package_and_the_site() -> None:
    assert f"\n\n{PROJECT['description']}\n" in README
    assert f"site_description: {PROJECT['description']}\n" in text_of("mkdocs.yml")


def test_the_first_test_has_six_lines() -> None:
    first = blocks("python", page="README.md")[0]
    assert first.code.startswith("# test_facts.py\n")  # .ci/newcomer takes it by that name
    _, _, test = first.code.partition("def test_")
    assert len(test.strip().splitlines()) == 6


def test_badges_say_what_the_package_says() -> None:
    shown = dict(re.findall(r"!\[([^]]+)\]\(docs/images/(\w+)\.svg\)", README))
    labels = {name: text for text, name in shown.items()}
    assert labels.keys() == {"python", "license", "typed"}
    lowest = PROJECT["requires-python"].removeprefix(">=")
    assert labels["python"] == f"Python {lowest} or later"
    assert labels["license"] == f"License: {PROJECT['license']}"
    assert f">≥ {lowest}</text>" in text_of("docs/images/python.svg")
    assert f">{PROJECT['license']}</text>" in text_of("docs/images/license.svg")
    assert (ROOT / "pytest_agent_sandbox" / "py.typed").exists()


def test_it_loads_nothing_from_elsewhere() -> None:
    assert not re.findall(r"!\[[^]]*\]\(\w+:", README)


@pytest.mark.parametrize("source", [SOURCE, f"{SOURCE}/"])
def test_links_are_absolute_on_the_index(source: str) -> None:
    text = absolute(README, source)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(targets) == len(re.findall(r"\]\(([^)\s]+)\)", README))
    assert not [target for target in targets if not target.startswith("https://")]
    assert f"![Typed]({SOURCE}/raw/HEAD/docs/images/typed.svg)" in text
    assert f"({SOURCE}/blob/HEAD/docs/recording.md#a-changed-prompt)" in text


def test_without_an_address_of_the_repository_no_link_leads_nowhere() -> None:
    text = absolute(README, "")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert targets  # those that lead to other projects
    assert not [target for target in targets if not target.startswith("https://")]
    assert "shows the\nchanged words of its prompt" in text
    assert "![" not in text
    assert "\n\n\n" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](b.md) [c](#d)", f"[a]({SOURCE}/blob/HEAD/b.md) [c](#d)"),
        ("[![a](b.svg)](c)", f"[![a]({SOURCE}/raw/HEAD/b.svg)]({SOURCE}/blob/HEAD/c)"),
        ("[a](https://b.example/c)", "[a](https://b.example/c)"),
        ("`agent_llm.script([say(1)])`", "`agent_llm.script([say(1)])`"),
    ],
)
def test_links(text: str, expected: str) -> None:
    assert absolute(text, SOURCE) == expected


def test_the_package_is_built_with_it(tmp_path: Path) -> None:
    build = "import sys; from hatchling.build import build_{0}; build_{0}(sys.argv[1])"
    for kind in ("wheel", "sdist"):
        command = [sys.executable, "-c", build.format(kind), str(tmp_path)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Description-Content-Type"] == "text/markdown"
    told = metadata.get_payload(decode=True)
    assert isinstance(told, bytes)
    address = PROJECT.get("urls", {}).get("Source", "")
    assert told.decode().strip() == absolute(README, address).strip()
    (source,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(source) as archive:  # what it is built with is in it
        names = {Path(name).name for name in archive.getnames()}
    assert {"hatch_build.py", "README.md", "pyproject.toml"} <= names
