"""The sockets that a test leaves open."""

from __future__ import annotations

import psutil


def open_sockets() -> int:
    return len(psutil.Process().net_connections(kind="inet"))
