"""What a service is to be: checked when it is described."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_agent_sandbox import Ready, Service, SettingsError
from pytest_agent_sandbox.sandbox.services.service import check_name
from pytest_agent_sandbox.sandbox.services.starting import check_names


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "give it an image, or build=FOLDER"),
        ({"image": "x", "ports": 5432}, r"ports=5432 is no list; use \[5432\]"),
        ({"image": "x", "ports": "5432"}, "ports='5432' is no list"),
        ({"image": "x", "ports": [0]}, "ports holds 0, which is no TCP port"),
        ({"image": "x", "ports": [65536]}, "ports holds 65536, which is no TCP port"),
        ({"image": "x", "ports": ["53/udp"]}, "ports holds '53/udp', which is no TCP port"),
        ({"image": "x", "ports": ["a:1"]}, "which is no TCP port such as 5432 or '15432:5432'"),
        ({"image": "x", "ports": [1, "1:2"]}, "ports holds 1 twice"),
        ({"image": "x", "ready": "port"}, "ready='port' is no Ready"),
        ({"image": "x", "network": "host"}, "network='host' gives it this machine's network"),
        ({"image": "x", "start_timeout": 0}, "start_timeout=0 is no time"),
    ],
)
def test_what_cannot_be_used_is_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Service(**values)


def test_ports_are_known_by_the_number_that_is_given() -> None:
    service = Service("x", ports=[5432, "18000:8000", "6379/tcp"])
    assert service.port_numbers() == {5432: 5432, 18000: 8000, 6379: 6379}


@pytest.mark.parametrize(
    ("service", "port", "scheme"),
    [
        (Service("x", ports=[5432]), 5432, "postgresql"),
        (Service("x", ports=["15432:5432"]), 15432, "postgresql"),
        (Service("x", ports=[1234]), 1234, "tcp"),
        (Service("x", ports=[1234], scheme="http"), 1234, "http"),
    ],
)
def test_the_scheme_of_an_address(service: Service, port: int, scheme: str) -> None:
    assert service.scheme_of(port) == scheme


def test_variables_are_no_part_of_what_is_shown() -> None:
    assert "hunter2" not in repr(Service("x", env={"PASSWORD": "hunter2"}))


@pytest.mark.parametrize("name", ["db", "db-main", "a" * 63, "x1"])
def test_a_name(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "Db", "db_main", "-db", "db-", "a.b", "1", "a" * 64, "db\n"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(SettingsError, match="is no name that programs can look up"):
        check_name(name)


def test_who_comes_after_whom() -> None:
    check_names({"web": Service("x", after=["db"]), "db": Service("x")})
    with pytest.raises(SettingsError, match="Service web: after names 'cache', which is not among"):
        check_names({"web": Service("x", after=["cache"])})
    circle = {"a": Service("x", after=["b"]), "b": Service("x", after=["a"]), "c": Service("x")}
    with pytest.raises(SettingsError, match=r"Services wait for one another: a, b$"):
        check_names(circle)


@pytest.mark.parametrize(
    ("ready", "words"),
    [
        (Ready.health(), "its health check to pass"),
        (Ready.port(), "its ports to open"),
        (Ready.port(5432), "its port 5432 to open"),
        (Ready.log("ready", times=2), "'ready' in its log 2 times"),
        (Ready.http("/health"), "/health to answer with a status below 400"),
        (Ready.http(status=204), "/ to answer with status 204"),
        (Ready.command("pg_isready -q"), "`pg_isready -q` to succeed"),
        (Ready.command(["redis-cli", "ping me"]), "`redis-cli 'ping me'` to succeed"),
    ],
)
def test_readiness_in_words(ready: Ready, words: str) -> None:
    assert str(ready) == words


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Ready.log("("), "is no regular expression"),
        (lambda: Ready.http("health"), "'health' is no path such as /health"),
        (lambda: Ready.command(""), "the command is empty"),
        (lambda: Ready.command([]), "the command is empty"),
    ],
)
def test_readiness_that_cannot_be_asked(make: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        make()
