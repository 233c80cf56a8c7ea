"""What an image holds that no API of a cluster tells: found out by a pod that looks."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from pytest_agent_sandbox.containers.accounts import Account
from pytest_agent_sandbox.containers.template import Server
from pytest_agent_sandbox.engines.kubernetes import pod_events, pod_state
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.pod_requests import create_pod, delete_pod
from pytest_agent_sandbox.engines.kubernetes.pod_watch import PodWatch
from pytest_agent_sandbox.engines.kubernetes.room import Room
from pytest_agent_sandbox.errors import SandboxError, SandboxStartFailed
from pytest_agent_sandbox.sandbox.server_process import MODULE, OUR_PYTHON, server_of

# Seconds between two looks at the clock.
_PAUSE = 0.5
_BINARY = "openhands-agent-server"
_VERSION = f'import importlib.metadata as found; print(found.version("{_BINARY}"))'
# Runs as the image's user. Each line is a name and a value.
_LOOK = f"""
echo "uid $(id -u)"
echo "gid $(id -g)"
echo "home $HOME"
echo "path $PATH"
while read -r word value _; do
    [ "$word" != nameserver ] || echo "names $value"
done </etc/resolv.conf
for python in {OUR_PYTHON} python3 python; do
    found=$(command -v "$python") || continue
    version=$("$found" -c '{_VERSION}' 2>/dev/null) || continue
    echo "python $found"
    echo "version $version"
    break
done
binary=$(command -v {_BINARY}) && echo "binary $binary"
exit 0
"""


@dataclass(frozen=True)
class PodImage:
    """An image, as a pod of it has shown.

    Attributes:
        reference: Its name.
        account: Its user.
        server: How its agent server is started.
        version: The agent server's version; empty where that is not known.
        path: Where its programs are looked for.
        name_servers: Where pods of the cluster look up names.
    """

    reference: str
    account: Account
    server: Server
    version: str
    path: str
    name_servers: tuple[str, ...] = ()


def look_into(
    cluster: Cluster,
    watch: PodWatch,
    room: Room,
    image: str,
    pull: str,
    metadata: Mapping[str, Any],
    pod: Mapping[str, Any],
    timeout: float,
) -> PodImage:
    """Look into an image by a pod that ends at once.

    Args:
        cluster: The cluster.
        watch: Tells what becomes of the pod.
        room: Tells whether room for it will come.
        image: The image's name.
        pull: When to pull it: a pull policy of Kubernetes.
        metadata: Labels and owner of the pod.
        pod: What else it is to have, of the pod template.
        timeout: Seconds that it may take, its pull included.

    Raises:
        SandboxStartFailed: The image cannot be had, or there is no agent server in it.
        SandboxError: The cluster refuses, or does not answer.
    """
    name = f"agent-sandbox-look-{secrets.token_hex(6)}"
    container = {
        "name": pod_state.SERVER,
        "image": image,
        "imagePullPolicy": pull,
        "command": ["/bin/sh", "-c", _LOOK],
        "resources": {
            "requests": {"cpu": "10m", "memory": "64Mi"},
            "limits": {"memory": "512Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, "name": name},
        "spec": {
            **pod,
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    }
    with room.start_of(name):
        told: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        watch.listen(name, told.put)
        try:
            create = partial(create_pod, cluster, manifest)
            room.wait_for(name, create, timeout, lambda: None)
            return _read(image, _output(cluster, room, told, name, image, timeout))
        finally:
            watch.forget(name)
            with suppress(SandboxError):  # its owner's end is its own
                delete_pod(cluster, name)


def _output(
    cluster: Cluster,
    room: Room,
    told: SimpleQueue[dict[str, Any] | None],
    name: str,
    image: str,
    timeout: float,
) -> str:
    began = time.monotonic()
    pod: dict[str, Any] | None = {"metadata": {"name": name}, "status": {}}
    while True:
        with suppress(Empty):
            pod = told.get(timeout=_PAUSE)
        if pod is None:
            raise SandboxStartFailed(f"The image {image} cannot be looked into: its pod is gone.")
        phase = pod["status"].get("phase")
        if phase == "Succeeded":
            path = cluster.path("pods", f"{name}/log")
            with cluster.reading(path, "read a pod's log", {}, silence=timeout) as answer:
                return answer.read().decode(errors="replace")
        problem = pod_state.hopeless_start(pod)
        if phase == "Failed":
            problem = problem or "there is no shell in it"
        waited = time.monotonic() - began
        problem = problem or room.why_none(pod, waited)
        if not problem and waited > timeout:
            problem = f"its pod has not run within {timeout:.0f} s (--sandbox-start-timeout)"
        if problem:
            events = pod_events.told(cluster, name)
            raise SandboxStartFailed(f"The image {image} cannot be looked into: {problem}.{events}")


def _read(image: str, output: str) -> PodImage:
    lines = [line.partition(" ")[::2] for line in output.splitlines()]
    found = dict(lines)
    if "python" in found:
        server = server_of((found["python"], "-m", MODULE))
    elif "binary" in found:
        server = server_of((found["binary"],))
    else:
        raise SandboxStartFailed(
            f"The image {image} has no agent server: neither a Python with {MODULE} nor "
            f"{_BINARY}. Name another one by --sandbox-image."
        )
    account = Account(int(found["uid"]), int(found["gid"]), found.get("home", ""))
    return PodImage(
        image,
        account,
        server,
        found.get("version", ""),
        found.get("path", ""),
        tuple(value for name, value in lines if name == "names"),
    )
