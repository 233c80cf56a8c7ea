"""The places of an isolated sandbox: their addresses in it, and where they lead."""

from __future__ import annotations

import asyncio
import hashlib
from ipaddress import ip_address, ip_network

import pytest

from pytest_agent_sandbox.host.egress import Egress, allowed_places
from pytest_agent_sandbox.sandbox.forwards import (
    Forwards,
    addresses_inside,
    dial,
    places_of,
    sysctls_for,
)
from pytest_agent_sandbox.sandbox.network import allowed_forwards

DATABASE = ("db.example.com", 5432)


def test_each_name_has_an_address_of_its_own_that_no_other_name_changes() -> None:
    alone = addresses_inside([DATABASE])
    many = addresses_inside([DATABASE, ("db.example.com", 80), *((f"h{n}", 1) for n in range(500))])
    assert many["db.example.com"] == alone["db.example.com"]
    assert len(set(many.values())) == 501
    assert all(ip_address(one) in ip_network("127.64.0.0/10") for one in many.values())


def test_names_that_would_have_the_same_address_have_not(monkeypatch: pytest.MonkeyPatch) -> None:
    same = hashlib.sha256(b"the same")
    monkeypatch.setattr(hashlib, "sha256", lambda _: same)
    assert len(set(addresses_inside([("a", 1), ("b", 1), ("c", 1)]).values())) == 3


def test_what_has_a_name_that_can_lead_elsewhere() -> None:
    allow = allowed_places(
        [
            "DB.example.com:5432",
            "db.example.com:8000",
            "host.docker.internal:443",
            "10.0.0.1:80",
            "[::1]:80",
            "localhost:80",
            "a.localhost:80",
            "under_score:80",
            "end.:80",
            "a..b:80",
        ]
    )
    assert places_of(allow, [8000]) == {DATABASE, ("host.docker.internal", 443)}


def test_ports_below_1024_are_nobodys_only_where_they_are_needed() -> None:
    assert not sysctls_for([DATABASE])
    assert sysctls_for([DATABASE, ("a", 443)]) == {"net.ipv4.ip_unprivileged_port_start": "0"}


def _connects(forwards: Forwards) -> list[str]:
    """What each way of a sandbox answers."""

    async def answers() -> list[str]:
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        if LED in forwards.places:
            forwards.lead(*LED, dial("127.0.0.1", port))
        told = []
        for connect in forwards.ways().values():
            try:
                reader, writer = await connect()
            except OSError as error:
                told.append(str(error))
            else:
                told.append((await reader.read()).decode())
                writer.close()
        server.close()
        return told

    return asyncio.run(answers())


LED = ("db", 5432)


def test_a_place_leads_where_it_is_led_and_nowhere_before() -> None:
    forwards = Forwards([LED, ("cache", 6379)])
    assert sorted(_connects(forwards)) == ["cache:6379 leads nowhere", "hello"]
    forwards.lead(*LED, None)
    with pytest.raises(KeyError):
        forwards.lead("db", 5433, None)


def test_what_is_allowed_leads_past_all_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def metadata(*_: object, **__: object) -> list[object]:
        return [(2, 1, 6, "", ("169.254.169.254", 80))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", metadata)
    egress = Egress(frozenset({"innocent.example:80"}))
    forwards = allowed_forwards([("innocent.example", 80)], ["innocent.example:80"], egress)
    (told,) = _connects(forwards)
    assert "its name means 169.254.169.254, a link-local address" in told
    assert egress.allowed == {"innocent.example:80": 1}
    assert egress.failed == {"innocent.example:80": told}
    egress.forget()
    assert not egress.failed
    # A place that is not allowed leads nowhere, and what asks nevertheless is refused and counted.
    assert _connects(allowed_forwards([("other", 80)], [], egress)) == ["other:80 leads nowhere"]
    with pytest.raises(ConnectionRefusedError, match="other:80 is not allowed"):
        asyncio.run(egress.reach("other", 80))
    assert egress.refused == {"other:80": 1}
