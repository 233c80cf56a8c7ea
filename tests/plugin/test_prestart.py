"""Which sandboxes are started ahead: for which tests, and how many."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_agent_sandbox.engines.engine import EngineContext, SandboxRequest
from pytest_agent_sandbox.plugin.prestart import (
    Forecast,
    Prestart,
    is_overridden,
    wants_workspace,
)
from pytest_agent_sandbox.settings.table import SandboxSettings
from tests.support.memory_engine import MemoryEngine


@dataclass(eq=False)
class Item:
    """What the forecast looks at of a test."""

    nodeid: str
    fixturenames: list[str] = field(default_factory=lambda: ["agent_workspace"])
    marks: list[pytest.Mark] = field(default_factory=list)
    function: Any = None

    def iter_markers(self, name: str) -> list[pytest.Mark]:
        return self.marks


def items(count: int, *, every: int = 1, **marker: object) -> list[Item]:
    marks = [pytest.mark.agent_sandbox(**marker).mark] if marker else []
    names = [["agent_workspace"] if n % every == 0 else ["tmp_path"] for n in range(count)]
    return [Item(f"test_{n}{marker or ''}", names[n], marks) for n in range(count)]


def guess(item: Item) -> str:
    return f"plan of {[mark.kwargs for mark in item.marks]}"


PLAIN = guess(Item(""))


def test_the_next_ones_in_order() -> None:
    small, large = items(2, memory="1g"), items(2, memory="2g")
    tests = [small[0], large[0], small[1], large[1]]
    forecast = Forecast(tests, 1, guess)
    assert forecast.upcoming(3) == [guess(test) for test in tests[:3]]
    forecast.begin(tests[0], tests[1])
    assert forecast.upcoming(2) == [guess(test) for test in tests[:2]]
    forecast.learn(tests[0].nodeid, guess(tests[0]))
    assert forecast.upcoming(2) == [guess(test) for test in tests[1:3]]
    forecast.begin(tests[3], None)
    assert forecast.upcoming(2) == [guess(tests[3])]
    forecast.learn(tests[3].nodeid, guess(tests[3]))
    assert forecast.upcoming(2) == []


def test_what_one_like_it_has_had_counts_more_than_a_guess() -> None:
    tests = items(3)
    forecast = Forecast(tests, 1, guess)
    forecast.learn(tests[0].nodeid, "another plan")
    assert forecast.upcoming(5) == ["another plan", "another plan"]
    forecast.learn(tests[0].nodeid, "of another one that it has made for itself")
    forecast.learn("(shared)", "of no test")
    assert forecast.upcoming(1) == ["another plan"]


def test_where_nothing_can_be_told_nothing_is_started() -> None:
    tests = items(3)
    forecast = Forecast(tests, 1, lambda item: None)
    assert forecast.upcoming(3) == []
    forecast.learn(tests[0].nodeid, "known now")
    assert forecast.upcoming(3) == ["known now", "known now"]


def test_tests_without_sandboxes_do_not_count() -> None:
    tests = items(6, every=3)  # the first and the fourth
    forecast = Forecast(tests, 1, guess)
    assert forecast.upcoming(6) == [PLAIN, PLAIN]
    forecast.begin(tests[0], tests[1])
    forecast.learn(tests[0].nodeid, PLAIN)
    forecast.begin(tests[2], tests[3])
    assert forecast.upcoming(6) == [PLAIN]


def test_a_test_that_was_skipped_leaves_its_sandbox_to_the_next() -> None:
    tests = items(2)
    forecast = Forecast(tests, 1, guess)
    forecast.begin(tests[0], tests[1])
    assert forecast.upcoming(5) == [PLAIN, PLAIN]
    forecast.begin(tests[1], None)
    assert forecast.upcoming(5) == [PLAIN]


def test_workers_start_their_share() -> None:
    tests = items(10)
    forecast = Forecast(tests, 4, guess)
    assert len(forecast.upcoming(5)) == 3  # of ten
    forecast.begin(tests[4], tests[8])
    forecast.learn(tests[4].nodeid, PLAIN)
    assert len(forecast.upcoming(5)) == 2, "the next one is known, and half of the rest"
    forecast.begin(tests[8], None)
    assert len(forecast.upcoming(5)) == 1, "its own"
    forecast.learn(tests[8].nodeid, PLAIN)
    assert forecast.upcoming(5) == [], "the last of this worker"


@pytest.mark.parametrize(
    ("names", "wants"),
    [
        (["agent_workspace", "tmp_path"], True),
        (["agent_conversation"], True),
        (["agent_conversation", "shared_agent_workspace"], False),
        (["agent_conversation", "shared_agent_workspace", "agent_workspace"], True),
        (["agent_workspace_factory"], False),
        (["agent_llm"], False),
    ],
)
def test_who_wants_one(names: list[str], wants: bool) -> None:
    assert wants_workspace(Item("", names)) is wants


def elsewhere(agent_conversation: Any, ws: Any) -> None:
    agent_conversation(script=[], workspace=ws)


def elsewhere_in_a_part(agent_conversation: Any, ws: Any) -> None:
    def talk() -> None:
        agent_conversation(None, workspace=ws)

    talk()


def here(agent_conversation: Any) -> None:
    agent_conversation(script=[])


@pytest.mark.parametrize(
    ("function", "wants"), [(elsewhere, False), (elsewhere_in_a_part, False), (here, True)]
)
def test_a_test_that_says_where_its_agents_work_wants_none(function: Any, wants: bool) -> None:
    item = Item("", ["agent_conversation"], function=function)
    assert wants_workspace(item) is wants
    both = Item("", ["agent_conversation", "agent_workspace"], function=function)
    assert wants_workspace(both)


def test_a_kind_of_test_that_has_asked_for_none_is_not_waited_for() -> None:
    tests = [Item(f"test_{n}", ["agent_conversation", "ws"]) for n in range(3)]
    other = Item("test_other", ["agent_conversation"])
    forecast = Forecast([*tests, other], 1, guess)
    forecast.begin(tests[0], tests[1])
    assert len(forecast.upcoming(4)) == 4
    forecast.begin(tests[1], tests[2])
    assert len(forecast.upcoming(4)) == 1, "the one of another kind"
    forecast.learn(tests[1].nodeid, PLAIN)
    assert len(forecast.upcoming(4)) == 2, "they do, after all"


def test_of_a_scope_the_first_test_wants_one(pytester: pytest.Pytester) -> None:
    path = pytester.makepyfile("""
        import pytest
        pytestmark = pytest.mark.agent_sandbox(scope="module")
        def test_a(agent_workspace): pass
        def test_b(agent_workspace): pass
        @pytest.mark.agent_sandbox(memory="2g")
        def test_c(agent_workspace): pass
        @pytest.mark.agent_sandbox(scope="function")
        def test_d(agent_workspace): pass
        @pytest.mark.agent_sandbox(scope="modul")
        def test_e(agent_workspace): pass
    """)
    items, _ = pytester.inline_genitems(path, "-p", "no:syrupy", "-p", "no:asyncio")
    forecast = Forecast(items, 1, lambda item: item.name)
    assert forecast.upcoming(9) == ["test_a", "test_c", "test_d", "test_e"]


@pytest.mark.parametrize("name", ["sandbox_image", "sandbox_settings", "another"])
def test_overridden_fixtures(pytester: pytest.Pytester, name: str) -> None:
    pytester.makeconftest(f"""
        import pytest
        @pytest.fixture(scope="session")
        def {name}(): return "mine"
    """)
    # syrupy (7.0) wants a session that has come to its end.
    pytester.makeini("[pytest]\naddopts = -p no:syrupy -p no:asyncio")
    (item,) = pytester.getitems("def test_x(agent_workspace): pass")
    assert is_overridden(item) is (name != "another")
    assert is_overridden(Item("")), "to be on the safe side"


def test_tests_that_ask_for_the_same_have_one_request() -> None:
    """Engines keep what a request means by the request: the files that are copied, say."""
    asked: list[list[SandboxRequest]] = []

    class Engine(MemoryEngine):
        ahead = 2

        def prepare(self, requests):
            asked.append(list(requests))

    def request(settings: SandboxSettings, image: str) -> SandboxRequest:
        return SandboxRequest(settings=settings, image=image)

    settings = SandboxSettings()
    tests = [*items(4), *items(2, memory="1g")]
    engine = Engine(EngineContext(settings=settings, run="1"))
    prestart = Prestart(tests, engine, settings, request, workers=1)
    for test, after in zip(tests, [*tests[1:], None], strict=True):
        prestart.begin(test, after)
        own = settings if "memory" not in test.nodeid else SandboxSettings(memory="1g")
        prestart.learn(test.nodeid, SandboxRequest(settings=own, test=test.nodeid))
    assert len({request for requests in asked for request in requests}) == 2
    assert {request.test for requests in asked for request in requests} == {""}


def test_nothing_starts_ahead_of_a_test_that_will_be_skipped(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "false")
    for name in ("LLM_MODEL", "LLM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    pytester.makeini("[pytest]\naddopts = -p no:syrupy -p no:asyncio")
    tests = pytester.getitems("""
        def test_skipped(agent_conversation):
            agent_conversation().run()
        def test_scripted(agent_conversation, agent_llm):
            agent_llm.script([])
            agent_conversation().run()
    """)
    prepared: list[int] = []

    class Engine(MemoryEngine):
        ahead = 2

        def prepare(self, requests):
            prepared.append(len(requests))

    settings = SandboxSettings()

    def request(settings: SandboxSettings, image: str) -> SandboxRequest:
        return SandboxRequest(settings=settings, image=image)

    engine = Engine(EngineContext(settings=settings, run="1"))
    Prestart(tests, engine, settings, request, workers=1).start_ahead()
    monkeypatch.setenv("LLM_MODEL", "openai/gpt-4o")
    monkeypatch.setenv("LLM_API_KEY", "sk-of-nobody")
    Prestart(tests, engine, settings, request, workers=1).start_ahead()
    assert prepared == [1, 2]
