"""What a sandbox can reach, tried from inside of it."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.project import Project

pytestmark = pytest.mark.usefixtures("agent_server_image")

# Ways out, tried by a program in the sandbox: each prints its name and what became of it. It is
# given an address of a server on this machine, its port, and the address of another sandbox.
PROBES = """
import json, os, socket, struct, subprocess, sys

bridge, port, gateway_port, other = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

def tcp(address, port, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_STREAM) as end:
        end.settimeout(2)
        end.connect((address, port))

def udp(address, port, payload=b"x"):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        end.settimeout(2)
        end.sendto(payload, (address, port))
        end.recv(1)

def lookup(name):
    socket.getaddrinfo(name, 80)

def nameserver():
    (line, *_) = [line for line in open("/etc/resolv.conf") if line.startswith("nameserver")]
    head = b"\\x12\\x34\\x01\\x00\\x00\\x01" + bytes(6)
    udp(line.split()[1], 53, head + b"\\x07example\\x03com\\x00\\x00\\x01\\x00\\x01")

def packet():
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as end:
        end.bind(("eth0", 0))

def ping():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as end:
        end.settimeout(2)
        end.sendto(b"\\x08\\x00" + bytes(14), ("1.1.1.1", 0))
        end.recv(1)

def proxy(place):
    with socket.create_connection(("127.0.0.1", 7412), 5) as end:
        end.sendall(f"CONNECT {place} HTTP/1.1\\r\\nHost: {place}\\r\\n\\r\\n".encode())
        answer = end.recv(1000)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise OSError(answer.split(b"\\r\\n")[0])

def llm_without_token():
    with socket.create_connection(("127.0.0.1", 7411), 5) as end:
        end.sendall(b"GET /v1/models HTTP/1.1\\r\\nHost: a\\r\\n")
        end.sendall(b"Authorization: Bearer x\\r\\n\\r\\n")
        answer = end.recv(1000)
    if b" 401 " in answer.split(b"\\r\\n")[0]:
        raise OSError("401")

probes = {
    "internet, TCP": lambda: tcp("1.1.1.1", 443),
    "internet, UDP": lambda: udp("8.8.8.8", 53),
    "internet, IPv6": lambda: tcp("2606:4700:4700::1111", 443, socket.AF_INET6),
    "internet, ping": ping,
    "cloud metadata": lambda: tcp("169.254.169.254", 80),
    "cloud metadata, IPv6": lambda: tcp("fd00:ec2::254", 80, socket.AF_INET6),
    "cloud metadata, by name": lambda: lookup("metadata.google.internal"),
    "DNS, a name": lambda: lookup("example.com"),
    "DNS, the engine's server": lambda: udp("127.0.0.11", 53),
    "DNS, the configured server": nameserver,
    "this machine, by name": lambda: lookup("host.docker.internal"),
    "this machine, a server on all addresses": lambda: tcp(bridge, port),
    "this machine, the gateway's own port": lambda: tcp(bridge, gateway_port),
    "this machine, loopback": lambda: tcp("127.0.0.1", port),
    "this machine, the gateway on loopback": lambda: tcp("127.0.0.1", gateway_port),
    "this machine, the engine": lambda: tcp(bridge, 2375),
    "another sandbox": lambda: tcp(other, 8000),
    "a raw packet": packet,
    "everybody near": lambda: udp("255.255.255.255", 9),
    "the proxy to the internet": lambda: proxy("1.1.1.1:443"),
    "the proxy to this machine": lambda: proxy(f"127.0.0.1:{port}"),
    "the LLM without a token": llm_without_token,
}
for name, probe in probes.items():
    try:
        probe()
    except OSError as error:
        print(f"refused  {name}: {error}")
    else:
        print(f"REACHED  {name}")
"""

TALK = """
    agent_llm.script([tool("terminal", command="echo from-the-agent > a.txt"), say("Done.")])
    conversation = agent_conversation()
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    assert conversation.events.final_message == "Done."
    assert agent_workspace.read_text("a.txt") == "from-the-agent\\n"
