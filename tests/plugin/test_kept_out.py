"""`-p no:…` keeps the plugin out, by the name of its distribution and by its own."""

import pytest

TEST = """
def test_it(request):
    config = request.config
    assert config.pluginmanager.get_plugin("agent_sandbox_fixtures") is None
    assert not any("agent_sandbox" in line for line in config.getini("markers"))
"""


@pytest.mark.parametrize("workers", [(), ("-n1",)])
@pytest.mark.parametrize("name", ["agent-sandbox", "agent_sandbox"])
def test_no_trace_of_it(pytester, name, workers):
    pytester.makepyfile(TEST)
    result = pytester.runpytest_subprocess("-p", f"no:{name}", "-p", "no:asyncio", *workers)
    result.assert_outcomes(passed=1)
    result = pytester.runpytest_subprocess("-p", f"no:{name}", "--sandbox-memory=1g")
    assert result.ret == 4
    assert "unrecognized arguments: --sandbox-memory=1g" in result.stderr.str()


def test_without_it_the_plugin_is_there(pytester):
    pytester.makepyfile(TEST)
    pytester.runpytest_subprocess("-p", "no:asyncio").assert_outcomes(failed=1)
