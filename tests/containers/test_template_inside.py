"""The first process of a container: what it starts, and how the end of that is told."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="containers run Linux")

DRIVER = """
import json, socket, sys
from pytest_agent_sandbox.containers import template_inside
from pytest_agent_sandbox.containers.application_inside import Application
template_inside.main(
    socket.socket(fileno=int(sys.argv[1])), Application, **json.loads(sys.argv[2])
)
"""
SERVER = """
import ctypes, json, os, subprocess, sys, time
from demo import state

def env(**given):
    return subprocess.run(["env"], capture_output=True, text=True, **given).stdout

def main():
    seen = {
        "key": os.environ.get("KEY"),
        "other": os.environ.get("OTHER"),
        "given": env(),
        "given on": env(env={**os.environ, "MORE": "1"}),
        "loaded": sorted(name for name in sys.modules if name.startswith("demo")),
        "uses": list(state.uses),
        "began": state.began,
        "pid": os.getpid(),
        "arguments": sys.argv[1:],
        "files": sorted(os.listdir("/proc/self/fd"))[3:-1],
        "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
    }
    state.uses.append(1)
    with open(sys.argv[1], "w") as file:
        json.dump(seen, file)
    os.rename(sys.argv[1], sys.argv[2])
    time.sleep(float(os.environ.get("SLEEP", "0")))
    sys.exit(int(os.environ.get("CODE", "0")))

if __name__ == "__main__":
    main()
"""

Start = Callable[..., "Template"]


class Template:
    """A template in a process of its own, with the server `demo`."""

    def __init__(self, folder: Path, *, loaded: bool) -> None:
        self.folder = folder
        package = folder / "demo"
        package.mkdir()
        files = {
            "__init__": "",
            "__main__": SERVER,
            "api": "import demo.state\nfrom demo.routes import x\nraise SystemExit('configured')",
            "routes": "x = 1",
            "state": "uses = []\nbegan = 0.0",
            "broken": "import a_module_that_is_not_there",
            "extra": "",
        }
        for name, text in files.items():
            (package / f"{name}.py").write_text(text)
        ours, theirs = socket.socketpair()
        arguments = {
            "words": ["python", "-m", "demo", str(folder / "part"), str(folder / "seen")],
            "module": "demo",
            "package": "demo",
            "parts": {
                "imports_of": ["demo.api", "demo.not_there"],
                "also": ["demo.broken", "demo.gone", "demo.extra"],
                "later": [],
                "clocks": ["demo.state:began", "demo.gone:began"],
                "keeps": ["KEY"],
            },
            "environment": {"OTHER": "told"},
            "account": None,
            "has_groups": True,
            "gains": True,
            "is_quiet": True,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(theirs.fileno()), json.dumps(arguments)],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
        )
        theirs.close()
        self.link = ours.makefile("rw")
        ours.close()
        assert self.answer() == {}
        if loaded:
            assert self.order(do="load") == {}

    def order(self, **order: Any) -> dict[str, Any]:
        self.link.write(json.dumps(order) + "\n")
        self.link.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        return dict(json.loads(self.link.readline()))

    def serve(self, **environment: str) -> dict[str, Any]:
        """Start a server; returns what it saw."""
        seen = self.folder / "seen"
        seen.unlink(missing_ok=True)
        assert self.order(do="serve", environment=environment) == {}
        deadline = time.monotonic() + 20
        while not seen.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return dict(json.loads(seen.read_text()))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.link.close()


@pytest.fixture
def start(tmp_path: Path):
    started = []

    def start(*, loaded: bool = True) -> Template:
        started.append(Template(tmp_path, loaded=loaded))
        return started[-1]

    yield start
    for template in started:
        template.close()


def test_each_server_is_of_memory_that_no_server_has_used(start: Start) -> None:
    template = start()
    first = template.serve(SLEEP="60")
    assert template.order(do="stop", grace=0) == {}
    second = template.serve(SLEEP="60")
    assert first["uses"] == second["uses"] == []
    assert first["pid"] != second["pid"]
    assert "demo.routes" in first["loaded"]
    assert "demo.extra" in first["loaded"]
    assert "demo.api" not in first["loaded"], "it reads its configuration when it is loaded"
    assert abs(second["began"] - time.time()) < 20
    assert first["files"] == second["files"] == []
    assert len(first["arguments"]) == 2


@pytest.mark.parametrize("loaded", [True, False])
def test_the_servers_keys_are_not_those_of_its_programs(start: Start, loaded: bool) -> None:
    seen = start(loaded=loaded).serve(KEY="secret-word", SLEEP="60", MORE_OF_IT="x")
    assert seen["key"] == "secret-word"
    assert seen["other"] == "told"
    for given in (seen["given"], seen["given on"]):
        assert "secret-word" not in given
        assert "OTHER=told" in given
        assert "MORE_OF_IT=x" in given
    assert "MORE=1" in seen["given on"]
    assert seen["dumpable"] == 0, "its memory is not for others to read"


@pytest.mark.parametrize("code", [0, 3])
def test_the_servers_exit_code_is_the_templates(start: Start, code: int) -> None:
    template = start()
    template.serve(CODE=str(code))
    assert template.process.wait(10) == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_so_is_the_signal_that_ended_it(start: Start, number: int) -> None:
    template = start()
    os.kill(template.serve(SLEEP="60")["pid"], number)
    assert template.process.wait(10) == 128 + number


def test_a_signal_to_the_template_is_the_servers(start: Start) -> None:
    template = start()
    template.serve(SLEEP="60")
    template.process.send_signal(signal.SIGTERM)
    assert template.process.wait(10) == 128 + signal.SIGTERM
