"""What a test sees of the tests before it, at each level of isolation."""

from __future__ import annotations

import re

import pytest

from tests.support.project import Project

pytestmark = pytest.mark.usefixtures("agent_server_image")

# The second test is told what the first has seen and done, by a file on this side.
HOSTILE = """
import json, os, re, time
from pathlib import Path
import pytest
from pytest_agent_sandbox import say, tool

LOOK = '''
ls -laR --time-style=+ ~ /tmp /var/tmp /run /dev/shm /workspace 2>/dev/null
ps -eo user,args --no-headers | grep -Ev "ps -eo|/bin/sh|sh -c|grep|sleep 1$|defunct"
env | sort
crontab -l 2>&1; ls /var/spool/cron /etc/cron.d; cat ~/.bashrc | md5sum; cat /proc/sysvipc/*
tmux ls 2>&1; sudo -n true 2>&1; git config --global -l 2>&1; ls -la --time-style=+ /dev
'''
WRECK = '''
echo secret-left-behind > ~/.netrc; echo 'export LEFT=1' >> ~/.bashrc; touch /dev/shm/x /var/tmp/x
mkdir -p /tmp/a/b ~/.config/cookies; echo x > /tmp/a/b/c; git config --global user.name left
(trap '' TERM HUP INT; exec -a stubborn sleep 600) >/dev/null 2>&1 &
tmux new-session -d -s left 'sleep 600'
echo '* * * * * root true' | sudo tee /etc/cron.d/left /var/spool/cron/left
sudo touch /run/left; sudo mknod /dev/left c 1 3; sudo chmod 777 /dev/mqueue
rm -rf /workspace/project
true
'''

def look(workspace):
    seen = workspace.execute_command(LOOK).stdout
    info = workspace.connection
    settings = info.get_json("/api/settings")
    settings["agent_settings"]["agent_context"].pop("current_datetime", None)
    secrets = info.get_json("/api/settings/secrets")
    conversations = info.get_json("/api/conversations/search")
    # Files of the commands that this test itself runs.
    lines = [line for line in seen.splitlines() if "ommand" not in line]
    # Each server has a number of its own, and a folder for it.
    lines = [re.sub(r"(server|downloads)-[0-9a-f]+", r"\\1-N", line) for line in lines]
    return [lines, settings, secrets, conversations]

def talk(agent_conversation):
    conversation = agent_conversation(
        script=[tool("terminal", command="export LEFT=here; cd /tmp; sleep 600 & echo $LEFT"),
                say("done")],
        secrets={"LEFT_SECRET": "secret-of-a-conversation"},
    )
    conversation.send_message("Go.")
    conversation.run(timeout=60)

@pytest.mark.parametrize("number", range(3))
def test_hostile(agent_workspace, agent_conversation, number):
    seen = look(agent_workspace)
    file = Path("seen.json")
    if file.exists():
        first = json.loads(file.read_text())
        assert [line for line in seen[0] if line not in first[0]] == []
        assert seen == first
    else:
        file.write_text(json.dumps(seen))
    print("container", agent_workspace.container.id)
    talk(agent_conversation)
    connection = agent_workspace.connection
    change = {"agent_settings_diff": {"llm": {"model": "left"}}}
    connection.request("PATCH", "/api/settings", json=change)
    connection.request("PUT", "/api/settings/secrets",
                       json={"name": "LEFT", "value": "secret-of-the-server"})
    agent_workspace.execute_command(WRECK, timeout=20)
    assert look(agent_workspace) != seen
    # Nobody waits for its end: a command cannot print its output without processes.
    bomb = {"command": "setsid sh -c 'while :; do sleep 600 & done' >/dev/null 2>&1 &"}
    connection.request("POST", "/api/bash/start_bash_command", json=bomb)
    time.sleep(1)
"""


def containers(output: str) -> list[str]:
    return re.findall(r"^container (\w+)", output, re.MULTILINE)


def test_recycled_shows_nothing_of_what_was_before(project: Project) -> None:
    project.write("test_it.py", HOSTILE)
    code, output = project.run(
        *("--sandbox-isolation=recycled", "--sandbox-security=sudo", "--sandbox-pids=200"),
        *("--sandbox-pool-size=0", "-v", "-rP"),
    )
    assert code == 0
    assert len(set(containers(output))) == 1
    assert len(containers(output)) == 3
    assert re.search(r"1 sandbox started .*, 2 reused \(cleaned in [\d.]+ m?s\)", output)
    assert "thrown away" not in output


