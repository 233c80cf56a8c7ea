"""Which values of variables are secrets: those that SECURITY.md promises to mask."""

import time

import pytest

from pytest_agent_sandbox.host.redaction import Redactor
from pytest_agent_sandbox.host.secret_variables import is_secret_name, secrets_of

PASSWORD = "hunter2-hunter2"


@pytest.mark.parametrize(
    "name",
    [
        "API_KEY",
        "apikey",
        "SSH_PRIVATE_KEY",
        "AWS_ACCESS_KEY_ID",
        "GITHUB_TOKEN",
        "npm_token",
        "CLIENT_SECRET",
        "DB_PASSWORD",
        "MYSQL_PASSWD",
        "KEY_PASSPHRASE",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GH_PAT",
        "PAT",
        "GITHUB_PAT_2",
        "AZURE-PAT",
        "MY_DSN",
        "SENTRY_DSN",
        "DB_PWD",
        "DB_PASS",
        "REDIS_PW",
        "NPM_AUTH",
        "_auth",
        "BASIC_AUTH",
        "AUTHORIZATION",
        "JWT",
        "MY_JWT",
        "DB_CREDS",
        "CRED",
        "SESSION_COOKIE",
        "SLACK_WEBHOOK_URL",
        "WEBHOOK_SIGNATURE",
        "SQL_CONNECTION_STRING",
        "DB_CONNSTR",
        "BEARER",
        "WIFI_PSK",
        "SAS_2",
        "MY_OTP",
    ],
)
def test_names_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "PYTHONPATH",
        "PATHS",
        "MY_PATH",
        "PWD",
        "OLDPWD",
        "pwd",
        "HOME",
        "USER",
        "LANG",
        "CI",
        "HTTP_PROXY",
        "NO_PROXY",
        "DATABASE_URL",
        "GIT_AUTHOR_NAME",
        "AUTHOR",
        "COMPASS_MODE",
        "BYPASS",
        "DISPATCH",
        "PATTERN",
        "SPAWN",
        "RESIDENT",
        "WSL",
        "CREDIT",
        "MODE",
        "PASSED",
    ],
)
def test_names_of_what_is_none(name):
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "value",
    [
        f"postgres://user:{PASSWORD}@db:5432/x",
        f"postgresql+psycopg://:{PASSWORD}@db/x?sslmode=require",
        f"http://proxy-user:{PASSWORD}@proxy:3128",
        f"mongodb://a:{PASSWORD}@one,two/x",
        f"https://one:first-password@x/ and https://two:{PASSWORD}@y/",
        f"https://x/hook?user=me&token={PASSWORD}",
        f"https://x/?sig=1&api_key={PASSWORD}#end",
        f"Server=x;User Id=me;Password={PASSWORD};Encrypt=yes",
        f"host=x password={PASSWORD} dbname=y",
    ],
)
def test_the_password_in_an_address_is_a_secret_by_itself(value):
    redactor = Redactor()
    redactor.add(*secrets_of({"SERVICE_URL": value}))
    assert redactor(f"the password {PASSWORD} is it") == "the password *** is it"
    # The rest of it is not: it may be on every page.
    assert redactor("user proxy-user db:5432 sslmode=require dbname=y") == (
        "user proxy-user db:5432 sslmode=require dbname=y"
    )


@pytest.mark.parametrize("password", ["p@ss-w:rd-x", "hash-in-it-%23", "p%40ss%2Fw%3Ard-x"])
def test_a_password_is_known_as_it_stands_in_the_address_and_decoded(password):
    redactor = Redactor()
    redactor.add(*secrets_of({"SERVICE_URL": f"amqp://user:{password}@host/vhost"}))
    assert redactor(f"a {password} b") == "a *** b"
    decoded = password.replace("%40", "@").replace("%2F", "/").replace("%3A", ":")
    assert redactor(f"a {decoded} b") == "a *** b"


def test_a_token_in_the_place_of_a_user_is_a_secret_and_a_name_is_none():
    token = "ghp_0123456789abcdefghijklmnop"
    assert token in secrets_of({"REPO": f"https://{token}@github.com/a/b"})
    assert not list(secrets_of({"REPO": "ssh://somebody@github.com/a/b", "DB": "pg://postgres@x"}))


def test_a_value_whose_name_says_so_is_a_secret_as_a_whole_and_so_is_its_password():
    value = f"postgres://user:{PASSWORD}@db/x"
    assert {value, PASSWORD} <= set(secrets_of({"MY_DSN": value}))


@pytest.mark.parametrize(
    "value", ["", "/usr/bin:/bin", "a=b", "http://x:8080/long/@y", "x://@", "://:@"]
)
def test_other_values_hold_no_secrets(value):
    assert not any(secrets_of({"SOMETHING": value}))


@pytest.mark.parametrize("piece", ["a://", "a=", "a://b:c@", "token=", ":@", "a"])
def test_long_values_take_no_long_time(piece):
    started = time.monotonic()
    list(secrets_of({"SOMETHING": piece * (100_000 // len(piece))}))
    assert time.monotonic() - started < 1
