"""Names of servers, looked up within a time: the system's own lookup has none."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import Future
from ipaddress import ip_address

from pytest_agent_sandbox.client.guard import GUARD_INTERVAL, Guard

# Lookups under way, by what is asked for: a resolver that hangs holds one thread a name.
_UNDER_WAY: dict[tuple[str, int], Future[list[str]]] = {}
_LOCK = threading.Lock()


def addresses_of(host: str, port: int, end: float, check: Guard) -> list[str]:
    """Return the addresses of a host, those first that the system prefers.

    Args:
        host: A name, or an address, which is its own.
        port: What is to be reached there.
        end: When to give up, by the monotonic clock.
        check: Raises the reason when waiting has become pointless.

    Raises:
        TimeoutError: The system did not know until then.
        OSError: There is no such host.
    """
    if _is_address(host):
        return [host]
    began = time.monotonic()
    lookup = _lookup(host, port)
    while True:
        left = end - time.monotonic()
        try:
            return list(lookup.result(max(0.0, min(GUARD_INTERVAL, left))))
        except TimeoutError:
            if lookup.done():  # the system's own
                raise
        check()
        if left <= 0:
            took = round(time.monotonic() - began, 1)
            raise TimeoutError(f"timed out: looking up the name {host!r} took over {took:g} s")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _lookup(host: str, port: int) -> Future[list[str]]:
    wanted = host, port
    with _LOCK:
        known = _UNDER_WAY.get(wanted)
        if known is not None:
            return known
        lookup: Future[list[str]] = Future()
        _UNDER_WAY[wanted] = lookup
    # No pool: the end of the process would wait for its threads.
    thread = threading.Thread(
        target=_look_up, args=(wanted, lookup), name="name-lookup", daemon=True
    )
    try:
        thread.start()
    except RuntimeError:  # at its end the interpreter starts no more threads
        _look_up(wanted, lookup)
    return lookup


def _look_up(wanted: tuple[str, int], lookup: Future[list[str]]) -> None:
    try:
        found = socket.getaddrinfo(*wanted, type=socket.SOCK_STREAM)
        lookup.set_result(list(dict.fromkeys(str(address[0]) for *_, address in found)))
    except UnicodeError:
        lookup.set_exception(OSError(f"{wanted[0]!r} is no name of a host"))
    except BaseException as error:  # noqa: BLE001 - who asked gets it
        lookup.set_exception(error)
    finally:
        with _LOCK:
            del _UNDER_WAY[wanted]
