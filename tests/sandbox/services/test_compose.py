"""Compose files: what is followed, and what is refused by name."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

import pytest

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.sandbox.services.compose import read_compose
from pytest_agent_sandbox.sandbox.services.readiness import Ready
from pytest_agent_sandbox.sandbox.services.service import Service
from tests.support.hostile import compose_files

WHOLE = """
name: shop
version: "3.9"
x-common: &common
  environment:
    TZ: UTC
services:
  db:
    <<: *common
    image: postgres:${PG:-17}
    ports: ["15432:5432"]
    volumes: [data:/var/lib/postgresql/data]
    tmpfs: /run:size=64m
    user: "999"
    mem_limit: 1gb
    healthcheck:
      test: ["CMD-SHELL", "pg_isready -U $$POSTGRES_USER"]
      interval: 5s
      timeout: 1m30s
      retries: 30
      start_period: 10s
  web:
    build: {context: web, args: {A: b}, target: test}
    command: serve --port "80"
    depends_on:
      db: {condition: service_healthy}
    expose: [80]
volumes:
  data:
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "compose.yaml"
    path.write_text(text, "utf-8")
    return path


def one(tmp_path: Path, keys: str, top: str = "", **variables: str) -> Service:
    lines = "".join(f"    {line}\n" for line in keys.splitlines())
    path = write(tmp_path, f"services:\n  db:\n    image: a\n{lines}{top}")
    return read_compose(path, variables)["db"]


def complaint(tmp_path: Path, text: str, **variables: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read_compose(write(tmp_path, text), variables)
    return str(caught.value)


def test_a_whole_file(tmp_path: Path) -> None:
    services = read_compose(write(tmp_path, WHOLE), {})
    assert services == {
        "db": Service(
            "postgres:17",
            env={"TZ": "UTC"},
            ports=[5432],
            volumes=["data:/var/lib/postgresql/data"],
            tmpfs=["/run:64m"],
            user="999",
            memory="1gb",
            ready=Ready.command("pg_isready -U $POSTGRES_USER"),
            after=[],
            start_timeout=160.0,
        ),
        "web": Service(
            build={
                "context": tmp_path / "web",
                "dockerfile": None,
                "args": {"A": "b"},
                "target": "test",
            },
            command=["serve", "--port", "80"],
            ports=[80],
            volumes=[],
            tmpfs=[],
            after=["db"],
        ),
    }


@pytest.mark.parametrize(
    ("keys", "name", "wanted"),
    [
        ("environment: [A=1, B=, C, HERE]", "env", {"A": "1", "B": "", "HERE": "here"}),
        (
            "environment: {A: 1.10, B: on, C: ~, HERE: }",
            "env",
            {"A": "1.10", "B": "on", "HERE": "here"},
        ),
        ("environment: {A: 'x=y', B: \"\"}", "env", {"A": "x=y", "B": ""}),
        ("env_file: a.env\nenvironment: {A: mine}", "env", {"A": "mine", "B": "here b", "C": "$D"}),
        (
            "env_file: [{path: a.env}, {path: none.env, required: false}]",
            "env",
            {"A": "1", "B": "here b", "C": "$D"},
        ),
        ("command: a 'b c'", "command", ["a", "b c"]),
        ("command: [a, 'b c']", "command", ["a", "b c"]),
        ("entrypoint: /bin/x -y", "entrypoint", ["/bin/x", "-y"]),
        ("ports: [22:22]", "ports", [22]),
        (
            "ports: [5432, '80/tcp', '127.0.0.1:8000:81', '[::1]:1:82', ':83', '5-6:84-85']",
            "ports",
            [5432, 80, 81, 82, 83, 84, 85],
        ),
        ("ports: [{target: 80, published: 8080, protocol: tcp, mode: host}]", "ports", [80]),
        ("ports: [80]\nexpose: ['80', 90]", "ports", [80, 90]),
        ("tmpfs: [/a, '/b:size=1g,mode=1777']", "tmpfs", ["/a", "/b:1g"]),
        ("volumes: [/anonymous]", "volumes", ["db-1:/anonymous"]),
        (
            "volumes: [{type: volume, source: data, target: /d, read_only: true}]",
            "volumes",
            ["data:/d:ro"],
        ),
        ("volumes: ['data:/d:ro']", "volumes", ["data:/d:ro"]),
        ("volumes: [{type: tmpfs, target: /t, tmpfs: {size: 5m}}]", "tmpfs", ["/t:5m"]),
        ("hostname: other", "hostname", "other"),
        ("platform: linux/arm64", "platform", "linux/arm64"),
        ("healthcheck: {test: redis-cli ping}", "ready", Ready.command("redis-cli ping")),
        ("healthcheck: {test: [CMD, a, b]}", "ready", Ready.command(["a", "b"])),
        ("healthcheck: {disable: true}", "ready", Ready.started()),
        ("healthcheck: {test: [NONE]}\nports: [1]", "ready", Ready.port()),
        ("healthcheck: {interval: 5s}", "ready", None),
        ("x-mine: {a: b}", "ready", None),
    ],
)
def test_what_a_key_means(tmp_path: Path, keys: str, name: str, wanted: object) -> None:
    (tmp_path / "a.env").write_text("# all\nexport A=1 # one\nB=\"$HERE b\"\nC='$D'\n")
    top = "volumes: {data: {name: shop_data}}\n"
    assert getattr(one(tmp_path, keys, top, HERE="here"), name) == wanted


def test_depends_on_a_list(tmp_path: Path) -> None:
    text = "services: {a: {image: x, depends_on: [b]}, b: {image: x}}"
    assert read_compose(write(tmp_path, text), {})["a"].after == ["b"]


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("$A-${A}", "1-1"),
        ("${A:-x}${NONE:-y}${EMPTY:-z}${EMPTY-z}", "1yz"),
        ("${NONE:-${NO:-deep}}", "deep"),
        ("${A:+set}${EMPTY:+set}${EMPTY+there}", "setthere"),
        ("${A:?must be}", "1"),
        ("$$A $${A}", "$A ${A}"),
        ("a${UNSET}b", "ab"),
    ],
)
def test_variables(tmp_path: Path, written: str, wanted: str) -> None:
    assert one(tmp_path, f"environment: {{X: '{written}'}}", A="1", EMPTY="").env == {"X": wanted}


