"""Where evidence is kept: one output folder for a run, one folder in it for each test."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path, PurePosixPath

from filelock import FileLock

#: Marks a folder as ours: only such a folder is ever cleared.
SIGN = ".agent-results"
_SLUG_LIMIT = 60
_HASH_LENGTH = 8


def folder_name(node_id: str, attempt: int = 1) -> str:
    """A readable and unique folder name for one attempt at a test.

    The hash tells apart what the slug does not: `[a/b]` and `[a-b]` slug alike.
    """
    digest = hashlib.sha256(node_id.encode()).hexdigest()[:_HASH_LENGTH]
    path, _, name = node_id.partition("::")
    readable = f"{PurePosixPath(path).stem}-{name}"
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", readable).strip("-")[:_SLUG_LIMIT]
    suffix = f"-attempt{attempt}" if attempt > 1 else ""
    return f"{slug.rstrip('-')}-{digest}{suffix}"


def begin_run(output: Path, run: str) -> None:
    """Makes the output folder ready for a run; what an earlier run left in it goes.

    A folder that we did not make is left as it is. Each process of a run calls this before it keeps
    anything; the first one clears.

    Args:
        output: The output folder.
        run: The run's id, the same in all its processes.
    """
    sign = output / SIGN
    try:
        output.mkdir(parents=True)
        is_new = True
    except FileExistsError:
        is_new = False
        if not sign.is_file():
            return  # not ours, or another process of this run is just making it
    with FileLock(output / f"{SIGN}.lock"):
        if not is_new:
            if sign.read_text(encoding="utf-8") == run:
                return
            for entry in output.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
        sign.write_text(run, encoding="utf-8")
        # Evidence does not belong into a repository; this keeps it out of `git status`.
        (output / ".gitignore").write_text("*\n", encoding="utf-8")


def make_folder(output: Path, name: str) -> Path:
    """An empty folder `name` in the output folder."""
    folder = output / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def drop_if_empty(output: Path) -> None:
    """Removes an output folder of ours that holds no evidence."""
    if (output / SIGN).is_file() and not any(entry.is_dir() for entry in output.iterdir()):
        shutil.rmtree(output, ignore_errors=True)
