"""Flags of pytest and of `agent-sandbox` that messages, help and docs name: there are such."""

import re
from pathlib import Path

import pytest

from pytest_agent_sandbox.settings.setting import flag
from pytest_agent_sandbox.settings.table import SETTINGS

ROOT = Path(__file__).parents[2]
FLAGS = {flag(setting) for setting in SETTINGS}
#: Found in what is read, and none of ours: an `…` or a `{name}` stands for the rest of these.
SHORTENED = {
    "--sandbox",
    "--sandbox-",
    "--llm-",
    "--agent-",
    "--no-sandbox-",
    "--no-llm-",
    "--agent-sandbox",
}


def files():
    yield from sorted(ROOT.glob("pytest_agent_sandbox/**/*.py"))
    yield from sorted(ROOT.glob("docs/**/*.md"))
    yield from (ROOT / name for name in ("README.md", "SECURITY.md"))


@pytest.mark.parametrize("file", list(files()), ids=lambda file: str(file.relative_to(ROOT)))
def test_each_flag_that_is_named_exists(file):
    named = re.findall(r"(?<![\w-])--(?:no-)?(?:sandbox|llm)-[a-z-]*", file.read_text("utf-8"))
    wrong = {
        name
        for name in named
        if name not in SHORTENED and name.replace("--no-", "--", 1) not in FLAGS
    }
    assert not wrong


def test_where_the_engine_is_far_away_the_setting_is_named():
    from pytest_agent_sandbox.containers import engine

    assert "--sandbox-gateway-address=ADDRESS" in Path(engine.__file__).read_text("utf-8")
