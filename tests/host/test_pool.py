"""The warm pool: what is started ahead, handed out, replaced and discarded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pytest_agent_sandbox.errors import SandboxError, SandboxStartFailed
from pytest_agent_sandbox.host.background import Background
from pytest_agent_sandbox.host.pool import Pool, PoolClosedError, Wanted
from tests.support.timing import eventually


class Works:
    """Makes numbered things, as slowly as it is told to; knows what became of them."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.started: list[str] = []
        self.discarded: list[str] = []
        self.broken: set[str] = set()
        self.given_up = 0

    def wanted(self, kind: str) -> Wanted[str]:
        def start(check: Callable[[], None]) -> str:
            name = f"{kind}{len(self.started)}"
            self.started.append(name)
            if kind == "failing":
                raise SandboxStartFailed("no")
            try:
                while not self.may_go_on.wait(0.01):
                    check()
            except PoolClosedError:
                self.given_up += 1
                raise
            return name

        return Wanted(kind, start)


@pytest.fixture
def works() -> Works:
    return Works()


@pytest.fixture
def pool(works: Works) -> Iterator[Pool[str]]:
    is_good = lambda name: name not in works.broken  # noqa: E731
    with Pool[str](2, is_good=is_good, discard=works.discarded.append) as pool:
        yield pool


def test_what_is_wanted_is_ready_as_far_as_there_is_room(pool, works):
    pool.prepare([works.wanted("a"), works.wanted("b"), works.wanted("a")])
    eventually(lambda: pool.is_ready("a") and pool.is_ready("b"))
    assert sorted(works.started) == ["a0", "b1"]
    pool.prepare([works.wanted("a"), works.wanted("b")])
    assert len(works.started) == 2, "they are there"
    assert pool.take("a") == "a0"
    assert pool.take("a") is None
    assert not pool.is_ready("a")
    pool.prepare([works.wanted("b"), works.wanted("a")])
    eventually(lambda: pool.is_ready("a"))
    assert pool.take("a") == "a2"
    assert works.discarded == []


def test_what_nobody_wants_any_more_is_discarded(pool, works):
    pool.prepare([works.wanted("a"), works.wanted("a")])
    eventually(lambda: len(works.started) == 2 and pool.is_ready("a"))
    pool.prepare([works.wanted("a")])
    eventually(lambda: len(works.discarded) == 1)
    pool.prepare([])
    eventually(lambda: len(works.discarded) == 2)
    assert pool.take("a") is None


def test_one_that_is_being_started_is_waited_for(pool, works):
    works.may_go_on.clear()
    pool.prepare([works.wanted("a")])
    eventually(lambda: works.started == ["a0"])
    assert not pool.is_ready("a")
    threading.Timer(0.05, works.may_go_on.set).start()
    assert pool.take("a") == "a0"


def test_one_that_nobody_has_begun_with_is_not_waited_for(pool, works):
    works.may_go_on.clear()
    pool.prepare([works.wanted("a"), works.wanted("a")])
    eventually(lambda: len(works.started) == 2)
    pool.prepare([works.wanted("b"), works.wanted("b")])  # both threads are busy with "a"
    assert pool.take("b") is None
    works.may_go_on.set()
    eventually(lambda: sorted(works.discarded) == ["a0", "a1"])


def test_one_that_died_is_replaced_and_not_handed_out(pool, works):
    pool.prepare([works.wanted("a"), works.wanted("a")])
    eventually(lambda: len(works.started) == 2)
    eventually(lambda: pool.is_ready("a"))
    works.broken.add("a0")
    assert pool.take("a") == "a1"
    assert works.discarded in ([], ["a0"])
    works.broken.add("a1")
    assert pool.take("a") is None
    assert works.discarded == ["a0"]


def test_a_kind_that_does_not_start_is_not_tried_again(pool, works):
    for _ in range(2):  # the first time may have been bad luck
        pool.prepare([works.wanted("failing")])
        assert pool.take("failing") is None
    pool.prepare([works.wanted("failing"), works.wanted("a")])
    eventually(lambda: pool.is_ready("a"))
    assert works.started == ["failing0", "failing1", "a2"]


def test_closing_gives_up_what_is_being_started(works):
    pool = Pool[str](2, is_good=bool, discard=works.discarded.append)
    pool.prepare([works.wanted("a")])
    eventually(lambda: pool.is_ready("a"))
    works.may_go_on.clear()
    pool.prepare([works.wanted("a"), works.wanted("b")])
    eventually(lambda: len(works.started) == 2)
    began = time.monotonic()
    pool.close()
    pool.close()
    assert time.monotonic() - began < 1
    assert (works.discarded, works.given_up) == (["a0"], 1)
    pool.prepare([works.wanted("a")])
    assert len(works.started) == 2
    assert not [thread for thread in threading.enumerate() if "agent-sandbox" in thread.name]


def test_a_pool_without_room_starts_nothing(works):
    with Pool[str](0, is_good=bool, discard=works.discarded.append) as pool:
        pool.prepare([works.wanted("a")])
        assert pool.take("a") is None
    assert works.started == []


def test_background_work_is_done_at_the_end_and_its_error_told(caplog):
    done = []

    def fail() -> None:
        raise SandboxError("in the background")

    def break_down() -> None:
        raise ValueError("a defect")

    background = Background()
    background.do(lambda: (time.sleep(0.05), done.append(1)))
    background.do(fail)
    background.do(break_down)
    with pytest.raises(SandboxError, match="in the background"):
        background.close()
    assert done == [1]
    assert "a defect" in caplog.text
