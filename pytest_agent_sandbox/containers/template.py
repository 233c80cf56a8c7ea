"""A container whose first process forks servers, and can end one and begin another."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pytest_agent_sandbox.containers import application_inside, template_inside
from pytest_agent_sandbox.containers.accounts import Account
from pytest_agent_sandbox.containers.readiness import AFTER_A_TIMEOUT
from pytest_agent_sandbox.errors import SandboxError, SandboxStartFailed
from pytest_agent_sandbox.host import link_inside
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.program import RunningContainer

# Where the template listens until the link has come: abstract, so no file system has to be there.
_ADDRESS = "pytest-agent-sandbox"
# Seconds for an order: a fork, or the end of a server.
_PATIENCE = 20.0
# Seconds between two looks at what else may have happened.
_POLL = 0.1
# Seconds in which the engine notices that something has ended.
_END_GRACE = 1.0

# The program comes by the link, so that it is not what `ps` shows in the container. Whoever is not
# root there is none of ours.
_WAIT = f"""
import json, socket, struct
server = socket.socket(socket.AF_UNIX)
server.bind("\\0{_ADDRESS}")
server.listen(1)
user = None
while user != 0:
    link = server.accept()[0]
    user = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
server.close()
line = b""
while not line.endswith(b"\\n"):
    line += link.recv(65536)
sent = json.loads(line)
for text in sent["texts"]:
    exec(text)
main(link, Application, **sent["arguments"])
"""
# What the template is made of, in order.
_PARTS = [str(part.__file__) for part in (application_inside, template_inside)]
_ANY_PYTHON = """
for python in python3 /agent-server/.venv/bin/python python; do
    if command -v "$python" >/dev/null; then
        exec "$python" -I -c "$0" "$@"
    fi
done
echo "there is no Python in the image" >&2
exit 127
"""
#: The exit code of a container in which there is nothing that could start a server.
NO_PYTHON = 127


@dataclass(frozen=True)
class Server:
    """A server that is to be forked.

    Attributes:
        words: Its command line.
        python: The words before `-m`, where it is a Python program; none where it is started anew.
        module: The module that it runs then.
        imports_of: Modules that it loads when it is configured; what they import is loaded before.
        also: Modules that are loaded before too, where they are there.
        later: Modules that are, where they are loaded once for all servers of a container.
        clocks: Variables that hold when the server started, as `module:name`.
        keeps: Names of variables that it keeps from the programs that it starts.
        package: The package of its web application, which is made once too.
    """

    words: Sequence[str]
    python: Sequence[str] = ()
    module: str = ""
    imports_of: Sequence[str] = ()
    also: Sequence[str] = ()
    later: Sequence[str] = ()
    clocks: Sequence[str] = ()
    keeps: Sequence[str] = ()
    package: str = ""

    @property
    def entrypoint(self) -> list[str]:
        """The entry point of its container."""
        if self.python:
            return [*self.python, "-c", _WAIT, *self.words]
        return ["/bin/sh", "-c", _ANY_PYTHON, _WAIT, *self.words]


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How servers are started in a container.

    Attributes:
        server: The servers.
        account: Their user, where the container is root's; None for the container's user.
        has_groups: Whether the user is also in the groups that the container's files tell.
        gains: Whether their programs may gain privileges, as by `sudo`.
        is_quiet: Whether Python looks for no garbage while modules are loaded, which it does for a
            seventh of that time otherwise.
    """

    server: Server
    account: Account | None = None
    has_groups: bool = True
    gains: bool = True
    is_quiet: bool = True


class Template(Closing):
    """A container's first process, which forks one server after the other.

    Args:
        container: The container, whose entry point is the server's.
        launch: How servers are started in it.
        environment: Variables of all of them, beside the container's; they may be secrets.

    Raises:
        SandboxError: The engine refused, or the container has ended.
    """

    def __init__(
        self,
        container: RunningContainer,
        launch: Launch,
        environment: Mapping[str, str],
    ) -> None:
        self._container = container
        try:
            self._link = container.start_program(
                "link", [link_inside], [_ADDRESS, _PATIENCE], patience=_PATIENCE
            )
        except SandboxError:
            container.wait_for_end(_END_GRACE)
            container.check()
            raise
        server, account = launch.server, launch.account
        arguments = {
            "words": list(server.words),
            "module": server.module,
            "package": server.package,
            "parts": {
                "imports_of": list(server.imports_of),
                "also": list(server.also),
                "later": list(server.later),
                "clocks": list(server.clocks),
                "keeps": list(server.keeps),
            },
            "environment": dict(environment),
            "account": account and {"number": account.number, "group": account.group},
            "has_groups": launch.has_groups,
            "gains": launch.gains,
            "is_quiet": launch.is_quiet,
        }
        texts = [Path(part).read_text("utf-8") for part in _PARTS]
        try:
            self._ask(None, "begin", _PATIENCE)
            self._ask({"texts": texts, "arguments": arguments}, "begin", _PATIENCE)
        except BaseException:
            self.close()
            raise

    def load(self, timeout: float, check: Callable[[], None]) -> None:
        """Load what servers are made of now, and not for each of them.

        Args:
            timeout: Seconds that it may take.
            check: Called while waiting; what it raises ends that.

        Raises:
            SandboxStartFailed: It cannot be loaded, or not in time.
            SandboxDied: The container has ended.
        """
        self._ask({"do": "load"}, "load", timeout, check)

    def serve(self, environment: Mapping[str, str]) -> None:
        """Fork a server.

        Args:
            environment: What it gets beside the container's variables; it may hold secrets.

        Raises:
            SandboxError: The template is gone.
        """
        self._ask({"do": "serve", "environment": dict(environment)}, "serve", _PATIENCE)

    def stop(self, grace: float = 0.0) -> None:
        """End the server, not what it has started.

        Args:
            grace: Seconds that it has to end by itself, before it is killed.

        Raises:
            SandboxError: The template is gone, or the server does not end.
        """
        self._ask({"do": "stop", "grace": grace}, "stop", grace + _PATIENCE)

    def close(self) -> None:
        """Give no more orders; a server goes on until its container ends."""
        self._link.close()

    def _ask(
        self,
        order: Mapping[str, object] | None,
        what: str,
        timeout: float,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        deadline = time.monotonic() + timeout
        try:
            if order is not None:
                self._link.send(json.dumps(order).encode() + b"\n")
            while (line := self._link.poll_line(_POLL)) is None:
                check()
                self._container.check()
                if time.monotonic() > deadline:
                    raise SandboxStartFailed(
                        f"Container {self._container.name} of {self._container.image} runs, "
                        f"but its template did not {what} within {timeout:.0f} s. "
                        f"{AFTER_A_TIMEOUT}",
                        log=self._container.log_tail(),
                    )
            answer: dict[str, Any] = json.loads(line)
        except (OSError, ValueError) as error:
            self._raise_gone(error)
        if "problem" in answer:
            raise SandboxStartFailed(
                f"The template of container {self._container.name} could not {what}: "
                f"{answer['problem']}",
                log=self._container.log_tail(),
            )

    def _raise_gone(self, error: Exception) -> NoReturn:
        """Raise why the template does not answer, where `error` is all that is known otherwise."""
        self._container.wait_for_end(_END_GRACE)
        self._container.check()
        raise SandboxStartFailed(
            f"The template of container {self._container.name} is gone: "
            f"{self._link.why_gone(error)}",
            log=self._container.log_tail(),
        ) from error
