"""`--json`: the same as what people read, for programs."""

import json

import pytest

from pytest_agent_sandbox.cli import main
from pytest_agent_sandbox.cli.json_output import print_json
from pytest_agent_sandbox.evidence import folders, results_table
from pytest_agent_sandbox.evidence.result import Result

COMMANDS = ["doctor", "build", "show", "compare", "prune"]


@pytest.fixture
def printed(capsys):
    def run(*arguments, code=0):
        assert main([str(argument) for argument in arguments]) == code
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def runs(tmp_path):
    """Two runs: of one test, the second fails far more often than the first."""
    for name, passed in (("a", 19), ("b", 5)):
        output = tmp_path / name
        folders.begin_run(output, name)
        for number in range(20):
            verdict = "passed" if number < passed else "failed"
            fault = "" if verdict == "passed" else "agent"
            result = Result(
                test=f"t.py::test[trial{number}]", verdict=verdict, fault=fault, duration=1.5
            )
            result.group = "t.py::test"
            results_table.add(output, result, None)
        results_table.add(output, Result(test=f"t.py::only_{name}", verdict="passed"), None)
    return tmp_path / "a", tmp_path / "b"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_of_these_has_it(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "--json" in capsys.readouterr().out


def test_doctor(printed, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    for name in ("LLM_MODEL", "LLM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    document = printed("doctor", "--json", code=1)
    assert document["ready"] is False
    states = {one["subject"]: one["state"] for one in document["findings"]}
    assert states == {"live LLM": "optional", "engine": "failed"}
    assert "unix:///nowhere/docker.sock" in document["findings"][1]["text"]


def test_show(printed, runs):
    tests = printed("show", "--json", runs[0])["tests"]
    assert len(tests) == 21
    assert {"test", "verdict", "duration", "cost"} <= set(tests[0])


def test_compare(printed, runs):
    document = printed("compare", "--json", *runs)
    (test,) = document["tests"]
    assert test["test"] == "t.py::test"
    passed = test["measures"][0]
    assert (passed["name"], passed["A"], passed["B"]) == ("passed", 0.95, 0.25)
    assert passed["direction"] == "lower"
    assert passed["is_more_than_chance"] is True
    assert passed["p"] < 0.05
    assert document["only_in_A"] == ["t.py::only_a"]
    assert document["only_in_B"] == ["t.py::only_b"]


def test_nothing_in_it_steers_a_terminal_and_all_of_it_is_json(capsys):
    print_json({"a": "\x1b[2J\u202e\r", "b": [float("nan"), (float("inf"), 1.5)]})
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert not set(shown) & set("\x1b\r")
    assert json.loads(shown) == {"a": "\x1b[2J\u202e\r", "b": [None, [None, 1.5]]}
