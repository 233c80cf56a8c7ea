"""docs/interop.md names what is refused without containers."""

import re
from pathlib import Path

from pytest_agent_sandbox.settings.table import SETTINGS

PAGE = Path(__file__).parents[2] / "docs" / "interop.md"


def test_the_list_is_complete():
    (told,) = re.findall(r"can promise is refused: (.*?)\.", PAGE.read_text("utf-8"), re.S)
    refused = {setting.name for setting in SETTINGS if setting.elsewhere == "refused"}
    assert set(re.findall(r"`(\w+)`", told)) == refused
