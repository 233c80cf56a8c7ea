"""Where the cassette of a test is."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

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
