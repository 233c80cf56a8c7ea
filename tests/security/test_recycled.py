"""What an agent can do to the test after its own in a recycled sandbox: nothing by the server."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from functools import partial

import httpx
import pytest

from pytest_agent_sandbox import LLM, DockerWorkspace, RemoteConversation, say, tool
from pytest_agent_sandbox.client.agents import Agent, Tool
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.engines.docker.gateway import gateway_for
from pytest_agent_sandbox.engines.docker.start import SandboxStarter
from pytest_agent_sandbox.llm.script import Script
from pytest_agent_sandbox.sandbox.gateway import HostGateway
from pytest_agent_sandbox.sandbox.supply import SandboxSupply

Start = Callable[..., DockerWorkspace]

# It is given what it looks for backwards: so nothing of its own holds it.
SEARCH = r"""
import os, sys
keys = [word[::-1].encode() for word in sys.argv[1:]]

def look(path, size):
    try:
        with open(path, "rb") as file:
            data = file.read(size)
    except OSError:
        return
    if any(key in data for key in keys):
        print(path)

def memory(pid):
    try:
        with open(f"/proc/{pid}/maps") as file, open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for line in file:
                begin, end = (int(each, 16) for each in line.split()[0].split("-"))
                if line.split()[1][:2] != "rw" or end - begin > 2**26:
                    continue
                try:
                    memory.seek(begin)
                    if any(key in memory.read(end - begin) for key in keys):
                        print(f"/proc/{pid}/mem")
                except (OSError, ValueError, OverflowError):
                    continue
    except OSError:
        return

for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline"):
        look(f"/proc/{pid}/{name}", 2**20)
    if int(pid) != os.getpid():
        memory(pid)
seen = 0
for folder, inner, names in os.walk("/"):
    if folder == "/":
        inner[:] = set(inner) - {"proc", "sys", "usr", "agent-server", "lib"}  # nobody writes there
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and not os.path.islink(path):
            seen += 1
            look(path, 2**24)
print("searched", seen > 50)
"""

# It changes the server's name wherever it finds it in a memory that it can write to.
PATCH = r"""
import os, re
found = patched = 0
for pid in filter(str.isdigit, os.listdir("/proc")):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        if b"openhands.agent_server" not in file.read().split(b"\0"):
            continue
    found += 1
    try:
        memory = open(f"/proc/{pid}/mem", "r+b", buffering=0)
        maps = open(f"/proc/{pid}/maps").read().splitlines()
    except OSError:
        continue
    for line in maps:
        begin, end = (int(each, 16) for each in line.split()[0].split("-"))
        if line.split()[1].startswith("rw"):
            memory.seek(begin)
            for match in re.finditer(rb"OpenHands Agent Server\0", memory.read(end - begin)):
                memory.seek(begin + match.start())
                patched += memory.write(b"Somebody else's server")
