"""What tries to get out of a pod; no cluster is needed for that."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable

import pytest

from pytest_agent_sandbox.engines.kubernetes import reach_inside
from pytest_agent_sandbox.engines.kubernetes.deny_all import NotCutError, refuses_cut
from pytest_agent_sandbox.engines.kubernetes.refusals import refusal
from pytest_agent_sandbox.errors import SandboxStartFailed

FORBIDDEN = 'pods "p" is forbidden: '


def test_what_accepts_or_refuses_a_connection_was_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = server.getsockname()[:2]
        assert reach_inside.answers(place)
    assert reach_inside.answers(place)  # by a refusal: the way is open


def test_what_does_not_answer_was_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach_inside, "_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        place = server.getsockname()[:2]
        waiting = [socket.create_connection(place, 1)]  # the queue is full now
        assert not reach_inside.answers(place)
        waiting[0].close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        monkeypatch.setattr(reach_inside, "_DNS", silent.getsockname()[1])
        assert not reach_inside.answers_names("127.0.0.1")


def test_a_name_server_that_answers_was_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        monkeypatch.setattr(reach_inside, "_DNS", server.getsockname()[1])

        def answer() -> None:
            data, client = server.recvfrom(512)
            server.sendto(data, client)

        thread = threading.Thread(target=answer)
        thread.start()
        assert reach_inside.answers_names("127.0.0.1")
        thread.join()


def test_api_server_dns_node_and_the_outside_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    monkeypatch.setattr(reach_inside, "gateways", lambda: ["10.1.0.1"])
    tried = reach_inside.places(["192.0.2.7"], [("192.0.2.9", 16443), ("10.0.0.10", 53)])
    for place in (
        ("10.0.0.1", 6443),
        ("192.0.2.9", 16443),
        ("10.0.0.10", 53),
        ("192.0.2.7", 10250),
        ("10.1.0.1", 10250),
        ("1.1.1.1", 443),
        ("169.254.169.254", 80),
    ):
        assert place in tried


@pytest.fixture
def tried(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[list[list[str]]], tuple[list[str], int]]:
    """Runs the program where each round reaches that; returns what it tells, and the rounds."""

    def run(rounds: list[list[str]]) -> tuple[list[str], int]:
        left = list(rounds)
        monkeypatch.setattr(reach_inside, "_PAUSE", 0.01)
        monkeypatch.setattr(
            reach_inside, "reached", lambda *_: left.pop(0) if len(left) > 1 else left[0]
        )
        reach_inside.main([], [], [], 0.2)
        return json.loads(capsys.readouterr().out)["reached"], len(rounds) - len(left)

    return run


def test_a_policy_may_take_its_time_and_one_quiet_moment_is_not_enough(
    tried: Callable[[list[list[str]]], tuple[list[str], int]],
) -> None:
    assert tried([["a"], ["a"], [], ["a"], [], [], ["never asked"]])[0] == []
    assert tried([["a"], [], ["a"]])[0] == ["a"]
    assert tried([["a"]])[0] == ["a"]


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (403, FORBIDDEN + 'violates PodSecurity "baseline:latest": non-default capabilities', True),
        (403, FORBIDDEN + "unable to validate against any pod security policy: []", True),
        (400, 'admission webhook "x" denied the request: no NET_ADMIN', True),
        (403, FORBIDDEN + "exceeded quota: none, requested: pods=1", False),
        (403, FORBIDDEN + 'User "x" cannot create resource "pods" in API group ""', False),
        (404, 'namespaces "x" not found', False),
        (500, "failed calling webhook", False),
    ],
)
def test_which_refusals_another_pod_may_help(status: int, message: str, expected: bool) -> None:
    assert refuses_cut(refusal("create pod p", status, {"message": message}, "ns")) is expected


def test_other_failures_are_helped_by_no_other_pod() -> None:
    assert refuses_cut(NotCutError("its network could not be taken away"))
    assert not refuses_cut(SandboxStartFailed("its image cannot be pulled"))
