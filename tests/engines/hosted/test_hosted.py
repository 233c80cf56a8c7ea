"""Workspaces whose servers an API runs, against a service of ours that speaks its protocol."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from pytest_agent_sandbox import (
    APIRemoteWorkspace,
    OpenHandsCloudWorkspace,
    SandboxDied,
    SandboxError,
    SandboxPaused,
    SandboxStartFailed,
    ServerError,
    SettingsError,
)
from pytest_agent_sandbox.engines.hosted import api, watch
from pytest_agent_sandbox.engines.hosted.workspace import HostedWorkspace
from tests.support.hosting import KEY, Hosting, Sandbox, hosting

Start = Callable[..., HostedWorkspace]
IMAGE = "ghcr.io/openhands/agent-server:1.58.0-python"


@pytest.fixture
def service() -> Iterator[Hosting]:
    before = set(threading.enumerate())
    with hosting() as service:
        yield service
    assert set(threading.enumerate()) <= before


def runtime(service: Hosting, **more: Any) -> APIRemoteWorkspace:
    given = {"runtime_api_url": service.url, "runtime_api_key": KEY, "server_image": IMAGE}
    timeout = more.pop("timeout", 10)
    return APIRemoteWorkspace(**{**given, "startup_wait_timeout": timeout, **more})


def cloud(service: Hosting, **more: Any) -> OpenHandsCloudWorkspace:
    given = {"cloud_api_url": service.url, "cloud_api_key": KEY}
    return OpenHandsCloudWorkspace(**{**given, "init_timeout": more.pop("timeout", 10), **more})


@pytest.fixture(params=[runtime, cloud])
def start(request: pytest.FixtureRequest, service: Hosting) -> Start:
    return partial(request.param, service)


def ask(workspace: HostedWorkspace) -> Any:
    """Ask its server something that needs the key."""
    return workspace.connection.get_json("/api/conversations/count")


def test_it_is_started_paused_resumed_and_stopped(service: Hosting, start: Start):
    with start() as workspace:
        (sandbox,) = service.sandboxes.values()
        assert workspace.host == sandbox.server.url
        assert ask(workspace) == {"conversations": 7}
        first = workspace.api_key
        workspace.pause()
        assert sandbox.status == "paused"
        with pytest.raises(SandboxPaused, match=r"is paused\. `resume\(\)` of its workspace"):
            ask(workspace)
        workspace.resume()
        assert workspace.api_key != first, "the API gives a new key after each pause"
        assert ask(workspace) == {"conversations": 7}
    assert not service.sandboxes
    asked = list(service.asked)
    workspace.close()
    assert service.asked == asked


def test_what_the_runtime_api_is_told(service: Hosting, monkeypatch):
    monkeypatch.setenv("SOME_VARIABLE", "its value")
    with runtime(
        service,
        forward_env=["SOME_VARIABLE"],
        resource_factor=2,
        runtime_class=None,
        target_type="source",
    ) as workspace:
        (told,) = (sandbox.request for sandbox in service.sandboxes.values())
    environment = told.pop("environment")
    assert environment["SOME_VARIABLE"] == "its value"
    assert len(environment["OH_SECRET_KEY"]) > 20
    assert told == {
        "image": IMAGE,
        "command": "/agent-server/.venv/bin/python -m openhands.agent_server --port 60000",
        "working_dir": "/",
        "session_id": workspace.session_id,
        "run_as_user": 10001,
        "fs_group": 10001,
        "image_pull_policy": "IfNotPresent",
        "resource_factor": 2,
    }
    assert ("GET", f"/sessions/{workspace.session_id}") != service.asked[0], "it is a new one"


def test_the_cloud_is_told_the_specification(service: Hosting):
    with cloud(service, sandbox_spec_id="an/image:1"):
        (sandbox,) = service.sandboxes.values()
    assert sandbox.request == {"sandbox_spec_id": ["an/image:1"]}


@pytest.mark.parametrize("status", ["running", "paused"])
def test_a_runtime_that_is_there_is_used_again(service: Hosting, status: str):
    first = runtime(service, session_id="mine/of today", keep_alive=True)
    first.close()
    (sandbox,) = service.sandboxes.values()
    sandbox.status = status
    with runtime(service, session_id="mine/of today") as second:
        assert ask(second) == {"conversations": 7}
        assert second.name == first.name
    assert service.count("POST", "/start") == 1
    assert service.count("POST", "/resume") == (status == "paused")
    assert not service.sandboxes


def test_a_sandbox_of_the_cloud_that_is_there_is_used_again(service: Hosting):
    with cloud(service, keep_alive=True) as first:
        first.pause()
    with cloud(service, sandbox_id=first.sandbox_id) as second:
        assert ask(second) == {"conversations": 7}
    assert not service.sandboxes
    with pytest.raises(SandboxStartFailed, match="is not there: check sandbox_id"):
        cloud(service, sandbox_id=first.sandbox_id)


def test_it_can_be_paused_when_it_is_closed(service: Hosting):
    runtime(service, pause_on_close=True).close()
    assert [sandbox.status for sandbox in service.sandboxes.values()] == ["paused"]


def test_one_that_nobody_closes_is_stopped(service: Hosting, start: Start):
    start()
    gc.collect()
    assert not service.sandboxes


def test_it_is_waited_for(service: Hosting, start: Start):
    def slow(sandbox: Sandbox) -> None:
        sandbox.coming.extend([("starting", "pending"), ("starting", "not found")])
        sandbox.coming.append(("running", "ready"))
        sandbox.server.unready = 2

    service.prepare = slow
    for end in ("/sessions", "/start", "/api/v1/sandboxes"):
        service.refusals.append(("GET", end, 503, {"detail": "busy"}))
    with start() as workspace:
        assert ask(workspace) == {"conversations": 7}


@pytest.mark.parametrize(("kind", "path"), [(runtime, "/start"), (cloud, "/sandboxes")])
def test_an_api_that_has_no_room_is_asked_again(service: Hosting, monkeypatch, kind, path):
    monkeypatch.setattr(api, "_PAUSE", 0.05)
    service.refusals.extend([("POST", path, 503, {"detail": "no room"})] * 3)
    service.refusals.append(("POST", path, 429, {"detail": "too many"}))
    with kind(service):
        assert len(service.sandboxes) == 1
    assert service.count("POST", path) == 5


def test_a_wrong_key(service: Hosting, start: Start):
    name = "runtime_api_key" if start.func is runtime else "cloud_api_key"  # type: ignore[attr-defined]
    wrong = "wrong-key-0123456789"
    with pytest.raises(
        SandboxStartFailed, match=f"refused the key: .* 401 .* Check {name}"
    ) as told:
        start(**{name: wrong})
    assert wrong not in "".join(traceback.format_exception(told.value))
    assert len(service.asked) == 1


def test_an_image_that_is_missing(service: Hosting):
    service.refusals.append(("POST", "/start", 400, {"detail": f"image {IMAGE} not found"}))
    with pytest.raises(SandboxStartFailed, match=r"not found. Check that it can pull server_image"):
        runtime(service)
    service.prepare = lambda sandbox: (
        sandbox.more.update(container_statuses=[{"waiting": {"reason": "ImagePullBackOff"}}]),
        sandbox.coming.append(("starting", "pending")),
    )
    with pytest.raises(SandboxStartFailed, match=f"ImagePullBackOff.* server_image = {IMAGE}"):
        runtime(service)
    assert not service.sandboxes


@pytest.mark.parametrize(
    ("kind", "coming", "told"),
    [
        (runtime, ("running", "crashloopbackoff"), "pod status 'crashloopbackoff'"),
        (runtime, ("error", "failed"), "status 'error'"),
        (runtime, ("error", ""), "status 'error'"),
        (cloud, ("error", ""), "status 'ERROR'"),
    ],
)
def test_one_that_fails_is_told_and_stopped(service: Hosting, kind, coming, told: str):
    service.prepare = lambda sandbox: (
        sandbox.coming.append(coming),
        sandbox.more.update(pod_logs=f"OSError: no room, {sandbox.server.key}"),
    )
    with pytest.raises(SandboxStartFailed, match=f"did not start: .*{told}") as error:
        kind(service)
    if kind is runtime:
        assert "OSError: no room, ***" in error.value.log
    assert not service.sandboxes


def test_one_that_is_never_ready_is_stopped_in_time(service: Hosting, start: Start):
    service.prepare = lambda sandbox: setattr(sandbox.server, "unready", 10_000)
    began = time.monotonic()
    with pytest.raises(
        SandboxStartFailed, match=r"not ready within 1\.5 s: .* 503 .*not ready yet"
    ):
        start(timeout=1.5)
    assert time.monotonic() - began < 3
    assert not service.sandboxes


def test_a_start_whose_answer_gets_lost_leaves_nothing(service: Hosting):
    answer = service.answer

    def lost(method: str, path: str, query: Any, body: Any) -> tuple[int, Any]:
        status, content = answer(method, path, query, body)
        return (0, None) if path == "/start" else (status, content)

    service.answer = lost  # type: ignore[method-assign]
    with pytest.raises(
        SandboxStartFailed, match=r"gave no answer that helps: .* Check runtime_api_url"
    ):
        runtime(service)
    assert service.count("POST", "/stop") == 1
    assert not service.sandboxes


def test_the_cloud_may_have_started_one_whose_answer_got_lost(service: Hosting):
    service.refusals.append(("POST", "/sandboxes", 0, None))
    with pytest.raises(SandboxStartFailed) as error:
        cloud(service)
    assert any("/api/v1/sandboxes/search" in note for note in error.value.__notes__)


def test_an_api_that_is_away(start: Start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    name = "runtime_api_url" if start.func is runtime else "cloud_api_url"  # type: ignore[attr-defined]
    began = time.monotonic()
    with pytest.raises(
        SandboxStartFailed, match=f"gave no answer that helps: .*refused.* Check {name}"
    ):
        start(**{name: url})
    assert time.monotonic() - began < 4


def test_a_stop_that_fails_is_told(service: Hosting, start: Start):
    workspace = start()
    verb = ("POST", "/stop") if start.func is runtime else ("DELETE", workspace.name)  # type: ignore[attr-defined]
    service.refusals.append((*verb, 400, {"detail": "not now"}))
    with pytest.raises(SandboxError, match="could not be told to stop, and may be running still"):
        workspace.close()


def test_one_that_is_gone_already_is_closed_in_peace(service: Hosting, start: Start):
    workspace = start()
    service.sandboxes.clear()
    workspace.close()


@pytest.mark.parametrize(
    ("status", "kind"), [("error", SandboxDied), (None, SandboxDied), ("paused", SandboxPaused)]
)
def test_who_waits_is_told_what_became_of_it(
    service: Hosting, start: Start, monkeypatch, status: str | None, kind: type[SandboxError]
):
    """The server says nothing: the API knows why."""
    monkeypatch.setattr(watch, "_INTERVAL", 0.1)
    with start() as workspace:
        (sandbox,) = service.sandboxes.values()
        if status is None:
            service.sandboxes.clear()
        else:
            sandbox.status = status
        with socket.create_server(("127.0.0.1", 0)) as silent:
            workspace.connection.move(
                f"http://127.0.0.1:{silent.getsockname()[1]}", workspace.api_key
            )
            began = time.monotonic()
            with pytest.raises(kind):
                workspace.connection.request("GET", "/alive", timeout=20)
            assert time.monotonic() - began < 5


def test_a_pause_that_is_refused_changes_nothing(service: Hosting, start: Start):
    with start() as workspace:
        service.refusals.append(("POST", "/pause", 409, {"detail": "not now"}))
        with pytest.raises(ServerError, match="not now"):
            workspace.pause()
        assert ask(workspace) == {"conversations": 7}


def test_keys_are_told_nowhere(service: Hosting, start: Start, caplog):
    caplog.set_level(logging.DEBUG)
    with start() as workspace:
        keys = list(workspace.secrets())
        assert workspace.api_key is not None
        assert {KEY, workspace.api_key.get_secret_value()} <= set(keys)
        shown = [repr(workspace), str(workspace.facts()), str(workspace.end_facts())]
        shown += [repr(workspace.connection), str(workspace.identity)]
        (told,) = (str(sandbox.request) for sandbox in service.sandboxes.values())
        workspace.pause()
        workspace.resume()
    for key in keys:
        assert key not in "".join(shown) + caplog.text
    assert KEY not in told, "the sandbox gets no key of the API"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"runtime_api_url": "runtime.example"}, "runtime_api_url is no address"),
        ({"runtime_api_url": "https://u:secret@runtime.example"}, "runtime_api_url is no address"),
        ({"runtime_api_key": " "}, "runtime_api_key is empty"),
        ({"runtime_api_key": "a\nb"}, "runtime_api_key is empty, or has characters"),
        ({"resource_factor": 3}, "resource_factor = 3"),
        ({"target_type": "wheel"}, "target_type = wheel"),
        ({"forward_env": ["NO_SUCH_VARIABLE"]}, "NO_SUCH_VARIABLE"),
    ],
)
def test_arguments_that_cannot_be_used(given: dict[str, Any], told: str):
    whole = {"runtime_api_url": "http://127.0.0.1:9", "runtime_api_key": "k", "server_image": "i"}
    with pytest.raises(SettingsError, match=told) as error:
        APIRemoteWorkspace(**{**whole, **given})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"url": "file:///etc/passwd"}, "has an address of 'file:"),
        ({"url": "http://user:password@127.0.0.1"}, "has an address of"),
        ({"url": 7}, "has an address of 7"),
        ({"session_api_key": "a\r\nb"}, "session key that no HTTP header can hold"),
        ({"runtime_id": ["a"]}, "was answered with an id of"),
        ({"status": {"a": 1}, "pod_status": []}, "not ready within 1 s: status"),
    ],
)
def test_an_api_that_answers_strangely(service: Hosting, more: dict[str, Any], told: str):
    service.prepare = lambda sandbox: sandbox.more.update(more)
    with pytest.raises(SandboxStartFailed, match=told):
        runtime(service, timeout=1)
    if "runtime_id" not in more:
        assert not service.sandboxes


def test_agents_far_away_need_an_address_of_this_machine(service: Hosting, start: Start):
    with start() as workspace:
        assert workspace.gateway.route.bind_address == "127.0.0.1"
        workspace._hosting.url = "https://runtime.example"
        workspace.gateway._route = None
        with pytest.raises(SettingsError, match=r"known way to the LLM gateway.*gateway_address"):
            workspace.gateway.route  # noqa: B018
    with start(gateway_address="192.0.2.7") as workspace:
        assert workspace.gateway.route.container_host_name == "192.0.2.7"
