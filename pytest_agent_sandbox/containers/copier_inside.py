"""Packs a file or folder of a container into an archive on its standard output.

It is a program of root in a container whose root file system is read-only, for what is in memory
there and so out of the engine's reach.
"""

from __future__ import annotations

import sys
import tarfile


def main(path: str) -> None:
    """Write the archive, of which the first member is the path's.

    Args:
        path: The path.
    """
    try:
        with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
            archive.add(path, arcname="copy")
    except OSError as error:
        sys.stderr.write(f"{error.filename or path}: {error.strerror or error}")
        sys.exit(2 if isinstance(error, FileNotFoundError) else 3)
