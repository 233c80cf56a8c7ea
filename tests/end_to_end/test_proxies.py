"""Proxies that a user's machine has are no hindrance between an agent and its LLM."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pytest_agent_sandbox.containers.engine import ContainerEngine
from tests.support.project import Project

# Each talks to its agent, whose command goes to a place that only the proxy knows.
SUITE = """
import pytest
from pytest_agent_sandbox import say, tool

ASK = '''
import urllib.request
print(urllib.request.urlopen("http://shop.invalid/", timeout=9).read().decode())
'''

PROGRAM = '''
import os, urllib.request, urllib.error
try:
    urllib.request.urlopen(os.environ["OPENAI_BASE_URL"])
except urllib.error.HTTPError:  # a proxy that is not there would be another error
    print("it answers", os.environ["NO_PROXY"].partition(",")[0])
'''

@pytest.fixture
def ask(agent_workspace, agent_llm, agent_conversation):
    agent_workspace.write_text("ask.py", ASK)
    command = "(curl -s -m 9 http://shop.invalid/; python3 ask.py) > said.txt 2>&1"
    agent_llm.script([tool("terminal", command=command), say("Done.")])
    conversation = agent_conversation()
    conversation.send_message("Ask.")
    conversation.run(timeout=60)
    assert conversation.status == "finished"
    shown = agent_workspace.execute_command("env").stdout.splitlines()
    variables = dict(line.partition("=")[::2] for line in shown)
    return agent_workspace.read_text("said.txt"), variables

@pytest.mark.agent_sandbox(forward_env=["NO_PROXY", "FTP_PROXY"])
def test_open(ask, agent_workspace):
    said, variables = ask
    assert said.count("from the proxy") == 2
    assert variables["ALL_PROXY"] == variables["all_proxy"] == "socks5://127.0.0.1:9"
    assert variables["FTP_PROXY"] == "http://mine.example"
    for name in ("NO_PROXY", "no_proxy"):
        assert variables[name].startswith("mine.example,localhost,127.0.0.1,::1,")
    own = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "own.example"}
    run = agent_workspace.run_agent(["python3", "-c", PROGRAM], env=own)
    assert run.output == "it answers own.example\\n"

@pytest.mark.agent_sandbox(network="isolated")
def test_isolated(ask):
    said, variables = ask
    assert "this sandbox may not reach shop.invalid:80" in said
    assert {variables[name] for name in variables if name.upper().endswith("_PROXY")} == {
        "http://127.0.0.1:7412", "localhost,127.0.0.1,::1"
    }
"""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"from the proxy\n" if self.path == "http://shop.invalid/" else b"of nothing\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy(engine: ContainerEngine) -> Iterator[str]:
    """The address of an HTTP proxy that containers reach; it knows no other place than one."""
    with ThreadingHTTPServer((engine.host_route().bind_address, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{server.server_address[0]}:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_agents_reach_their_llm_past_the_proxies_that_their_commands_use(
    project: Project, proxy: str
) -> None:
    proxies = {"httpProxy": proxy, "noProxy": "corp.example", "allProxy": "socks5://127.0.0.1:9"}
    project.write("docker/config.json", json.dumps({"proxies": {"default": proxies}}))
    project.environment |= {
        "DOCKER_CONFIG": str(project.folder / "docker"),
        "FTP_PROXY": "http://mine.example",
        "NO_PROXY": "mine.example",
    }
    project.write("test_it.py", SUITE)
    code, output = project.run()
    assert code == 0, output
