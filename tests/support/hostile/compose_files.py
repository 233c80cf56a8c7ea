"""Compose files of all shapes: services, or a clear error."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import strategies as st

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.sandbox.services.compose import KEYS, read_compose
from pytest_agent_sandbox.sandbox.services.service import Service
from tests.support.hostile.search import search

_WORDS = st.sampled_from(
    ["", "a", "/d", "a:/d", "80", "1:2/tcp", "$A", "${A:-b}", "${", "CMD", "x=y", "1m", "9" * 400]
)
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | _WORDS | st.text(max_size=9)
_INNER_KEYS = st.sampled_from(
    ["test", "context", "target", "condition", "path", "type", "size", "<<", "db", "x-a"]
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_INNER_KEYS | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
_SERVICES = st.dictionaries(st.sampled_from(KEYS), _VALUES, max_size=5).map(
    lambda keys: {"image": "a", **keys}
)
# JSON is YAML.
_FILES = st.dictionaries(st.sampled_from(["db", "web"]) | st.text(max_size=3), _SERVICES).map(
    lambda services: json.dumps({"services": services, "volumes": {"a": None}})
)


def run(seed: int, count: int) -> None:
    """Read so many files."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "compose.yaml")

        def check(text: str) -> None:
            path.write_text(text, "utf-8", errors="replace", newline="")
            try:
                services = read_compose(path, {"A": "1"})
            except SettingsError:
                return
            assert all(isinstance(service, Service) for service in services.values())

        search(_FILES | st.text(), check, seed=seed, count=count)
