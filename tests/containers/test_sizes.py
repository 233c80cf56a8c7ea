"""Sizes are read as the docker command line reads them."""

from __future__ import annotations

import pytest
from docker.errors import DockerException
from docker.utils import parse_bytes

from pytest_agent_sandbox.containers.sizes import size_in_bytes
from pytest_agent_sandbox.errors import SettingsError

GOOD = (
    1000,
    "1000",
    "1b",
    "2k",
    "512m",
    "512M",
    "1.5g",
    "2gb",
    "2GB",
    "1.5 g",
    " 3m",
    ".5g",
    "1e9",
)
BAD = ("", "g", "-1g", "0", "two", "2x", "1t", "1,5g", "1..5g", "1e", "nan", "2gg", "2g2")


@pytest.mark.parametrize("size", [*GOOD, *BAD])
def test_as_dockers_own_library_does(size: int | str) -> None:
    try:
        wanted = int(parse_bytes(size))
    except (DockerException, ValueError, TypeError, OverflowError):
        wanted = 0
    assert (wanted > 0) == (size in GOOD)
    if wanted > 0:
        assert size_in_bytes("memory", size) == wanted
    else:
        with pytest.raises(SettingsError, match=r"^memory: .* is not a size"):
            size_in_bytes("memory", size)


def test_none_is_none() -> None:
    assert size_in_bytes("memory", None) is None
