"""The README: its first test runs as pasted, and its table of settings is complete."""

import re
from pathlib import Path

import pytest

from pytest_agent_sandbox.options import SETTINGS

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


@pytest.mark.usefixtures("agent_server_image")
def test_the_first_test_runs_as_pasted(pytester):
    (code,) = re.findall(r"```python\n(# test_facts\.py\n.*?)```", README, re.DOTALL)
    pytester.makepyfile(test_facts=code)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=120)
    result.assert_outcomes(passed=1)


def test_every_setting_is_in_the_table():
    table = README.partition("| setting | what it is |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", table))
    assert named >= {setting.name for setting in SETTINGS}
