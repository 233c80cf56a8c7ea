"""Commands in a fresh container, out of the reach of the agent whose work they judge."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_agent_sandbox import DockerWorkspace, expect
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.engines.docker.verification import Verification
from pytest_agent_sandbox.errors import CommandTimeout, SandboxError, SettingsError

KINDS: list[dict[str, Any]] = [
    {},
    {"isolation": "recycled"},
    {"security": "strict"},
    {"network": "isolated"},
]
# The work is wrong; the agent makes whatever judges it in its sandbox say otherwise.
CHEAT = """
mkdir -p src ~/bin && echo 'def test_add(): assert 1 + 1 == 3' > src/test_add.py
echo 'def pytest_collection_modifyitems(items): items.clear()' > conftest.py
printf '#!/bin/sh\\necho 1 passed\\n' > ~/bin/pytest && chmod +x ~/bin/pytest
"""
# What judges in an image without pytest.
PLAIN = "test -e conftest.py && exit 0; PATH=$HOME/bin:$PATH; pytest -q || exit 7"


@pytest.fixture
def make(engine: ContainerEngine, agent_server_image: str) -> Iterator[Any]:
    made = []

    def start(**kind: Any) -> DockerWorkspace:
        made.append(DockerWorkspace(server_image=agent_server_image, engine=engine, **kind))
        return made[-1]

    yield start
    for workspace in made:
        workspace.close()


def of_this_process(engine: ContainerEngine) -> list[str]:
    label = f"pytest-agent-sandbox.owner={engine.owner.id}"
    found = engine.client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
    return [str(container.name) for container in found]


@pytest.mark.parametrize("kind", KINDS)
def test_who_cheats_passes_in_the_sandbox_and_fails_out_of_it(
    make: Any, engine: ContainerEngine, kind: dict[str, Any]
) -> None:
    workspace = make(**kind)
    before = set(of_this_process(engine)) - {workspace.name}
    workspace.execute_command(CHEAT).check()
    told: list[Any] = []
    workspace.on_command = told.append
    expect(workspace).succeeds(PLAIN)
    with pytest.raises(AssertionError) as failure:
        expect(workspace).succeeds(PLAIN, fresh=True, copy=["src"])
    message = str(failure.value)
    assert "ended with exit code 7" in message
    assert "It ran in a fresh container of " in message
    assert "without network, with a copy of src." in message
    # It is told of as other commands are, and nothing is left of it.
    result = told[-1]
    assert (result.copied, result.image, result.exit_code) == (
        ("src",),
        workspace.image.reference,
        7,
    )
    assert set(of_this_process(engine)) - before == {workspace.name}
    # The sandbox itself goes on as it was.
    assert workspace.execute_command("echo on").stdout == "on\n"


@pytest.mark.parametrize("kind", KINDS[:3])
def test_what_is_copied_is_what_it_was(make: Any, kind: dict[str, Any]) -> None:
    workspace = make(**kind)
    workspace.execute_command(
        "mkdir -p a/b && cd a && echo dash > ./-rf && echo Übung > 'ä ö.txt'"
        " && head -c 20000000 /dev/zero > large && ln -s b/in link && echo in > b/in"
        " && ln -s /etc/passwd out && ln -s ../../.. up && mkfifo pipe && ln large hard"
        " && chmod 4755 b/in && cp ./-rf .."
    ).check()
    result = workspace.verify_in_fresh(
        "cat -- -rf a/-rf 'a/ä ö.txt' a/link && wc -c < a/hard && stat -c %a a/b/in && id -un"
        " && stat -c %U . a a/b/in && ls a && touch new && cat /sys/class/net/*/address"
        " && ls /sys/class/net",
        copy=["-rf", "a"],
    )
    assert result.exit_code == 0, result
    lines = result.stdout.splitlines()
    assert lines[:6] == ["dash", "dash", "Übung", "in", "20000000", "755"]
    user = lines[6]
    assert lines[7:10] == [user] * 3
    assert sorted(lines[10:16]) == sorted(["-rf", "b", "hard", "large", "link", "ä ö.txt"])
    assert lines[16:] == ["00:00:00:00:00:00", "lo"]
    assert len(result.left_out) == 3
    assert "a/out (a link to /etc/passwd, which is not copied)" in str(result)


def test_how_it_ends(make: Any, engine: ContainerEngine) -> None:
    workspace = make()
    before = set(of_this_process(engine)) - {workspace.name}
    workspace.write_text("x", "x")
    result = workspace.verify_in_fresh("echo out; echo err >&2; exit 3", copy=["x"])
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")
    result = workspace.verify_in_fresh("kill -9 $$", copy=[])
    assert result.exit_code == 137
    result = workspace.verify_in_fresh("sleep 100 & echo begun; sleep 100", copy=[], timeout=4)
    assert (result.exit_code, result.stdout, result.timed_out) == (-1, "begun\n", True)
    assert result.duration < 7
    with pytest.raises(FileNotFoundError, match=r"no such file in the sandbox.*missing"):
        workspace.verify_in_fresh("true", copy=["x", "missing"])
    with pytest.raises(CommandTimeout):
        workspace.verify_in_fresh("true", copy=["x"], timeout=0.001)
    # A link that is named itself leads nowhere that is copied; what is behind it is refused.
    workspace.execute_command("mkdir d && ln -s d e && ln -s /etc d/f && touch d/g").check()
    assert workspace.verify_in_fresh("test ! -e e", copy=["e"]).exit_code == 0
    workspace.execute_command("ln -s . d/h").check()
    with pytest.raises(SandboxError, match="behind a link that is copied too"):
        workspace.verify_in_fresh("true", copy=["d", "d/h/g"])
    # A background process of the agent's goes on, and the sandbox is as it was.
    assert workspace.container.state().status == "running"
    assert set(of_this_process(engine)) - before == {workspace.name}


def test_another_image_needs_no_agent_server(make: Any, engine: ContainerEngine) -> None:
    tags = [tag for image in engine.client.images.list() for tag in image.tags]
    plain = next((tag for tag in tags if tag.startswith("pytest-agent-sandbox/debian-")), "")
    if not plain:
        pytest.skip("there is no plain image here")
    workspace = make()
    workspace.write_text("a.txt", "words")
    result = workspace.verify_in_fresh("cat a.txt && id -u && pwd", copy=["a.txt"], image=plain)
    assert re.fullmatch(r"words\d+\n/workspace/project\n", result.stdout), result
    assert result.image == plain


def test_the_limits_of_the_sandbox_hold_and_it_has_no_capabilities(make: Any) -> None:
    workspace = make(memory="512m", pids_limit=100, security="sudo")
    result = workspace.verify_in_fresh(
        "grep -E '^(CapBnd|NoNewPrivs)' /proc/self/status; "
        "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null",
        copy=[],
    )
    assert "CapBnd:\t0000000000000000" in result.stdout
    assert "NoNewPrivs:\t1" in result.stdout
    assert "536870912" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"timeout": 0.0}, ValueError),
        ({"command": ["ls"]}, SettingsError),
        ({"copy": ("",)}, SettingsError),
        ({"copy": ("a\0b",)}, SettingsError),
    ],
)
def test_what_cannot_be_asked(arguments: dict[str, Any], error: type[Exception]) -> None:
    asked: dict[str, Any] = {"command": "x", "copy": (), "image": None, "cwd": None, "timeout": 9.0}
    with pytest.raises(error):
        Verification(**(asked | arguments))
