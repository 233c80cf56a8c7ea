"""The place of this process, as an engine sees it: in one of its containers, or beside them."""

from __future__ import annotations

import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
# Podman, toolbox and distrobox (on Docker, too) leave them in their containers.
_MARKS = (Path("/run/.containerenv"), Path("/run/.toolboxenv"))
# Files of a container that engines mount from a folder named by its id.
_FILE_OF_ITS_OWN = re.compile(r"/(?P<id>[0-9a-f]{64})/\S* /etc/(?:hostname|hosts|resolv\.conf) ")


def own_container() -> str | None:
    """Return the id of the container that this process is in, by its mounts; None where in none."""
    try:
        found = _FILE_OF_ITS_OWN.search(_MOUNTS.read_text(encoding="utf-8", errors="replace"))
    except OSError:  # not Linux
        return None
    return None if found is None else found["id"]


def is_in_container() -> bool:
    """Tell whether this process is in a container of Podman, toolbox or distrobox."""
    return any(mark.exists() for mark in _MARKS)
