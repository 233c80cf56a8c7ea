"""Which values of environment variables are secrets: by the variable's name, or in an address."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote, unquote_plus

#: Anywhere in a name.
_PARTS = (
    "key|token|secret|passw|passphrase|passcode|credential|cookie|webhook|signature|"
    "conn(ection)?_?str"
)
#: As a word of a name; "path" and "author" are none of them.
_WORDS = "pat|pw|pwd|pass|auth|authorization|bearer|cred|creds|dsn|jwt|otp|psk|sas"
_SECRET_NAME = re.compile(
    rf"{_PARTS}|(?:^|[^a-z])(?:{_WORDS})s?(?:$|[^a-z])",
    re.IGNORECASE,
)
#: The folders that a shell is and was in.
_NO_SECRETS = {"PWD", "OLDPWD"}

#: What stands between "://" and the path: its password may hold an unencoded "@".
_AUTHORITY = re.compile(r"[^\s\"'<>/?#]*")
_ARGUMENT = re.compile(r"(?:^|[?&;,\s])([\w.-]+)=([^\s&;,#\"']+)")
#: A name alone may be a token, as in https://TOKEN@github.com; longer ones than people have.
_TOKEN_LENGTH = 20


def secrets_of(variables: Mapping[str, str]) -> Iterator[str]:
    """Yield the secrets among the values of variables, and those that stand in a value.

    A path or a proxy may be among the variables too: of a value whose variable is not named like a
    secret, only the passwords of addresses in it are.
    """
    for name, value in variables.items():
        if is_secret_name(name):
            yield value
        yield from _in_addresses(value)


def is_secret_name(name: str) -> bool:
    """Tell whether a variable is named like a secret."""
    return name.upper() not in _NO_SECRETS and _SECRET_NAME.search(name) is not None


def _in_addresses(value: str) -> Iterator[str]:
    for rest in value.split("://")[1:]:
        authority = _AUTHORITY.match(rest)
        before_host = authority[0].rpartition("@")[0] if authority else ""
        user, colon, password = before_host.partition(":")
        secret = password if colon else user
        if colon or len(user) >= _TOKEN_LENGTH:
            yield secret
            yield unquote(secret)
    for found in _ARGUMENT.finditer(value):
        if is_secret_name(found[1]):
            yield found[2]
            yield unquote_plus(found[2])
