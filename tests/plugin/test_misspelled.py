"""Misspelled names of settings, on the command line, in the environment and in the ini file."""

import pytest

TEST = "def test_it(sandbox_settings):\n    pass\n\ndef test_sandbox(agent_workspace):\n    pass\n"


@pytest.fixture
def run(pytester, monkeypatch):
    for name in ("PYTEST_SANDBOX_IMAGE",):
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile(test_it=TEST)
    pytester.makefile(".ini", pytest="[pytest]\naddopts = -p no:asyncio\n")

    def run(*arguments):
        result = pytester.runpytest_subprocess(*arguments, "-p", "no:randomly")
        return result.ret, result.stdout.str() + result.stderr.str()

    return run


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--sandbox-memry=1g", "--sandbox-memory"),
        ("--no-sandbox-liv", "--no-sandbox-live"),
        ("--llm-recrod=all", "--llm-record"),
        ("--agent-trails=3", "--agent-trials"),
    ],
)
def test_flags(run, given, meant):
    code, output = run(given)
    assert code == 4
    assert f"unrecognized arguments: {given.partition('=')[0]}. Did you mean {meant}?" in output


def test_a_flag_of_a_conftest_is_none_of_ours(run, pytester):
    pytester.makeconftest(
        "def pytest_addoption(parser):\n    parser.addoption('--sandbox-memry')\n"
    )
    code, output = run("--sandbox-memry=1g", "-k", "nothing")
    assert code == 5, output


@pytest.mark.parametrize("given", ["--sandbox-zzz", "--llm-temperature=1"])
def test_a_flag_like_none(run, given):
    code, output = run(given)
    assert code == 4
    assert "Did you mean" not in output


@pytest.mark.parametrize("workers", [(), ("-n1",)])
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PYTEST_SANDBOX_MEMRY", "PYTEST_SANDBOX_MEMORY"),
        ("PYTEST_SANDBOX_NETWROK", "PYTEST_SANDBOX_NETWORK"),
        ("PYTEST_LLM_RECROD", "PYTEST_LLM_RECORD"),
    ],
)
def test_variables(run, monkeypatch, name, meant, workers):
    monkeypatch.setenv(name, "x")
    code, output = run(*workers)
    assert code == 4
    said = f"ERROR: The environment variable {name} is no setting. Did you mean {meant}?"
    assert output.count(said) == 1


@pytest.mark.parametrize("name", ["PYTEST_SANDBOX_IMAGE_TAG", "PYTEST_SANDBOX_ZZZ"])
def test_variables_of_others(run, monkeypatch, name):
    monkeypatch.setenv(name, "x")
    _, output = run()
    assert "1 passed, 1 error" in output
    assert "is no setting" not in output


def test_runs_without_a_sandbox_do_not_care(run, monkeypatch, pytester):
    monkeypatch.setenv("PYTEST_SANDBOX_MEMRY", "x")
    pytester.makepyfile(test_it="def test_it():\n    pass\n")
    assert run()[0] == 0


def test_an_argument_of_the_marker_of_trials(run, pytester):
    pytester.makepyfile(
        test_it="import pytest\n@pytest.mark.agent_trials(pass_rat=1)\ndef test_it():\n    pass\n"
    )
    _, output = run()
    assert "unknown argument 'pass_rat'. Did you mean 'pass_rate'?" in output
