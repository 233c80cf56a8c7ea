"""An engine in memory: what the seam asks of an engine, and nothing more."""

import itertools

from pytest_agent_sandbox.client.commands import CommandResult
from pytest_agent_sandbox.engines.engine import SandboxEngine
from pytest_agent_sandbox.host.host_route import HostRoute
from pytest_agent_sandbox.sandbox.gateway import HostGateway
from pytest_agent_sandbox.sandbox.workspace import Workspace

LOOPBACK = "127.0.0.1"


class MemoryWorkspace(Workspace):
    def __init__(self, number, request):
        super().__init__(f"http://{LOOPBACK}:9", None, request.settings.working_dir)
        self.gateway = HostGateway(lambda: HostRoute(LOOPBACK, LOOPBACK))
        self.files = {}
        self._name, self._request = f"memory-{number}", request

    @property
    def name(self):
        return self._name

    def facts(self):
        request = self._request
        return {"runs as": "a dict", "image": request.image, "memory": request.settings.memory}

    def alive(self):
        return True

    def write_text(self, path, text):
        self.files[path] = text

    def execute_command(self, command, **_):
        result = CommandResult(command, 0, self.files[command.removeprefix("cat ")], "")
        self.on_command(result)
        return result

    def changes_as_diff(self, **_):
        return "".join(f"+++ {path}\n+{text}\n" for path, text in self.files.items())


class MemoryEngine(SandboxEngine):
    supports = frozenset({"memory"})

    def __init__(self, context):
        super().__init__(context)
        self._numbers = itertools.count(1)

    def start(self, request):
        return MemoryWorkspace(next(self._numbers), request)

    def close(self):
        print("the memory engine is closed")
