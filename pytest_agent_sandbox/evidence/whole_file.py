"""Files that are whole or not there: who reads one that was cut takes it for all there is."""

from __future__ import annotations

from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Write a file, in place of one that is there; what was there stays where that fails.

    Args:
        file: The file; nobody else writes it at the same time.
        text: Its content; half surrogate pairs are replaced.

    Raises:
        OSError: The disk is full, or the like.
    """
    new = file.with_name(f".{file.name}")
    try:
        new.write_text(text, encoding="utf-8", errors="replace")
        new.replace(file)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
