"""Loggers that say the same only seldom."""

import logging
import re
from pathlib import Path

import pytest

import pytest_agent_sandbox
from pytest_agent_sandbox.host import seldom

PACKAGE = Path(pytest_agent_sandbox.__file__).parent


@pytest.fixture
def logger(request):
    return seldom.logger(f"{__name__}.{request.node.name}")


def messages(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_kind_of_message_is_logged_once_and_then_at_powers_of_ten(logger, caplog):
    for number in range(1, 1500):
        logger.warning("refused %r", f"path-{number}")
    assert messages(caplog) == [
        "refused 'path-1'",
        "refused 'path-10' (the 10th time)",
        "refused 'path-100' (the 100th time)",
        "refused 'path-1000' (the 1,000th time)",
    ]


def test_each_kind_is_counted_by_itself(logger, caplog):
    for _ in range(5):
        logger.warning("one %s", "thing")
        logger.warning("another %s", "thing")
        seldom.logger(f"{logger.name}.other").warning("one %s", "thing")
    assert messages(caplog) == ["one thing", "another thing", "one thing"]


def test_where_single_messages_matter_the_first_ones_are_logged(request, caplog):
    logger = seldom.logger(f"{__name__}.{request.node.name}", first=10)
    for number in range(1, 100):
        logger.warning("left out: %s", number)
    assert messages(caplog) == [f"left out: {number}" for number in range(1, 11)]


def test_a_test_that_begins_finds_the_message_again(logger, caplog):
    for _ in range(3):
        seldom.begin_anew()
        logger.warning("refused")
        logger.warning("refused")
    assert messages(caplog) == ["refused"] * 3


def test_what_a_level_keeps_out_is_not_counted(logger, caplog):
    logger.setLevel(logging.WARNING)
    logger.debug("refused")
    logger.setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG):
        logger.debug("refused")
    assert messages(caplog) == ["refused"]


@pytest.mark.parametrize("place", ["%s", "%r"])
def test_a_long_message_loses_its_middle(logger, caplog, place):
    logger.warning(f"refused {place}: no token", "A" * 30_000_000)
    (message,) = messages(caplog)
    assert len(message) < seldom.LONGEST + 50
    assert message.startswith("refused ")
    assert message.endswith(": no token")
    assert "characters" in message


def test_control_characters_are_spelled_out(logger, caplog):
    logger.warning("refused %s", "a\x1b[2J\r\nWARNING forged\u202e\x9b\x00 \xe4\U0001f600\ud800")
    assert messages(caplog) == [
        r"refused a\x1b[2J\r\nWARNING forged\u202e\x9b\x00 ä😀\ud800",
    ]


def test_a_traceback_is_bounded_and_harmless_too(logger, caplog):
    try:
        raise ValueError("\x1b[2J" + "A" * 1_000_000)
    except ValueError:
        logger.warning("a callback failed", exc_info=True)
    assert len(caplog.text) < seldom.LONGEST_TRACEBACK + 1000
    assert "Traceback (most recent call last):\n" in caplog.text
    assert r"ValueError: \x1b[2JAAA" in caplog.text
    assert "\x1b" not in caplog.text


def test_all_loggers_of_the_package_are_such():
    """One that is not would be the next by which a sandbox fills a terminal."""
    direct = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if re.search(r"\bgetLogger\(", file.read_text(encoding="utf-8"))
    }
    # One that says nothing at all, and those of programs.
    others = {"engines/docker/services.py", "client/upstream_names.py"}
    assert direct == {"host/seldom.py", *others}
