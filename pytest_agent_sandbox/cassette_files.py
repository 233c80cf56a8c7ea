"""Where the cassette of a test is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pytest_agent_sandbox.errors import CassetteError
from pytest_agent_sandbox.llm.cassette import Cassette

_LONGEST_NAME = 100
_HASH_LENGTH = 8


def cassette_file(test_file: Path, node_id: str, folder: str) -> Path:
    """`cassettes/<module>/<test>.json`, beside the test's file.

    A parametrized test has one for each set of parameters, and so has each trial of a repeated
    one; a hash tells apart what would be spelled alike.

    Args:
        test_file: The file of the test.
        node_id: The test's.
        folder: The setting `llm_cassettes`; taken as it is where it is absolute.
    """
    name = node_id.partition("::")[2].replace("::", ".")
    if not re.fullmatch(rf"[\w.]{{1,{_LONGEST_NAME}}}", name, re.ASCII):
        digest = hashlib.sha256(node_id.encode()).hexdigest()[:_HASH_LENGTH]
        slug = re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-")[:_LONGEST_NAME]
        name = f"{slug}-{digest}"
    return test_file.parent / folder / test_file.stem / f"{name}.json"


def find_cassettes(folders: Iterable[Path]) -> Iterator[Path]:
    """All cassettes in these folders, in order."""
    for folder in sorted(set(folders)):
        yield from sorted(folder.glob("*/*.json"))


def problem_of(file: Path, used: frozenset[Path]) -> str:
    """What is wrong with a cassette; empty where nothing is.

    Args:
        file: The cassette.
        used: Where all tests that there are would have theirs.
    """
    if file not in used:
        return "no test uses it: delete it, or rename it with its test"
    try:
        Cassette.load(file)
    except CassetteError as error:
        return str(error)
    return ""
