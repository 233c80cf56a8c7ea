"""Who a container's user is."""

from __future__ import annotations

import pytest

from pytest_agent_sandbox.containers.accounts import Account, account_of
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_files import find_account
from pytest_agent_sandbox.errors import SettingsError

PASSWD = """root:x:0:0:root:/root:/bin/bash
nobody:x:65534:65533:nobody:/nonexistent:/usr/sbin/nologin
# a comment, and a line that broke off: x:y
agent:x:1000:1001::/home/agent:/bin/sh
nohome:x:7:7::/:/bin/sh
"""
GROUP = "root:x:0:\nusers:x:100:agent\n"


@pytest.mark.parametrize(
    ("user", "account"),
    [
        ("", Account(0, 0, "/root")),
        ("0:0", Account(0, 0, "/root")),
        ("agent", Account(1000, 1001, "/home/agent")),
        ("1000", Account(1000, 1001, "/home/agent")),
        ("agent:users", Account(1000, 100, "/home/agent")),
        ("agent:", Account(1000, 1001, "/home/agent")),
        ("1234", Account(1234, 0, "")),
        ("1234:1234", Account(1234, 1234, "")),
        ("nobody", Account(65534, 65533, "/nonexistent")),
        ("nohome", Account(7, 7, "")),
    ],
)
def test_accounts(user: str, account: Account) -> None:
    assert account_of(user, PASSWD, GROUP, "image:1") == account


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("bob", r"user: 'bob': the image image:1 has no user 'bob' \(it has .*agent, nobody"),
        ("agent:wheel", r"has no group 'wheel' \(it has root, users\).*such as 1000:1000"),
    ],
)
def test_names_that_the_image_does_not_know(user: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        account_of(user, PASSWD, GROUP, "image:1")


def test_an_image_without_users() -> None:
    assert account_of("5", "", "", "image:1") == Account(5, 0, "")
    with pytest.raises(SettingsError, match="it has none"):
        account_of("bob", "", "", "image:1")


def test_the_users_of_an_image(engine: ContainerEngine, image: str) -> None:
    assert find_account(engine, image, "root") == Account(0, 0, "/root")
