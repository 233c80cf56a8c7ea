"""Where evidence is kept: one output folder for a run, one folder in it for each test."""

from __future__ import annotations

import hashlib
import re
import shutil
from contextlib import suppress
from pathlib import Path, PurePosixPath

from filelock import FileLock

#: Marks a folder as ours: only such a folder is ever cleared.
SIGN = ".agent-results"
#: Holds a `Row` on each line; all processes of a run append to it.
ROWS = "results.jsonl"
#: In each test's folder from its first moment on.
RESULT = "result.json"
#: Holds a `Group` on each line: the verdicts on tests that were tried several times.
GROUPS = "trials.jsonl"
#: The run's page.
INDEX = "index.html"
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

    A folder that we did not make is left as it is, and gets no page of the run. Each process of a
    run calls this before it keeps anything; the first one clears.

    Args:
        output: The output folder.
        run: The run's id, the same in all its processes.
    """
    sign, lock = output / SIGN, output / f"{SIGN}.lock"
    output.mkdir(parents=True, exist_ok=True)
    if not sign.is_file() and any(entry != lock for entry in output.iterdir()):
        return  # not ours
    with FileLock(lock):
        if sign.is_file():
            if is_of(output, run):
                return
            _clear(output)
        # First of all: other processes of this run know the folder by it.
        sign.write_text(run, encoding="utf-8")
        # Evidence does not belong into a repository; this keeps it out of `git status`.
        (output / ".gitignore").write_text("*\n", encoding="utf-8")


def is_ours(output: Path) -> bool:
    """Whether the folder was made by `begin_run`, or was empty then."""
    return (output / SIGN).is_file()


def is_of(output: Path, run: str) -> bool:
    """Whether it holds the evidence of this run."""
    sign = output / SIGN
    return sign.is_file() and sign.read_text(encoding="utf-8", errors="replace") == run


def _clear(output: Path) -> None:
    for entry in output.iterdir():
        if _is_of_a_test(entry):
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name in (ROWS, GROUPS, INDEX):
            entry.unlink(missing_ok=True)


def _is_of_a_test(folder: Path) -> bool:
    """Whether a folder is ours; a user may keep other reports beside it, such as a coverage's."""
    with suppress(OSError):
        names = {entry.name for entry in folder.iterdir()}
        return not names or bool(names & {RESULT, f".{RESULT}"})  # or killed while it was written
    return False


def make_folder(output: Path, name: str) -> Path:
    """An empty folder `name` in the output folder."""
    folder = output / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def drop_if_empty(output: Path) -> None:
    """Removes an output folder of ours that holds nothing."""
    own = {SIGN, f"{SIGN}.lock", ".gitignore"}
    if is_ours(output) and own.issuperset(entry.name for entry in output.iterdir()):
        shutil.rmtree(output, ignore_errors=True)
