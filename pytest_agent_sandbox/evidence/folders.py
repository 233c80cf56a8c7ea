"""Folders of evidence: one output folder for a run, one folder in it for each test."""

from __future__ import annotations

import hashlib
import itertools
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from pytest_agent_sandbox.host.slug import slug

#: Marks a folder as ours: only such a folder is ever cleared.
SIGN = ".agent-results"
#: Holds a `Row` on each line; all processes of a run append to it.
ROWS = "results.jsonl"
#: In each test's folder from its first moment on.
RESULT = "result.json"
#: Holds a `Group` on each line: the verdicts on tests that were tried several times.
GROUPS = "trials.jsonl"
#: A test's page, and what changed on its workspaces' disks: in its folder.
PAGE = "transcript.html"
DIFF = "workspace.diff"
#: The run's page.
INDEX = "index.html"
_SLUG_LIMIT = 60
_HASH_LENGTH = 8


def folder_name(node_id: str, attempt: int = 1) -> str:
    """Return a readable and unique folder name for one attempt at a test.

    The hash tells apart what the slug does not: `[a/b]` and `[a-b]` slug alike.
    """
    digest = hashlib.sha256(node_id.encode()).hexdigest()[:_HASH_LENGTH]
    path, _, name = node_id.partition("::")
    readable = f"{PurePosixPath(path).stem}-{name}"
    shown = slug(readable, _SLUG_LIMIT).rstrip("-")
    suffix = f"-attempt{attempt}" if attempt > 1 else ""
    return f"{shown}-{digest}{suffix}"


def begin_run(output: Path, run: str) -> bool:
    """Make the output folder ready for a run; what an earlier run left in it goes.

    A folder that we did not make is left as it is, and gets no page of the run. Each process of a
    run calls this before it keeps anything; the first one clears.

    Args:
        output: The output folder.
        run: The run's id, the same in all its processes.

    Returns:
        Whether the run can use it: another one that still goes on may `hold` it.
    """
    sign, lock = output / SIGN, output / f"{SIGN}.lock"
    _make(output)
    if _is_foreign(output):
        return True
    with FileLock(lock):
        if sign.is_file():
            if is_of(output, run):
                return True
            if _is_in_use(output):
                return False
            _clear(output)
        # First of all: other processes of this run know the folder by it.
        sign.write_text(run, encoding="utf-8")
        # Evidence does not belong into a repository; this keeps it out of `git status`.
        (output / ".gitignore").write_text("*\n", encoding="utf-8")
    return True


class Hold:
    """Sign for other runs that a run's process lives, and its output folder is not theirs to clear.

    Make one with `hold`. The system lets go of it too when the process is killed.

    Attributes:
        output: The folder.
    """

    def __init__(self, output: Path, lock: FileLock | None = None) -> None:
        self.output = output
        self._lock = lock

    def close(self) -> None:
        """Let go of the folder. May be called more than once."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()
            with suppress(OSError):
                Path(lock.lock_file).unlink(missing_ok=True)


def hold(output: Path, run: str) -> Hold:
    """Make an output folder ready for a run, as `begin_run` does, and hold on to it.

    Where another run is using it, the next one that is free is taken: `output-2`, `output-3`.

    Args:
        output: The output folder.
        run: The run's id, the same in all its processes.
    """
    for folder in _candidates(output):
        _make(folder)
        if _is_foreign(folder):
            return Hold(folder)
        lock = FileLock(folder / f"{SIGN}.{run}.{secrets.token_hex(4)}.lock", thread_local=False)
        try:
            lock.acquire()
        except NotImplementedError:  # a file system without locks: nobody can tell
            begin_run(folder, run)
            return Hold(folder)
        held = Hold(folder, lock)
        if begin_run(folder, run):
            return held
        held.close()
    raise AssertionError("there is no end of numbers")


def find_run(output: Path, run: str) -> Path:
    """Find the folder that `hold` has taken for a run; the first one where it has taken none."""
    for folder in _candidates(output):
        if is_of(folder, run):
            return folder
        if not folder.exists():
            break
    return output


def _make(output: Path) -> None:
    """Make an output folder that nobody else may look into; one that is there stays as it is."""
    output.mkdir(mode=0o700, parents=True, exist_ok=True)


def _candidates(output: Path) -> Iterator[Path]:
    yield output
    for number in itertools.count(2):
        yield output.with_name(f"{output.name}-{number}")


def _is_in_use(output: Path) -> bool:
    """Tell whether a process of the run that has the folder lives."""
    return any(_is_held(file) for file in _locks(output))


def _locks(output: Path) -> list[Path]:
    """List the locks of the processes that `hold` the folder, or did when they were killed."""
    run = (output / SIGN).read_text(encoding="utf-8", errors="replace")
    return list(output.glob(f"{SIGN}.{run}.*.lock")) if run.isalnum() else []


def _is_held(file: Path) -> bool:
    lock = FileLock(file, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False
    lock.release()
    return False


def _is_foreign(output: Path) -> bool:
    """Tell whether somebody else has made the folder, and put something into it."""
    return not (output / SIGN).is_file() and any(
        not entry.name.startswith(SIGN) for entry in output.iterdir()
    )


def is_ours(output: Path) -> bool:
    """Tell whether the folder was made by `begin_run`, or was empty then."""
    return (output / SIGN).is_file()


def is_of(output: Path, run: str) -> bool:
    """Tell whether the folder holds the evidence of this run."""
    sign = output / SIGN
    return sign.is_file() and sign.read_text(encoding="utf-8", errors="replace") == run


def _clear(output: Path) -> None:
    for entry in output.iterdir():
        if _is_of_a_test(entry):
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name in (ROWS, GROUPS, INDEX):
            entry.unlink(missing_ok=True)
    for lock in _locks(output):
        with suppress(OSError):
            lock.unlink()


def _is_of_a_test(folder: Path) -> bool:
    """Tell whether a folder is ours; a user may keep others beside it, such as a coverage's."""
    with suppress(OSError):
        names = {entry.name for entry in folder.iterdir()}
        return not names or bool(names & {RESULT, f".{RESULT}"})  # or killed while it was written
    return False


def make_folder(output: Path, name: str) -> Path:
    """Make an empty folder `name` in the output folder."""
    folder = output / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def drop_if_empty(output: Path) -> None:
    """Remove an output folder of ours that holds nothing."""
    if is_ours(output) and all(
        entry.name == ".gitignore" or entry.name.startswith(SIGN) for entry in output.iterdir()
    ):
        shutil.rmtree(output, ignore_errors=True)
