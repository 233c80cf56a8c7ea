"""What becomes of the pods of one process, told as it happens."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.refusals import ClusterRefusedError
from pytest_agent_sandbox.errors import EngineUnavailable, SandboxError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.closing import Closing

logger = seldom.logger(__name__)

# Seconds after which the server ends a watch, and a silence that is too long for one.
_WATCH_SECONDS, _SILENCE = 240, 300.0
# Seconds before another attempt.
_PAUSE = 0.5
_CLOSE_PATIENCE = 5.0
# Pods of one answer, of however many there are.
_PAGE = 250

#: Is given a pod as it is now; None once it is gone.
Listener = Callable[[dict[str, Any] | None], object]


class PodWatch(Closing):
    """One watch for all pods of a process; a thread of its own tells what it brings.

    Args:
        cluster: Where they are.
        selector: The label by which they are found.
    """

    def __init__(self, cluster: Cluster, selector: str) -> None:
        self._cluster = cluster
        self._selector = selector
        self._listeners: dict[str, Listener] = {}
        self._known: set[str] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._answer: Any = None
        self._thread = threading.Thread(
            target=self._run, name="agent-sandbox-pod-watch", daemon=True
        )
        self._thread.start()

    def listen(self, name: str, listener: Listener) -> None:
        """Have a listener told of a pod, from its creation on."""
        with self._lock:
            self._listeners[name] = listener

    def forget(self, name: str) -> None:
        """Have nobody told of a pod any more."""
        with self._lock:
            self._listeners.pop(name, None)
            self._known.discard(name)

    def close(self) -> None:
        """End it."""
        self._closing.set()
        answer = self._answer
        if answer is not None:
            with suppress(Exception):  # it ends by itself at the same time
                stream = answer.extensions["network_stream"]
                stream.get_extra_info("socket").shutdown(2)
        self._thread.join(_CLOSE_PATIENCE)

    def _run(self) -> None:
        version = ""
        while not self._closing.is_set():
            try:
                version = self._follow(version or self._list())
            except ClusterRefusedError as error:
                version = ""
                if error.status != HTTPStatus.GONE:
                    logger.warning("pods cannot be watched: %s", error)
            except (EngineUnavailable, SandboxError):
                logger.debug("a watch of pods has ended", exc_info=True)
            except Exception:
                if not self._closing.is_set():
                    logger.exception("the watch of pods has failed")
            self._closing.wait(_PAUSE)

    def _list(self) -> str:
        """Tell how all pods are; return the version of that."""
        names: set[str] = set()
        query = {"labelSelector": self._selector, "limit": str(_PAGE)}
        while True:
            found = self._cluster.get(self._cluster.path("pods"), **query)
            for pod in found["items"]:
                names.add(pod["metadata"]["name"])
                self._tell(pod)
            if not found["metadata"].get("continue"):
                break
            query["continue"] = found["metadata"]["continue"]
        with self._lock:
            gone = self._known - names
        for name in gone:
            self._tell_gone(name)
        return str(found["metadata"]["resourceVersion"])

    def _follow(self, version: str) -> str:
        """Tell what changes since a version until the watch ends; return the last version."""
        query = {
            "watch": "true",
            "labelSelector": self._selector,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        path = self._cluster.path("pods")
        with self._cluster.reading(path, "watch pods", query, silence=_SILENCE) as answer:
            self._answer = answer
            try:
                for line in answer.iter_lines():
                    if self._closing.is_set():
                        break
                    event = json.loads(line)
                    pod = event["object"]
                    if event["type"] == "ERROR":
                        return ""
                    version = pod["metadata"]["resourceVersion"]
                    if event["type"] == "DELETED":
                        self._tell_gone(pod["metadata"]["name"])
                    elif event["type"] != "BOOKMARK":
                        self._tell(pod)
            finally:
                self._answer = None
        return version

    def _tell(self, pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        # Who has written which field is a third of a pod, and of no use here.
        pod["metadata"].pop("managedFields", None)
        with self._lock:
            listener = self._listeners.get(name)
            if listener is not None:
                self._known.add(name)
        if listener is not None:
            listener(pod)

    def _tell_gone(self, name: str) -> None:
        with self._lock:
            self._known.discard(name)
            listener = self._listeners.get(name)
        if listener is not None:
            listener(None)