def test_variables_of_the_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=file\nB=file\n")
    assert one(tmp_path, "environment: {X: $A $B}", B="outside").env == {"X": "file outside"}


def test_a_variable_that_is_missing_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        one(tmp_path, "environment: {X: $NOBODY_SET_IT}")
    assert "NOBODY_SET_IT" in caplog.text


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("networks: [a]", "leave it out: services reach one another"),
        ("container_name: a", "leave it out"),
        ("restart: always", "told as an error"),
        ("privileged: true", "root"),
        ("cap_add: [ALL]", "cap_add: this is not supported"),
        ("networks: {default: {}}", "networks"),
        ("volumes: ['./data:/d']", "mounts a folder of this machine"),
        ("volumes: ['/var/run/docker.sock:/s']", "mounts a folder of this machine"),
        ("volumes: ['~:/s']", "mounts a folder of this machine"),
        ("volumes: ['C:\\x:/s']", "'C' is not among"),
        ("volumes: [{type: bind, source: /etc, target: /e}]", "mounts a folder of this machine"),
        ("volumes: ['other:/d']", "'other' is not among"),
        ("volumes: ['data:d']", "'d' is no folder"),
        ("volumes: [{type: volume, target: /d, volume: {nocopy: true}}]", "volume: this is not"),
        ("tmpfs: /t:noexec", "'noexec' is not supported"),
        ("tmpfs: t", "no folder"),
        ("ports: ['53:53/udp']", "not TCP"),
        ("ports: [{target: 53, protocol: udp}]", "not TCP"),
        ("ports: ['99999']", "99999"),
        ("ports: ['1-60000']", "more than 64"),
        ("ports: [{}]", "no port"),
        ("ports: [a]", "'a' is no port"),
        ("ports: {a: b}", "no list of texts"),
        ("depends_on: {a: {condition: service_completed_successfully}}", "is not supported"),
        ("depends_on: [nobody]", "no service 'nobody'"),
        ("depends_on: {db: {restart: true}}", "restart: this is not supported"),
        ("environment: {A: [1]}", "the value of A is no text"),
        ("environment: 5", "neither a mapping nor a list"),
        ("environment: {'': a}", "''"),
        ("env_file: none.env", "there is no file 'none.env'"),
        ("command: 'a \"b'", "command: No closing quotation"),
        ("command: {a: b}", "command: this is no list"),
        ("mem_limit: much", "'much' is not a size"),
        ("mem_limit: 9e999999999g", "mem_limit"),
        ("platform: [a]", "platform: this is no text"),
        ("healthcheck: {test: [ping]}", "CMD-SHELL"),
        ("healthcheck: {test: {a: b}}", "no list of texts"),
        ("healthcheck: {test: a, interval: often}", "'often' is no duration"),
        ("healthcheck: {test: a, retries: -1}", "no number"),
        ("healthcheck: a", "no mapping"),
        ("build: {context: ., ssh: default}", "ssh: this is not supported"),
        ("image: ['a']", "'image' is there twice"),
        ("environment: {X: '${A'}", "not closed"),
        ("environment: {X: 'a$'}", "write $$ for a $"),
        ("environment: {X: '${A:?is wanted}'}", "A is not set: is wanted"),
        ("environment: {X: '${A/b}'}", "no variable that Compose knows"),
        ("command: !!python/object:os.system a", "tag"),
        ("command: !reset a", "the tag !reset"),
    ],
)
def test_what_is_refused_by_name(tmp_path: Path, keys: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        one(tmp_path, keys, "volumes: {data: }\n")
    message = str(caught.value)
    assert words in message
    assert str(tmp_path / "compose.yaml") in message


def test_a_refusal_names_file_line_service_and_key(tmp_path: Path) -> None:
    message = complaint(tmp_path, "services:\n  db:\n    image: a\n    cgroup: host\n")
    assert message.startswith(f"{tmp_path / 'compose.yaml'}:4: service db: cgroup: ")
    assert "Service(" in message, "what to do instead"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("a", "no compose file"),
        ("[]", "no compose file"),
        ("services:\n", "there is no service"),
        ("services: {}\n", "there is no service"),
        ("volumes: {}\n", "there is no service"),
        ("services:\n  db:\n\timage: a\n", ":3: this is no YAML"),
        ("services: {a: {image: x}}\nservices: {}\n", ":2: 'services' is there twice"),
        ("services: {a: }", "a: this is no mapping"),
        ("services: {a: {}}", "neither image nor build"),
        ("services: {my_db: {image: a}}", "my_db: 'my_db' is no name that programs can look up"),
        ("services: {a: {image: x}}\nnetworks: {b: }", "networks: this is not supported"),
        ("services: {a: {image: x}}\nsecrets: {b: }", "give them by environment"),
        ("services: {a: {image: x}}\nvolumes: {b: {external: true}}", "external"),
        ("services: {a: {image: x}}\nvolumes: {../b: }", "no name of a volume"),
        ("a: b\n---\nc: d\n", "no YAML"),
        ("? [a]\n: b\n", "a key is no text"),
        ("\0", "no YAML"),
        ("services: *unknown", "no YAML"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, text: str, words: str) -> None:
    assert words in complaint(tmp_path, text)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no file"):
        read_compose(tmp_path / "compose.yaml", {})
    with pytest.raises(SettingsError, match="cannot be read"):
        read_compose(tmp_path, {})
    (tmp_path / "latin").write_bytes(b"services: \xe9")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_compose(tmp_path / "latin", {})


def bomb(inner: str, join: str) -> str:
    lines = [f"x-0: &a0 {inner}"]
    lines += [f"x-{n}: &a{n} {join.format(*[f'*a{n - 1}'] * 9)}" for n in range(1, 12)]
    return "\n".join([*lines, "services: {a: {image: x}}"])


LIST = "[" + ",".join(["{}"] * 9) + "]"


@pytest.mark.parametrize(
    "text",
    [
        bomb("[a, b]", LIST),
        bomb("{a: b}", "{{<<: " + LIST + "}}"),
        "services: &a {b: *a}",
        "services: &a [*a]",
        "services: " + "[" * 5000,
        "services: {a: {image: x, command: " + "[" * 200 + "]" * 200 + "}}",
        "services: {a: {image: x, environment: {A: '" + "${A:-" * 500 + "}" * 500 + "'}}}",
        "services: {a: {image: x, ports: [" + "9" * 100_000 + "]}}",
        "services: {a: {image: x, ports: [" + "1-60000," * 5000 + "]}}",
        "services: {a: {image: x, mem_limit: " + "9" * 100_000 + "}}",
        "#" * 1_000_001,
    ],
)
def test_what_would_fill_the_memory(tmp_path: Path, text: str) -> None:
    began = time.monotonic()
    assert len(complaint(tmp_path, text)) < 200_000
    assert time.monotonic() - began < 5


def test_whatever_is_in_its_place() -> None:
    """For longer: scripts/fuzz compose_files."""
    compose_files.run(seed=0, count=150)


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert "pip install 'pytest-agent-sandbox[compose]'" in complaint(tmp_path, WHOLE)