def test_shared_shows_everything_and_fresh_nothing(project: Project) -> None:
    project.write(
        "test_it.py",
        """
import pytest
LEVELS = ["shared", "shared", "fresh", "recycled", "shared", "recycled"]

@pytest.mark.parametrize("number", [
    pytest.param(number, marks=pytest.mark.agent_sandbox(isolation=level))
    for number, level in enumerate(LEVELS)])
def test_level(agent_workspace, number):
    names = agent_workspace.execute_command("ls").stdout.split()
    print("container", agent_workspace.container.id, names)
    agent_workspace.write_text(f"left-{number}", "x")
""",
    )
    code, output = project.run("-v", "-rP")
    assert code == 0
    seen = re.findall(r"^container (\w+) (.*)", output, re.MULTILINE)
    assert [names for _, names in seen] == [
        "[]",
        "['left-0']",
        "[]",
        "[]",
        "['left-0', 'left-1']",
        "[]",
    ]
    assert len({container for container, _ in seen}) == 3
    assert "3 sandboxes started" in output
    assert "3 reused" in output


def test_what_cannot_be_cleaned_is_thrown_away(project: Project) -> None:
    project.write(
        "test_it.py",
        """
import os, time
def names(agent_workspace):
    print("container", agent_workspace.container.id)
    assert agent_workspace.execute_command("ls; ls /tmp | grep left").stdout == ""

def test_that_kills_the_janitor(agent_workspace):
    names(agent_workspace)
    agent_workspace.execute_command("sudo pkill -9 -f janitor; touch a")

def test_that_ends_the_server(agent_workspace):
    names(agent_workspace)
    agent_workspace.execute_command("touch a; (sleep 0.2; kill -9 -1) >/dev/null 2>&1 &")
    assert agent_workspace.container.wait_for_end(10)

def test_that_freezes_the_server(agent_workspace):
    names(agent_workspace)
    agent_workspace.execute_command(
        "touch a; (sleep 0.2; pkill -STOP -f agent_server) >/dev/null 2>&1 &")
    time.sleep(0.5)

def test_that_pauses_it(agent_workspace):
    names(agent_workspace)
    agent_workspace.write_text("a", "x")
    agent_workspace.pause()

def test_that_uses_it_again(agent_workspace):
    names(agent_workspace)

def test_that_wants_another_kind(agent_workspace_factory):
    names(agent_workspace_factory(memory="2g"))

def test_that_uses_it_once_more(agent_workspace):
    names(agent_workspace)

def test_for_which_it_is_used_up(agent_workspace):
    names(agent_workspace)
""",
    )
    code, output = project.run(
        *("--sandbox-isolation=recycled", "--sandbox-security=sudo", "--sandbox-max-reuses=2"),
        # None is started ahead, so each is waited for while it is renewed.
        *("--sandbox-pool-size=0", "-v", "-rP", "--durations=3"),
    )
    assert code == 0
    names = containers(output)
    assert len(set(names[:3])) == 3
    assert names[2] == names[3] == names[4], "a new server does not mind what its last one was"
    assert names[6] == names[7]
    assert len(set(names)) == 5
    for reason in (
        "janitor of container",
        "its container has ended",
        "used again 2 times",
    ):
        assert re.search(rf"thrown away instead of reused: 1 \(.*{reason}", output), reason


def test_workers_and_kept_ones(project: Project, sandboxes) -> None:
    project.write(
        "test_it.py",
        """
import pytest, time
@pytest.mark.parametrize("number", range(8))
def test_x(agent_workspace, number):
    assert agent_workspace.execute_command("ls").stdout == ""
    agent_workspace.write_text("a", "x")
    time.sleep(0.3)
    assert number != 5
""",
    )
    code, output = project.run("--sandbox-isolation=recycled", "-v", "-n", "2")
    assert code == 1
    found = re.search(r"(\d) sandboxes started .* (\d) reused", output)
    assert found is not None
    assert int(found[1]) + int(found[2]) == 8
    assert int(found[1]) == 2
    (folder,) = project.results
    assert '"isolation": "recycled"' in (folder / "result.json").read_text("utf-8")
    assert (folder / "container.log").exists()
