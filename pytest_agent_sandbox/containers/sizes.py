"""Sizes of memory, as people write them."""

from __future__ import annotations

import math
import re

from pytest_agent_sandbox.errors import SettingsError

# As the docker command line reads them: "2g", "1.5 GB", "512m", and bytes without a unit.
_SIZE = re.compile(
    r"\s*(?P<number>(\d+(\.\d*)?|\.\d+)(e\d+)?)\s*(?P<unit>[bkmg]?)b?\s*", re.IGNORECASE
)
_UNITS = {unit: 1024**power for power, unit in enumerate("bkmg")} | {"": 1}


def size_in_bytes(name: str, size: int | str | None) -> int | None:
    """Return a size as a number of bytes; None for none.

    Args:
        name: What messages call it.
        size: Bytes, or a number with a unit, such as `1.5g`.

    Raises:
        SettingsError: It is none.
    """
    if size is None:
        return None
    parts = _SIZE.fullmatch(str(size))
    found = float(parts["number"]) * _UNITS[parts["unit"].lower()] if parts else 0.0
    if not 1 <= found < math.inf:
        raise SettingsError(f"{name}: {size!r:.100} is not a size such as 2g, 512m or 1000000000")
    return int(found)


def spell_size(size: int) -> str:
    """Return a size as Docker and its users spell it: 600m, 2g."""
    for unit, factor in (("g", 1024**3), ("m", 1024**2)):
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size} bytes"
