"""The file of a test's cassette."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath

from pytest_agent_sandbox.host.slug import slug

_LONGEST_NAME = 100
_HASH_LENGTH = 8


def cassette_file(test_file: Path, node_id: str, folder: str) -> Path:
    """Return the cassette's file: `cassettes/<module>/<test>.json`, beside the test's file.

    A parametrized test has one cassette for each set of parameters, and a repeated test has one for
    each trial. A hash distinguishes names that would be spelled alike.

    Args:
        test_file: The file of the test.
        node_id: The test's node id.
        folder: The setting `llm_cassettes`. A folder that is not below the test's own may be shared
            by many test files: there the folders above the test's file are part of the path.
    """
    path, _, name = own_node_id(node_id).partition("::")
    name = name.replace("::", ".")
    if not re.fullmatch(rf"[\w.]{{1,{_LONGEST_NAME}}}", name, re.ASCII):
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
        name = f"{slug(name, _LONGEST_NAME, kept='_.')}-{digest}"
    place = test_file.parent / folder
    if Path(folder).is_absolute() or ".." in Path(folder).parts:
        place /= PurePosixPath(path).parent
    return place / test_file.stem / f"{name}.json"


def own_node_id(node_id: str) -> str:
    """Return a test's node id without the group that xdist's `--dist loadgroup` adds (3.8)."""
    if node_id.endswith("]"):
        return node_id
    before, bracket, _ = node_id.rpartition("]@")
    if bracket:
        return f"{before}]"
    path, colons, name = node_id.rpartition("::")
    return f"{path}{colons}{name.partition('@')[0]}"