"""

SUITE = f"""
import socket
import pytest
from pytest_agent_sandbox import say, tool
from probes import PROBES

def test_probes(agent_workspace, agent_workspace_factory, agent_llm, agent_conversation):
    {TALK}
    other = agent_workspace_factory(network="open")
    api = agent_workspace.engine.client.api
    networks = api.inspect_container(other.container.id)["NetworkSettings"]["Networks"]
    (network,) = networks.values()
    with socket.create_server(("0.0.0.0", 0)) as server:
        arguments = [network["Gateway"], str(server.getsockname()[1]),
                     str(agent_workspace.gateway.address()[1]), network["IPAddress"]]
        agent_workspace.write_text("probes.py", PROBES)
        def agent(words):
            return agent_workspace.execute_command(" ".join(words), timeout=120).stdout
        def root(words):
            run = api.exec_create(agent_workspace.container.id, words, user="0",
                                  workdir=agent_workspace.working_dir, privileged=False)["Id"]
            return api.exec_start(run).decode()
        for name, run in (("agent", agent), ("root", root)):
            for line in run(["python3", "probes.py", *arguments]).splitlines():
                print(name, line)
        other.write_text("probes.py", PROBES)
        words = ["python3", "probes.py", *arguments]
        for line in other.execute_command(" ".join(words), timeout=120).stdout.splitlines():
            print("open", line)
"""


def test_an_isolated_sandbox_reaches_its_llm_and_nothing_else(project: Project) -> None:
    project.write("probes.py", f"PROBES = {PROBES!r}")
    project.write("pytest.ini", "[pytest]\npythonpath = .\n")
    project.write("test_it.py", SUITE)
    code, output = project.run("--sandbox-network=isolated", "-rP")
    assert code == 0
    results = re.findall(r"^(agent|root|open) (refused|REACHED)  ([^:\n]+)", output, re.M)
    for who in ("agent", "root"):
        mine = {name: result for user, result, name in results if user == who}
        assert set(mine.values()) == {"refused"}, mine
        assert len(mine) == 22
    # The same probes are no blank shots: where the network is open, some arrive.
    assert ("open", "REACHED", "this machine, a server on all addresses") in results


REFUSED = f"""
import socket, threading
import pytest
from pytest_agent_sandbox import say, tool

@pytest.mark.agent_sandbox(network="isolated", allow=["ALLOWED"])
def test_named(agent_workspace, agent_llm, agent_conversation):
    {TALK}
    fetch = "curl -sS -m 10"
    assert "words" in agent_workspace.execute_command(f"{{fetch}} http://ALLOWED/").stdout
    assert agent_workspace.execute_command(f"{{fetch}} https://example.org").exit_code != 0
    told = agent_workspace.execute_command(f"{{fetch}} http://example.com").stdout
    assert "sandbox_allow = example.com:80 would let it" in told
    agent_workspace.execute_command(f"{{fetch}} http://example.com")
    assert 0, "for the report"

def test_not_here(agent_workspace):
    assert agent_workspace.sandbox.plan.network == "open"
"""


@pytest.fixture
def site(tmp_path):
    """A server on this machine's loopback; its address."""
    import functools
    import threading
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("words")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"host.docker.internal:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_was_refused_is_named_in_the_report(project: Project, site: str) -> None:
    project.write("test_it.py", REFUSED.replace("ALLOWED", site))
    code, output = project.run("--sandbox-isolation=recycled")
    assert code == 1
    assert "1 failed, 1 passed" in output
    refused = "example.com:80 (2 times), example.org:443"
    assert f"The sandbox was refused connections to {refused}" in output
    (folder,) = project.results
    facts = json.loads((folder / "result.json").read_text("utf-8"))["sandboxes"][0]
    assert facts["network"] == "isolated, checked from inside"
    assert facts["may connect to"] == f"its LLM, {site}"
    assert facts["connected to"] == site
    assert facts["was refused"] == refused


