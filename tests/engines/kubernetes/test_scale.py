"""What many pods ask of the API server, and what is done when that has too much to do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import pytest
from kubernetes.client import Configuration

from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.credentials import Credentials
from pytest_agent_sandbox.engines.kubernetes.pod_watch import PodWatch
from pytest_agent_sandbox.engines.kubernetes.refusals import ClusterRefusedError
from pytest_agent_sandbox.engines.kubernetes.room import Room
from pytest_agent_sandbox.host.pool import NoRoomAheadError
from pytest_agent_sandbox.sandbox.allowance import Allowance
from tests.support.timing import eventually


class Api:
    """An API server that puts requests off, and has more pods than it tells at once."""

    def __init__(self) -> None:
        self.put_off = 0
        self.asked: list[tuple[str, float]] = []
        self.pods = [f"p{number}" for number in range(600)]
        self.pages: list[int] = []
        self.watches = 0
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.answer(self)

            do_POST = do_GET  # noqa: N815 - its name in http.server

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self.asked.append((request.path, time.monotonic()))
        if self.put_off:
            self.put_off -= 1
            self._send(request, 429, {"message": "too many requests"})
        elif "watch=true" in request.path:
            self.watches += 1
            self._send(request, 200, {"type": "ERROR", "object": {"metadata": {}}})
        elif request.command == "GET" and request.path.partition("?")[0].endswith("/pods"):
            self._send(request, 200, self._page(request.path))
        else:
            self._send(request, 200, {})

    def _page(self, path: str) -> dict[str, Any]:
        query = dict(one.split("=") for one in path.partition("?")[2].split("&"))
        start, limit = int(query.get("continue", 0)), int(query["limit"])
        told = self.pods[start : start + limit]
        self.pages.append(len(told))
        more = {"continue": str(start + limit)} if start + limit < len(self.pods) else {}
        items = [{"metadata": {"name": name, "managedFields": ["x"]}} for name in told]
        return {"items": items, "metadata": {"resourceVersion": "7", **more}}

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, status: int, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("Retry-After", "1")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)


@pytest.fixture
def api() -> Iterator[Api]:
    with closing(Api()) as found:
        yield found


@pytest.fixture
def cluster(api: Api) -> Iterator[Cluster]:
    configuration = Configuration(host=f"http://127.0.0.1:{api.server.server_port}")
    with Cluster(Credentials("here", "agents", configuration)) as found:
        yield found


def test_a_server_with_too_much_to_do_is_asked_again_when_it_says(
    api: Api, cluster: Cluster
) -> None:
    api.put_off = 2
    cluster.request("POST", cluster.path("pods"), "create pod p", body={})
    times = [when for _, when in api.asked]
    assert len(times) == 3
    assert all(later - earlier >= 1 for earlier, later in pairwise(times))


def test_a_stream_is_asked_for_again_too(api: Api, cluster: Cluster) -> None:
    api.put_off = 1
    with cluster.reading(cluster.path("pods", "p/log"), "read a log", {}, silence=5) as answer:
        assert answer.is_success
    first, second = (when for _, when in api.asked)
    assert second - first >= 1


def test_it_is_not_asked_for_ever(
    api: Api, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_agent_sandbox.engines.kubernetes.cluster._PATIENCE", 2.0)
    api.put_off = 100
    with pytest.raises(ClusterRefusedError, match="too many requests"):
        cluster.get("/version")


def test_an_end_does_not_wait_for_it(api: Api, cluster: Cluster) -> None:
    api.put_off = 100
    ended = threading.Event()

    def ask() -> None:
        with pytest.raises(ClusterRefusedError):
            cluster.get("/version")
        ended.set()

    threading.Thread(target=ask, daemon=True).start()
    eventually(lambda: api.asked != [], 5)
    cluster._closing.set()
    assert ended.wait(0.9)


def test_many_pods_are_told_in_parts(api: Api, cluster: Cluster) -> None:
    told: dict[str, list[Any]] = {name: [] for name in api.pods}
    with PodWatch(cluster, "a=b") as watch:  # is ended by the server at once, and lists again
        for name, about in told.items():
            watch.listen(name, about.append)
        eventually(lambda: all(told.values()), 10)
        assert api.pages[:3] == [250, 250, 100]
        last = api.pods.pop()
        eventually(lambda: told[last][-1] is None, 10)
    assert None not in told["p0"]
    assert not any("managedFields" in pod["metadata"] for pod in told["p0"])


def test_no_more_pods_are_created_at_once(cluster: Cluster) -> None:
    with Allowance() as allowance:
        room = Room(cluster, "a=b", allowance, creations=3)
        lock, counts, now = threading.Lock(), [0], [0]

        def create() -> None:
            with lock:
                now[0] += 1
                counts.append(now[0])
            time.sleep(0.02)
            with lock:
                now[0] -= 1

        threads = [
            threading.Thread(target=room.wait_for, args=(f"p{number}", create, 5, lambda: None))
            for number in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert max(counts) == 3
    assert len(counts) == 21


def test_what_nobody_has_asked_for_does_not_wait_for_quota(cluster: Cluster) -> None:
    def create() -> None:
        raise ClusterRefusedError("exceeded quota: few", status=403)

    with Allowance() as allowance:
        room = Room(cluster, "a=b", allowance)
        with pytest.raises(NoRoomAheadError, match="exceeded quota"), room.start_of("p"):
            room.wait_for("p", create, 5, lambda: None, is_nobody=True)
        assert not allowance.is_short


def test_who_waits_for_quota_says_so_to_the_run(api: Api, cluster: Cluster) -> None:
    api.pods = ["other"]
    seen: list[bool] = []

    def create() -> None:
        seen.append(allowance.is_short)
        if len(seen) == 1:
            raise ClusterRefusedError("exceeded quota: few", status=403)

    with Allowance() as allowance:
        room = Room(cluster, "a=b", allowance)
        with room.start_of("p"):
            room.wait_for("p", create, 5, lambda: None)
        assert seen == [False, True]
        assert not allowance.is_short


def test_a_pod_that_no_node_takes_yet_has_others_give_up_theirs(api: Api, cluster: Cluster) -> None:
    api.pods = ["other"]
    condition = {"type": "PodScheduled", "status": "False", "message": "Insufficient cpu"}
    pod = {"metadata": {"name": "p"}, "status": {"conditions": [condition]}}
    with Allowance() as allowance:
        room = Room(cluster, "a=b", allowance)
        with room.start_of("p"):
            assert room.why_none(pod, 0.1) == ""
            assert allowance.is_short
            assert room.why_none(pod, 9) == ""
        assert not allowance.is_short
        assert not room._comes_until
        with pytest.raises(NoRoomAheadError):
            room.why_none(pod, 2, is_nobody=True)
        assert not allowance.is_short
