"""What becomes of pages and results on a disk that fills up while they are written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_agent_sandbox.evidence.folders import INDEX, PAGE, RESULT
from pytest_agent_sandbox.evidence.page.write import write_page
from pytest_agent_sandbox.evidence.result import Result
from pytest_agent_sandbox.evidence.results_table import write_index
from pytest_agent_sandbox.evidence.whole_file import write_whole
from tests.evidence.stories import failing_story

pytestmark = pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file gets larger, as on a disk that has no more room."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITERS: dict[str, Callable[[Path], object]] = {
    PAGE: lambda folder: write_page(folder, failing_story()),
    INDEX: lambda folder: write_index(folder, "project"),
    RESULT: lambda folder: Result(test="x" * 5000).write(folder),
    "any": lambda folder: write_whole(folder / "any", "x" * 5000),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("before", [None, "what was there"])
def test_a_file_is_whole_or_as_it_was(tmp_path: Path, name: str, before: str | None) -> None:
    if before is not None:
        (tmp_path / name).write_text(before)
    with room_for(1000), pytest.raises(OSError, match="too large"):
        WRITERS[name](tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(name)] == (
        [] if before is None else [name]
    )
    assert before is None or (tmp_path / name).read_text() == before
    WRITERS[name](tmp_path)
    assert len((tmp_path / name).read_text()) > 1000


def test_half_a_pair_is_replaced(tmp_path: Path) -> None:
    write_whole(tmp_path / "any", "a\ud800b")
    assert (tmp_path / "any").read_text() == "a?b"
