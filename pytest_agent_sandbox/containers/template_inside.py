"""The template's half inside of a container: it forks servers, and looks after them.

It is the container's first process, which no other one there can end. It is a program of its
own and runs there by the server's Python, or by any Python >= 3.8 where the server is none;
with the standard library only. Orders come as lines of JSON, and are answered by lines of JSON.
"""

from __future__ import annotations

import ast
import ctypes
import gc
import grp
import importlib
import importlib.util
import json
import os
import pwd
import runpy
import select
import signal
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager, suppress
from typing import Any, Callable, Dict, Iterator, List, Optional, Set

# prctl(2).
_PR_SET_DUMPABLE, _PR_SET_NAME, _PR_SET_NO_NEW_PRIVS = 4, 15, 38
# Seconds in which what was killed has to be gone.
_PATIENCE = 3.0
# Processes whose end is remembered, while one of them is waited for.
_MOST_ENDED = 10_000

Environment = Dict[str, str]


class Template:
    """A process that never serves, and forks those that do.

    Args:
        link: The connection to whoever gives orders.
        words: The server's command line.
        module: The Python module that it runs; empty where it is not to be loaded beforehand.
        parts: Modules to load with it (`also`), or only where they are loaded once for all servers
            (`later`); those whose imports are loaded, but not they themselves, for they read
            their configuration then (`imports_of`); variables that hold the time of a server's
            start (`clocks`); and names of those that programs of it do not get (`keeps`).
        application: Makes what all servers have, where they are loaded once, and then configures
            it for each; None for nothing.
        environment: Variables of all servers, beside the container's.
        account: The number and group of the servers' user; None for this process's own.
        has_groups: Whether the user is in the groups that the container's files tell.
        gains: Whether its programs may gain privileges, as by `sudo`.
        is_quiet: Whether no garbage is looked for while modules are loaded.
    """

    def __init__(
        self,
        link: Any,
        words: List[str],
        module: str,
        parts: Dict[str, List[str]],
        application: Optional[Callable[[], Any]],
        environment: Environment,
        account: Optional[Dict[str, int]],
        has_groups: bool,
        gains: bool,
        is_quiet: bool,
    ) -> None:
        self._link = link
        self._words = words
        self._module = module
        self._parts = parts
        self._make = application
        self._application: Any = None
        self._account = account
        self._has_groups = has_groups
        self._gains = gains
        self._is_quiet = is_quiet
        self._is_loaded = False
        self._server = 0
        self._ended: Set[int] = set()
        os.environ.update(environment)
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        signal.set_wakeup_fd(self._waker)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)

    def obey(self) -> Optional[Environment]:
        """Do as told until the server has ended; in a forked process, return its environment."""
        rest = b""
        watched = [self._woken, self._link]
        while True:
            ready, _, _ = select.select(watched, [], [])
            if self._woken in ready:
                os.read(self._woken, 1024)
                self._reap()
            if self._link not in ready:
                continue
            chunk = self._link.recv(65536)
            if not chunk:
                watched.remove(self._link)  # whoever gave orders is gone; the server goes on
            rest += chunk
            while b"\n" in rest:
                line, _, rest = rest.partition(b"\n")
                order = json.loads(line)
                if order["do"] == "serve":
                    if not self._fork():
                        return order["environment"]  # type: ignore[no-any-return]
                    self._answer({})
                else:
                    self._answer(
                        self._load() if order["do"] == "load" else self._stop(order["grace"])
                    )

    def become_server(self, environment: Environment) -> None:
        """Run the server in this process, which was forked."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._link.close()
        os.close(self._woken)
        os.close(self._waker)
        os.setsid()
        if self._account is not None:
            os.setgroups(self._groups(self._account))
            os.setgid(self._account["group"])
            os.setuid(self._account["number"])
        if not self._gains:
            _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        if not self._module:
            os.environ.update(environment)
            os.execvp(self._words[0], self._words)
        # Its memory and environment are nobody's to read, nor to write, but root's.
        _prctl(_PR_SET_DUMPABLE, 0)
        _keep_to_itself(
            {name: environment[name] for name in self._parts["keeps"] if name in environment}
        )
        os.environ.update(environment)
        _prctl(_PR_SET_NAME, ctypes.c_char_p(b"agent-server"))
        if not self._is_loaded:
            self._load_modules(later=False)
        for place in self._parts["clocks"]:
            module, _, name = place.partition(":")
            if module in sys.modules:
                setattr(sys.modules[module], name, time.time())
        if self._application is not None:
            self._application.configure()
        sys.argv = self._words[self._words.index("-m") + 1 :]
        runpy.run_module(self._module, run_name="__main__", alter_sys=True)

    def _answer(self, answer: Dict[str, Any]) -> None:
        with suppress(OSError):
            self._link.sendall(json.dumps(answer).encode() + b"\n")

    def _load(self) -> Dict[str, Any]:
        """Load what the servers are made of, as their user: what is written then is the user's."""
        if not self._module:
            return {}
        try:
            with self._as_user():
                self._load_modules(later=True)
        except BaseException as error:  # noqa: BLE001 - told; the container is thrown away
            traceback.print_exc()
            return {"problem": f"{type(error).__name__}: {error}"}
        self._is_loaded = True
        threads = len(os.listdir("/proc/self/task"))
        if threads > 1:  # a fork would be without them: each server is started anew
            self._module = ""
        return {}

    def _load_modules(self, later: bool) -> None:
        if self._is_quiet:
            gc.disable()  # hardly anything of all that is loaded becomes garbage
        for name in _names(self._module, self._parts):
            importlib.import_module(name)
        for name in self._parts["also"] + (self._parts["later"] if later else []):
            with suppress(Exception):  # not all versions have it, or what it needs
                importlib.import_module(name)
        if later and self._make is not None:
            with suppress(Exception):  # of another version: each server makes its own
                self._application = self._make()
        if self._is_quiet:
            gc.freeze()
            gc.enable()

    @contextmanager
    def _as_user(self) -> Iterator[None]:
        if self._account is None:
            yield
            return
        os.setegid(self._account["group"])
        os.seteuid(self._account["number"])
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)

    def _fork(self) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            self._server = pid
        return pid

    def _stop(self, grace: float) -> Dict[str, Any]:
        """End the server; what it has started is another's to end.

        Args:
            grace: Seconds that it has to end by itself.
        """
        server, self._server = self._server, 0
        if not server:
            return {}
        self._ended.discard(server)
        for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, _PATIENCE)):
            if not seconds:
                continue
            with suppress(OSError):
                os.kill(server, number)
                os.kill(server, signal.SIGCONT)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                self._reap()
                if server in self._ended:
                    return {}
                time.sleep(0.001)
        return {"problem": "the server does not end"}

    def _reap(self) -> None:
        """Take note of processes that have ended; the server's end is the container's."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                self._ended.add(pid)
                if pid == self._server:
                    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
                    os._exit(128 + ended_by if ended_by else os.WEXITSTATUS(status))
        if len(self._ended) > _MOST_ENDED:
            self._ended.clear()

    def _pass_on(self, number: int, _frame: object) -> None:
        """Pass a signal on to the server, where it is one that ends; without a server, end."""
        if number == signal.SIGCHLD:
            return
        if not self._server:
            os._exit(128 + number)
        with suppress(OSError):
            os.kill(self._server, number)

    def _groups(self, account: Dict[str, int]) -> List[int]:
        """Return the groups that engines give to a user."""
        group = account["group"]
        if self._has_groups:
            with suppress(KeyError):
                name = pwd.getpwuid(account["number"]).pw_name
                others = [each.gr_gid for each in grp.getgrall() if name in each.gr_mem]
                return sorted({group, *others})
        return [group]


def _names(module: str, parts: Dict[str, List[str]]) -> Iterator[str]:
    """Yield the modules that every version loads."""
    yield f"{module}.__main__"
    for part in parts["imports_of"]:
        found = importlib.util.find_spec(part)
        if found is None or not found.origin:
            continue
        with open(found.origin, encoding="utf-8") as file:
            tree = ast.parse(file.read())
        for statement in tree.body:
            if isinstance(statement, ast.Import):
                for each in statement.names:
                    yield each.name
            elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
                yield statement.module


def _keep_to_itself(environment: Environment) -> None:
    """Have variables of this process be none of the programs that it starts.

    Those are the agent's, which can read what they are given. The server reads `os.environ`.
    """
    put, begin = os.putenv, subprocess.Popen.__init__

    def putenv(name: Any, value: Any) -> None:
        if os.fsdecode(name) not in environment:
            put(name, value)

    def begin_without(self: Any, *words: Any, **named: Any) -> None:
        given = named.get("env")
        if given is not None:
            named["env"] = {
                name: value
                for name, value in given.items()
                if environment.get(os.fsdecode(name)) != os.fsdecode(value)
            }
        begin(self, *words, **named)

    os.putenv = putenv
    subprocess.Popen.__init__ = begin_without  # type: ignore[method-assign]


def _prctl(option: int, value: Any) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def main(link: Any, application: Callable[[str], Any], package: str, **arguments: Any) -> None:
    """Be the template; in what it forks, be the server.

    Args:
        link: The connection to whoever gives orders.
        application: Makes the web application of a package.
        package: The server's package; empty where its application is not to be made once.
        arguments: The template's.
    """
    _prctl(_PR_SET_DUMPABLE, 0)  # it is given what only the server is to know
    if sys.path[:1] == [""]:  # of `python -c`; of `python -m` it is this folder
        sys.path[0] = os.getcwd()
    make = (lambda: application(package)) if package else None
    template = Template(link, application=make, **arguments)
    link.sendall(b"{}\n")
    environment = template.obey()
    if environment is not None:
        template.become_server(environment)
