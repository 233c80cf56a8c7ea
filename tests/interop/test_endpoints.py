"""docs/upstream.md tells of each endpoint of the real server which call of ours there is for it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox import DockerWorkspace, RemoteConversation
from pytest_agent_sandbox.client.resources.server import AgentServer

from .endpoints import CALLS, endpoints, wanted

PAGE = Path(__file__).parents[2] / "docs" / "upstream.md"


@pytest.fixture(scope="module")
def described(running_server: DockerWorkspace) -> dict[str, Any]:
    answer: dict[str, Any] = running_server.connection.get_json("/openapi.json")
    return answer


def test_each_endpoint_has_a_call_or_a_reason(described: dict[str, Any]) -> None:
    found = endpoints(described)
    assert [one.name for one in found if not one.call and not one.reason] == []
    assert set(CALLS) <= {one.name for one in found}, "of none of the server's endpoints"


def test_nine_of_ten_that_a_test_could_want_have_a_call(described: dict[str, Any]) -> None:
    asked = wanted(endpoints(described))
    assert len([one for one in asked if one.call]) / len(asked) >= 0.9


def test_the_page_is_that_of_this_server(described: dict[str, Any]) -> None:
    told = PAGE.read_text("utf-8")
    for one in endpoints(described):
        assert f"| `{one.name}` |" in told


def test_an_endpoint_that_is_new_shows() -> None:
    (new,) = endpoints({"paths": {"/api/novelty": {"post": {}}}})
    assert (new.call, new.reason) == ("", "")


@pytest.mark.parametrize(
    "call", sorted({one for calls in CALLS.values() for one in calls.split(", ")})
)
def test_each_call_is_there(call: str) -> None:
    where, _, name = re.sub(r"\(\)$", "", call).partition(".")
    if not name:
        assert where == "agent_conversation"
        return
    if where == "conversation":
        owner: Any = RemoteConversation
        if name in ("state", "events"):  # set when it is made
            return
    else:
        owner = DockerWorkspace
    if name.startswith("server."):
        _, kind, name = name.split(".")
        made = inspect.getattr_static(AgentServer, kind).func
        owner = inspect.get_annotations(made, eval_str=True)["return"]
    found = inspect.getattr_static(owner, name)
    assert inspect.isfunction(found) == call.endswith("()")