print("found", found > 0, "patched", patched)
"""

# Whatever the server's git starts writes down what it was given.
REPOSITORY = """
git init -q . && git config user.name x && git config user.email x@x
git config filter.tell.clean 'env > /tmp/given-$$; cat'
echo '* filter=tell' > .gitattributes && echo 1 > a && git add -A && git commit -qm 1 && echo 2 > a
rm -f /tmp/given-*
"""


@pytest.fixture(scope="module")
def supply(engine: ContainerEngine) -> Iterator[SandboxSupply]:
    with SandboxSupply(SandboxStarter(engine), size=0, most_reuses=50, clean_log=str) as supply:
        yield supply
        assert not supply.statistics.thrown_away


@pytest.fixture(scope="module")
def gateway(engine: ContainerEngine) -> Iterator[HostGateway]:
    with gateway_for(engine) as gateway:
        yield gateway


@pytest.fixture
def start(
    engine: ContainerEngine, agent_server_image: str, supply: SandboxSupply, gateway: HostGateway
) -> Start:
    return partial(
        DockerWorkspace,
        server_image=agent_server_image,
        engine=engine,
        isolation="recycled",
        supply=supply,
        gateway=gateway,
    )


def keys_of(workspace: DockerWorkspace) -> list[str]:
    """Its session key, and what it encrypts with."""
    sandbox = workspace.sandbox
    return [key.get_secret_value() for key in (sandbox.keys.session, sandbox.keys.secret)]


def inside(workspace: DockerWorkspace, program: str, *words: str) -> str:
    workspace.write_text("/tmp/program.py", program)
    line = " ".join(map(shlex.quote, ["python3", "/tmp/program.py", *words]))
    return workspace.execute_command(line, timeout=120).check().stdout


@pytest.mark.parametrize("isolation", ["recycled", "fresh"])
def test_the_keys_are_nowhere_that_the_agent_can_read(start: Start, isolation: str) -> None:
    with start(isolation=isolation) as workspace:
        script = Script([tool("terminal", command="echo begun; sleep 300 &"), say("Done.")])
        llm = LLM(
            **workspace.gateway.llm_fields(
                workspace.gateway.open_lane(script, name="x"), "openai/any"
            )
        )
        workspace.execute_command(REPOSITORY).check()
        with RemoteConversation(workspace, Agent(llm=llm, tools=[Tool(name="terminal")])) as talk:
            talk.send_message("Go.")
            talk.run(timeout=60)
            assert "begun" in talk.events.tool_calls("terminal")[0].result
            workspace.connection.request(
                "GET", "/api/file/archive", params={"path": workspace.working_dir}
            )
            given = workspace.execute_command("cat /tmp/given-*").check().stdout
            assert "PATH=" in given, "the server's git has started nothing that could look"
            assert "tmux" in workspace.execute_command("ps -eo args").stdout
            found = inside(workspace, SEARCH, *(key[::-1] for key in keys_of(workspace)))
        assert found == "searched True\n"
        # And it does find what is there.
        workspace.write_text("/tmp/key", keys_of(workspace)[0])
        found = inside(workspace, SEARCH, keys_of(workspace)[0][::-1])
        assert found == "/tmp/key\nsearched True\n"


def test_the_key_of_the_test_before_opens_nothing(start: Start) -> None:
    with start() as first:
        old, container = keys_of(first), first.container.id
        assert _status(first, old[0]) == httpx.codes.OK
    with start() as second:
        assert second.container.id == container
        assert not {*old} & {*keys_of(second)}
        assert _status(second, old[0]) == httpx.codes.UNAUTHORIZED
        assert _status(second, keys_of(second)[0]) == httpx.codes.OK


def test_a_server_that_somebody_has_changed_serves_nobody_else(start: Start) -> None:
    title = "OpenHands Agent Server"
    with start() as first:
        container = first.container.id
        assert inside(first, PATCH) == "found True patched 0\n"
        assert first.server_info()["title"] == title
    with start() as second:
        assert second.container.id == container
        assert second.server_info()["title"] == title


def test_nothing_of_the_server_can_be_slowed_down(start: Start) -> None:
    """Its threads are of the agent's user: niceness and affinity can be set, but for one test."""
    look = (
        "import os; pid = max(int(p) for p in os.listdir('/proc') if p.isdigit() and "
        "b'openhands.agent_server' in open(f'/proc/{p}/cmdline', 'rb').read().split(b'\\0')); "
        "tasks = [int(t) for t in os.listdir(f'/proc/{pid}/task')]; "
    )
    slow = look + "[os.setpriority(0, t, 19) or os.sched_setaffinity(t, {0}) for t in tasks]"
    tell = look + "print({(os.getpriority(0, t), len(os.sched_getaffinity(t))) for t in tasks})"
    with start() as first:
        before = inside(first, tell)
        inside(first, slow)
        assert inside(first, tell) != before
    with start() as second:
        assert inside(second, tell) == before


def _status(workspace: DockerWorkspace, key: str) -> int:
    with httpx.Client(base_url=workspace.host, trust_env=False) as client:
        return client.get("/api/settings", headers={"X-Session-API-Key": key}).status_code
