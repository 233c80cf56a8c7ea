"""Tries from inside of a pod to get out of it: a program of its own, of the standard library.

What is tried are real connections. Whatever is answered, be it by a refusal, has got out.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import List, Sequence, Tuple

Place = Tuple[str, int]

# The internet, and the metadata service of a cloud.
_OUTSIDE: Sequence[Place] = (
    ("1.1.1.1", 443),
    ("8.8.8.8", 53),
    ("2606:4700:4700::1111", 443),
    ("169.254.169.254", 80),
)
# What a node has: its kubelet, SSH, and what may listen on it or refuse.
_OF_A_NODE = (10250, 22, 443)
_DNS = 53
_TIMEOUT = 1.5
# How often in a row nothing may answer, and the seconds in between.
_QUIET_ROUNDS, _PAUSE = 2, 0.5
# A question for the addresses of "kubernetes.default.svc.cluster.local".
_QUESTION = (
    b"\x13\x37\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    b"\x0akubernetes\x07default\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01"
)


def answers(place: Place) -> bool:
    """Tell whether a connection gets somewhere, accepted or refused."""
    host, port = place
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as end:
            end.settimeout(_TIMEOUT)
            end.connect((host, port))
    except (ConnectionRefusedError, ConnectionResetError):
        return True
    except OSError:
        return False
    return True


def answers_names(server: str) -> bool:
    """Tell whether a DNS server answers, or its machine refuses."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as end:
            end.settimeout(_TIMEOUT)
            end.connect((server, _DNS))
            end.send(_QUESTION)
            end.recv(512)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def gateways() -> List[str]:
    """Return the routers that this pod knows."""
    with open("/proc/net/route") as file:
        fields = [line.split() for line in file][1:]
    numbers = {int(each[2], 16) for each in fields} - {0}
    return sorted(socket.inet_ntoa(struct.pack("=I", number)) for number in numbers)


def places(nodes: Sequence[str], others: Sequence[Place]) -> List[Place]:
    """Return where to connect to.

    Args:
        nodes: Addresses of nodes.
        others: More places.
    """
    found = [*_OUTSIDE, *((str(host), int(port)) for host, port in others)]
    service = os.environ.get("KUBERNETES_SERVICE_HOST")
    if service:
        found.append((service, int(os.environ.get("KUBERNETES_SERVICE_PORT") or 443)))
    found += [(node, port) for node in (*nodes, *gateways()) for port in _OF_A_NODE]
    return list(dict.fromkeys(found))


def reached(targets: Sequence[Place], name_servers: Sequence[str]) -> List[str]:
    """Return what answers, in words: all is tried at once."""
    with ThreadPoolExecutor(len(targets) + len(name_servers)) as trying:
        tries = {f"{place[0]} port {place[1]}": trying.submit(answers, place) for place in targets}
        for server in name_servers:
            tries[f"DNS at {server}"] = trying.submit(answers_names, server)
    return [name for name, one in tries.items() if one.result()]


def main(
    nodes: Sequence[str],
    name_servers: Sequence[str],
    others: Sequence[Place],
    patience: float,
) -> None:
    """Try until nothing answers twice in a row, or for as long as a policy may take.

    Args:
        nodes: Addresses of the pod's node.
        name_servers: Those of the cluster.
        others: More places.
        patience: Seconds for a policy to come into force on a new pod.
    """
    targets = places(nodes, [*others, *((server, _DNS) for server in name_servers)])
    until = time.monotonic() + patience
    quiet = 0
    found: List[str] = []
    while quiet < _QUIET_ROUNDS:
        found = reached(targets, name_servers)
        quiet = 0 if found else quiet + 1
        if found and time.monotonic() > until:
            break
        time.sleep(_PAUSE)
    sys.stdout.write(json.dumps({"reached": found, "tried": len(targets)}) + "\n")
    sys.stdout.flush()
