"""Versions of the agent server: which were tested, in what they differ, and what is done about it.

`scripts/compat` tests them and makes docs/compatibility.md out of what it finds and of this module.
"""

from __future__ import annotations

import re
import threading
import warnings
from dataclasses import dataclass

#: The oldest and the newest minor version that were tested.
TESTED = ((1, 0), (1, 58))

_NUMBERS = re.compile(r"(\d+)\.(\d+)")
_warned: set[str] = set()
_warned_lock = threading.Lock()


class AgentServerVersionWarning(UserWarning):
    """The agent server is of a version that this client was not tested with."""


@dataclass(frozen=True)
class Difference:
    """Something in which versions of the agent server differ from the newest.

    Attributes:
        name: What it is about.
        before: The first minor version that does not have it any more.
        text: How it shows, and what the client does about it.
    """

    name: str
    before: tuple[int, int]
    text: str

    @property
    def versions(self) -> str:
        """The versions that have it, in words."""
        return f"before {named(self.before)}"


#: All that is known, newest first.
DIFFERENCES: tuple[Difference, ...] = ()


def minor_of(version: str) -> tuple[int, int] | None:
    """The first two numbers of a version; None where it does not begin with two numbers.

    Args:
        version: As the server says it, such as `1.58.0`.
    """
    found = _NUMBERS.match(version)
    return (int(found[1]), int(found[2])) if found else None


def named(minor: tuple[int, int]) -> str:
    """A minor version as people write it."""
    return f"{minor[0]}.{minor[1]}"


def differences(version: str) -> list[Difference]:
    """What is known of a version to differ from the newest that was tested.

    Args:
        version: As the server says it, such as `1.58.0`.
    """
    minor = minor_of(version)
    return [one for one in DIFFERENCES if minor is not None and minor < one.before]


def warn_if_untested(version: str) -> None:
    """Warn of a version outside of the tested range, once in this process.

    Args:
        version: As the server says it, such as `1.58.0`.
    """
    minor = minor_of(version)
    oldest, newest = TESTED
    if minor is not None and oldest <= minor <= newest:
        return
    with _warned_lock:
        if version in _warned:
            return
        _warned.add(version)
    known = "; ".join(f"{one.name}: {one.text}" for one in differences(version))
    warnings.warn(
        f"The agent server is of version {version}; this client was tested with "
        f"{named(oldest)} to {named(newest)}. Known to differ: {known or 'nothing'}.",
        AgentServerVersionWarning,
        stacklevel=2,
    )
