"""What a report says of a container."""

from collections import Counter

from pytest_agent_sandbox.host.egress import counted


def test_the_places_that_were_asked_for_most_are_told_first():
    assert counted(Counter({"a:80": 1, "b:80": 3})) == "b:80 (3 times), a:80"
    assert counted(Counter({f"p{n}:80": 1 for n in range(10)})).endswith("p8:80, p9:80")


def test_a_sandbox_that_asks_for_many_places_does_not_fill_the_report():
    places = Counter({"x" * 250 + f"{n}:80": 1 for n in range(100)})
    assert counted(places).endswith("9:80, 90 more")
    assert len(counted(places)) < 3000
