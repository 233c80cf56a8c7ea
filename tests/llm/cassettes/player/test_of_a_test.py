"""A player as a test's LLM uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox.host.redaction import Redactor
from pytest_agent_sandbox.llm.budgets import Budget, Limits
from pytest_agent_sandbox.llm.cassettes.cassette import Cassette
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.live import LiveSource
from pytest_agent_sandbox.llm.prices import Prices
from pytest_agent_sandbox.plugin.agent_llm import AgentLLM
from pytest_agent_sandbox.settings.table import SandboxSettings
from tests.support.provider import Provider

from .studio import TEST, Studio, ask, echo, new_player, post


class Host:
    """The gateway of a host whose containers are this machine."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def open_lane(self, source: Any, *, name: str, policy: Any, observer: Any) -> Lane:
        return self._gateway.open_lane(source, name, policy)

    def llm_fields(self, lane: Lane, model: str) -> dict[str, str]:
        return {"model": model, "base_url": lane.base_url("127.0.0.1"), "api_key": lane.token}


def agent_llm(file: Path, live: LiveSource | None, key: str = "", **settings: Any) -> AgentLLM:
    environment = {"LLM_MODEL": "openai/gpt-4o", "LLM_API_KEY": key} if key else {}
    if live is not None:
        environment["LLM_BASE_URL"] = live.base_url
    return AgentLLM(
        test=TEST,
        cassette=file,
        settings=SandboxSettings(**settings),
        own=SandboxSettings(),
        prices=Prices(),
        run_budget=Budget("run", Limits()),
        secrets=Redactor(),
        environment=environment,
    )


def open_conversation(llm: AgentLLM, gateway: Gateway) -> Lane:
    agent = {"llm": {"model": "x", "usage_id": "agent"}}
    host: Any = Host(gateway)
    return llm.connect(agent, host, script=None, name="1", known={})[1]


@pytest.mark.parametrize("passed", [True, False], ids=["passed", "failed"])
def test_a_failed_test_writes_nothing_over_a_good_cassette(
    studio: Studio,
    gateway: Gateway,
    providers: Gateway,
    file: Path,
    tmp_path: Path,
    passed: bool,
) -> None:
    studio.record(file, "a")
    before = file.read_bytes()
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    with providers.open_lane(Provider(echo)) as provider:
        live = LiveSource(provider.base_url("127.0.0.1"), None)
        with agent_llm(file, live, provider.token, llm_record="all") as llm:
            assert llm.mode == "recorded"
            assert post(open_conversation(llm, gateway), ask("b")).status_code == 200
            llm.verify()
            llm.finish(passed=passed, evidence=lambda: evidence)
    assert (file.read_bytes() == before) is not passed
    kept = file if passed else evidence / "cassette.json"
    texts = [r.request.body["messages"][0]["content"] for r in Cassette.load(kept).lanes["1"]]
    assert texts == ["b"]
    assert provider.token not in kept.read_text()
    assert any(str(kept) in note for note in llm.usage.notes) is not passed


@pytest.mark.parametrize(
    ("environment", "settings"),
    [({"CI": "true"}, {}), ({}, {"llm_record": "none"}), ({}, {"llm_record": "once"})],
    ids=["CI", "none", "once"],
)
def test_a_cassette_is_replayed_without_a_key(
    studio: Studio, gateway: Gateway, file: Path, environment: Any, settings: Any
) -> None:
    studio.record(file, "a")
    with agent_llm(file, None, **settings) as llm:
        llm._environment = environment
        assert llm.mode == "replayed"
        assert post(open_conversation(llm, gateway), ask("a")).status_code == 200
        llm.verify()
        llm.finish(passed=True, evidence=lambda: file)
    assert llm.usage.notes == []
    assert [call.model for call in llm.calls] == ["gpt-4o"]


def test_volatile_fields_are_a_setting(studio: Studio, gateway: Gateway, file: Path) -> None:
    with studio.provided(Provider(echo)) as live:
        player = new_player(file, "all")
        assert post(studio.lane(player, live), {**ask("a"), "telemetry": {"run": 1}}).is_success
        player.save("openai/gpt-4o")
    for fields, status in ((("telemetry.run",), 200), ((), 400)):
        with agent_llm(file, None, llm_record="none", llm_volatile_fields=fields) as llm:
            lane = open_conversation(llm, gateway)
            assert post(lane, {**ask("a"), "telemetry": {"run": 2}}).status_code == status
    assert "telemetry, run" in lane.calls[0].problem