@pytest.mark.parametrize(("level", "tests"), [("fresh", 1), ("recycled", 2)])
def test_none_has_files_and_commands_and_no_llm(project: Project, level: str, tests: int) -> None:
    project.write(
        "test_it.py",
        """
import pytest

@pytest.mark.parametrize("number", range(TESTS))
def test_files(agent_workspace, number):
    agent_workspace.write_text("a.txt", "x")
    assert agent_workspace.execute_command("cat a.txt; ls").stdout == "xa.txt\\n"
    assert agent_workspace.execute_command("cat /proc/net/route | wc -l").stdout == "1\\n"

def test_agent(agent_workspace, agent_llm, agent_conversation):
    from pytest_agent_sandbox import say
    agent_llm.script([say("Hello.")])
    agent_conversation()
""".replace("TESTS", str(tests)),
    )
    code, output = project.run("--sandbox-network=none", f"--sandbox-isolation={level}")
    assert code == 1
    assert f"1 failed, {tests} passed" in output
    assert "an agent in such a sandbox has no way to its LLM" in output
    (folder,) = project.results
    facts = json.loads((folder / "result.json").read_text("utf-8"))["sandboxes"][0]
    assert facts["network"] == "none, checked from inside"


@pytest.mark.parametrize(
    ("marker", "complaint"),
    [
        ("network='isolated', allow=['example.org']", "'example.org' is not of the form host:port"),
        ("allow=['example.org:443']", "use network = isolated"),
        ("network='no-such-network'", "no-such-network"),
    ],
)
def test_wrong_values(project: Project, marker: str, complaint: str) -> None:
    project.write(
        "test_it.py",
        f"import pytest\n@pytest.mark.agent_sandbox({marker})\ndef test_x(agent_workspace): pass\n",
    )
    code, output = project.run()
    assert code == 1
    assert complaint in output
    assert "Traceback" not in output


NEIGHBOURS = """
PROBE = '''
import json, socket, sys, urllib.error, urllib.request

other, gateway = sys.argv[1:3]

def status(path, method="GET"):
    given = {"X-Session-API-Key": "another", "Content-Type": "application/json"}
    body = b"{}" if method == "POST" else None
    request = urllib.request.Request(f"http://{other}:8000{path}", body, given, method=method)
    try:
        return urllib.request.urlopen(request, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code

def is_open(address, port):
    with socket.socket() as end:
        end.settimeout(1)
        return end.connect_ex((address, port)) == 0

print(json.dumps({
    "alive": status("/alive"),
    "files": status("/api/file/download?path=/etc/passwd"),
    "command": status("/api/bash/execute_bash_command", "POST"),
    "conversations": status("/api/conversations/search"),
    "new conversation": status("/api/conversations", "POST"),
    "events": status("/api/bash/bash_events/search"),
    "ports": [port for port in range(1, 10_000) if is_open(other, port)],
    "published": is_open(gateway, int(sys.argv[3])),
}))
'''

def test_it(agent_workspace, agent_workspace_factory):
    other = agent_workspace_factory()
    api = other.engine.client.api
    (network,) = api.inspect_container(other.container.id)["NetworkSettings"]["Networks"].values()
    agent_workspace.write_text("probe.py", PROBE)
    port = other.host.rpartition(":")[2]
    words = f"python3 probe.py {network['IPAddress']} {network['Gateway']} {port}"
    print("found", agent_workspace.execute_command(words, timeout=120).stdout)
"""


def test_open_sandboxes_find_closed_doors_at_each_other(project: Project) -> None:
    """SECURITY.md: "the port of its agent server, which … does nothing without" the key."""
    project.write("test_it.py", NEIGHBOURS)
    code, output = project.run("--sandbox-network=open", "-rP")
    assert code == 0
    found = json.loads(re.findall(r"^found (.*)$", output, re.M)[0])
    assert found.pop("alive") == 200, "these are no blank shots"
    assert found.pop("ports") == [8000]
    assert found.pop("published") is False
    assert set(found.values()) == {401}, found
