"""A program of root in a sandbox: it writes names into /etc/hosts, or takes them out again."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

_FILE = "/etc/hosts"
_MARK = "# service of the test"


def main(addresses: Mapping[str, str], are_wanted: bool) -> None:
    """Change the file, and say what went wrong.

    Args:
        addresses: The names, and what they are to mean.
        are_wanted: Whether the names are to be there.
    """
    try:
        problem = change(addresses, are_wanted)
    except OSError as error:
        problem = str(error.strerror)
    sys.stdout.write(json.dumps({"problem": problem}) + "\n")
    sys.stdout.flush()


def change(addresses: Mapping[str, str], are_wanted: bool) -> str:
    """Put names in, or take them out; names that are there already stay."""
    with open(_FILE) as file:
        lines = file.read().splitlines()
    known = [tuple(line.split()[:2]) for line in lines if line.strip()]
    ours = [f"{address}\t{name}\t{_MARK}" for name, address in sorted(addresses.items())]
    if are_wanted:
        missing = [line for line in ours if tuple(line.split()[:2]) not in known]
        new = lines + missing
    else:
        new = [line for line in lines if line not in ours]
    if new != lines:
        # In place: the engine has mounted this very file.
        with open(_FILE, "w") as file:
            file.write("\n".join(new) + "\n")
    return ""
