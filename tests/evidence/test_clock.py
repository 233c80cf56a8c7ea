"""A server's times, on this machine's clock."""

from datetime import UTC, datetime

import pytest

from pytest_agent_sandbox.evidence.clock import Clock

STARTED = datetime(2026, 1, 1, 10, tzinfo=UTC).timestamp()


def test_without_a_zone_and_without_events_it_is_utc():
    assert Clock(STARTED).seconds("2026-01-01T10:00:01.5") == 1.5


@pytest.mark.parametrize(
    ("written", "zone"),
    [
        ("2026-01-01T10:00:10", 0),
        ("2026-01-01T02:00:10", -8),
        ("2026-01-01T23:00:10", 13),
        ("2026-01-02T00:00:10", 14),
        ("2026-01-01T15:45:10", 5.75),
    ],
)
def test_the_zone_of_a_server_is_found_out(written, zone):
    clock = Clock(STARTED, [(written, STARTED + 10.4)])
    assert clock.seconds(written) == 10


def test_what_was_fetched_again_came_late_and_does_not_count():
    late = [(f"2026-01-01T12:00:{n:02}", STARTED + 7200) for n in range(40)]
    clock = Clock(STARTED, [*late, ("2026-01-01T12:00:41", STARTED + 41.01)])
    assert clock.seconds("2026-01-01T12:00:30") == 30


def test_a_time_with_a_zone_is_taken_at_its_word_and_tells_nothing_of_others():
    received = [
        ("2026-01-01T12:00:10+02:00", STARTED + 10),
        ("2026-01-01T02:00:11", STARTED + 11),
    ]
    clock = Clock(STARTED, received)
    assert clock.seconds("2026-01-01T12:00:10+02:00") == 10
    assert clock.seconds("2026-01-01T10:00:10Z") == 10
    assert clock.seconds("2026-01-01T02:00:11") == 11


def test_one_impossible_time_does_not_move_the_others():
    received = [
        ("9999-12-31T23:59:59", STARTED + 1),
        ("0001-01-01T00:00:00", STARTED + 2),
        ("2026-01-01T11:00:03", STARTED + 3),
    ]
    assert Clock(STARTED, received).seconds("2026-01-01T11:00:03") == 3


def test_a_clock_that_is_wrong_by_days_is_set_right():
    clock = Clock(STARTED, [("2025-12-24T09:00:05", STARTED + 5)])
    assert clock.seconds("2025-12-24T09:00:05") == 5


@pytest.mark.parametrize(
    "text", ["", "?", "yesterday", None, 5, 1.5, [], {}, "2026-13-01", "\ud800"]
)
def test_what_is_no_time(text):
    clock = Clock(STARTED, [(text, STARTED), ("2026-01-01T11:00:00", STARTED)])
    assert clock.seconds(text) is None
    assert clock.seconds("2026-01-01T11:00:00") == 0


@pytest.mark.parametrize("zone", ["", "+14:00", "-23:59"])
@pytest.mark.parametrize("time", ["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999"])
def test_the_first_and_the_last_time_there_is(time, zone):
    assert isinstance(Clock(STARTED, [(time + zone, STARTED)]).seconds(time + zone), float)
