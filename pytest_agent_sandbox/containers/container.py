"""One container: started, watched, asked, and removed without a trace."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Self

from docker.errors import APIError, NotFound

from pytest_agent_sandbox.containers.cleanup import (
    KEPT_PREFIX,
    NAME_PREFIX,
    remove_container,
)
from pytest_agent_sandbox.containers.container_creation import create_container
from pytest_agent_sandbox.containers.container_end import ContainerEnd
from pytest_agent_sandbox.containers.container_errors import start_failure
from pytest_agent_sandbox.containers.container_program import ContainerProgram
from pytest_agent_sandbox.containers.container_spec import ContainerSpec
from pytest_agent_sandbox.containers.container_state import ContainerState, parse_state
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.log_follower import LogFollower
from pytest_agent_sandbox.errors import (
    SandboxError,
    SettingsError,
)
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.log_file import LogFile
from pytest_agent_sandbox.host.multiplexer import Connect, Inside
from pytest_agent_sandbox.host.tunnel import Tunnel

logger = seldom.logger(__name__)

# Seconds in which a container without ports must show that it ended.
_PORTS_GRACE = 5.0


class Container:
    """A running container, with its output in a file and a watch over its end.

    Make one with `Container.start`, best in a ``with`` statement. Safe to use from several threads.

    Attributes:
        id: The engine's id of it.
        name: Its name, unique on the engine.
        spec: What was asked for.
        ports: Its published ports: the container's port to the port on 127.0.0.1.
        is_paused: Whether it was paused by this object.
        is_kept: Whether it was let go of so that it stays.
    """

    def __init__(
        self,
        engine: ContainerEngine,
        spec: ContainerSpec,
        container_id: str,
        name: str,
        log: LogFile,
        echo: Callable[[bytes], object] | None,
    ) -> None:
        self.id = container_id
        self.name = name
        self.spec = spec
        self.ports: dict[int, int] = {}
        self.is_paused = False
        self.is_kept = False
        self._engine = engine
        self._api = engine.client.api
        self._log_file = log
        self._end = ContainerEnd(
            self.state, lambda: f"{self.name} of {self.spec.image}", self.log_tail
        )
        self._follower = LogFollower(engine, container_id, log, self._end.notice, echo)
        self._tunnel: Tunnel | None = None
        self._remove_lock = threading.Lock()
        self._removed = False

    @classmethod
    def start(
        cls,
        engine: ContainerEngine,
        spec: ContainerSpec,
        *,
        log_path: str | Path,
        echo: Callable[[bytes], object] | None = None,
        clean: Callable[[str], str] | None = None,
        outwards: Mapping[Inside, Connect] | None = None,
    ) -> Self:
        """Create and start a container; whatever fails, none is left behind.

        Args:
            engine: The engine to run it.
            spec: What it is to be.
            log_path: The file that its output goes to, from the first byte. An existing file is
                added to.
            echo: Called with each piece of its output too, in a thread of its own.
            clean: Given each line before it is written, in that thread.
            outwards: Of a container without a network, or a `tunneled` one: addresses of its
                loopback, and what makes a connection for who connects there. See `Tunnel`.

        Raises:
            ImageNotFound: The engine lacks the image, or has it for another platform.
            SettingsError: The engine refuses a setting.
            SandboxStartFailed: It did not start; see `container_errors.is_transient`.
            SandboxDied: It ended before its ports could be read.
            EngineUnavailable: The engine did not answer.
        """
        name = f"{spec.name_prefix}-{secrets.token_hex(6)}"
        container: Self | None = None
        try:
            container_id = create_container(engine, spec, name)
            log = LogFile(Path(log_path), clean)
            container = cls(engine, spec, container_id, name, log, echo)
            if spec.files:
                with engine.calling(f"put files into container {name}"):
                    engine.client.api.put_archive(container.id, "/", spec.files)
            container._follower.attach()
            with engine.calling(f"start container {name}"):
                try:
                    engine.client.api.start(container.id)
                except APIError as error:
                    raise start_failure(error, spec, name) from error
            if not spec.publishes_ports and (spec.ports or outwards):
                container._open_tunnel(outwards or {})
            else:
                container.ports = container._read_ports()
        except BaseException:
            try:
                if container is not None:
                    container.remove()
                else:
                    # By name: the engine may have created it although its answer never arrived.
                    remove_container(engine, name)
            except SandboxError:
                logger.debug("nothing to remove after a failed start", exc_info=True)
            raise
        return container

    @property
    def image(self) -> str:
        """The name of its image."""
        return self.spec.image

    @property
    def log_path(self) -> Path:
        """The file that its output goes to."""
        return self._log_file.path

    @property
    def is_let_go(self) -> bool:
        """Whether it was, or is being removed, or kept, by this object."""
        return self._end.is_let_go

    def rename(self, prefix: str) -> None:
        """Have its name begin with something else; its end, which is unique, stays.

        Raises:
            SandboxError: The engine cannot, or does not answer.
        """
        name = f"{prefix}-{self.name.rpartition('-')[2]}"
        if name != self.name:
            with self._engine.calling(f"rename container {self.name}"):
                self._api.rename(self.id, name)
            self.name = name

    def move_log(self, path: Path, clean: Callable[[str], str] | None, *, with_past: bool) -> None:
        """Have its output go to another file from now on.

        Args:
            path: The other file. What it already holds stays.
            clean: Given each line before it is written to it.
            with_past: Whether what was printed so far comes first in it.

        Raises:
            OSError: It cannot be written.
        """
        self._log_file.move(path, clean, with_past=with_past)

    def let_go(self) -> None:
        """End its log and all use of it, at once; `remove` is still to be called, as later on."""
        with self._remove_lock:
            if not self._end.is_let_go:
                self._end.let_go()
                self._follower.stop()
                self._end.complete()

    def check(self) -> None:
        """Raise if the container is gone; costs nothing, for it asks nobody.

        Raises:
            SandboxDied: It ended, was removed, or its engine does not answer any more.
        """
        self._end.check(self.name)

    def wait_for_end(self, timeout: float) -> bool:
        """Sleep until the container is over or the seconds are; tell whether it is over."""
        return self._end.wait(timeout)

    def start_program(
        self,
        title: str,
        modules: Sequence[ModuleType],
        arguments: Sequence[object] = (),
        *,
        patience: float,
        user: str = "0",
    ) -> ContainerProgram:
        """Start a program in it; see `RunningContainer`."""
        return ContainerProgram(
            self._engine, self.id, title, modules, arguments, patience=patience, user=user
        )

    def log_tail(self, lines: int = 50) -> str:
        """Return the last lines that it printed."""
        return self._follower.tail(lines)

    def state(self) -> ContainerState:
        """Ask the engine how the container is.

        Raises:
            EngineUnavailable: The engine did not answer.
        """
        with self._engine.calling(f"show container {self.name}"):
            try:
                return parse_state(self._api.inspect_container(self.id)["State"])
            except NotFound:
                return ContainerState("removed")

    def pause(self) -> None:
        """Freeze its processes.

        Raises:
            SandboxError: The engine cannot, or does not answer.
        """
        with self._engine.calling(f"pause container {self.name}"):
            self._api.pause(self.id)
        self.is_paused = True

    def unpause(self) -> None:
        """Let its frozen processes go on.

        Raises:
            SandboxError: The engine cannot, or does not answer.
        """
        with self._engine.calling(f"unpause container {self.name}"):
            self._api.unpause(self.id)
        self.is_paused = False

    def remove(self) -> None:
        """Kill and remove it with its anonymous volumes, at once; a second call does nothing.

        Its log is complete afterwards, its thread ended, its connections closed.

        Raises:
            SandboxError: The engine cannot, or does not answer.
        """
        with self._remove_lock:
            if self._removed:
                return
            self._end.let_go()
            try:
                remove_container(self._engine, self.id)
                self._removed = True
            finally:
                self._follower.close()
                self._close_tunnel()
                self._end.complete()

    def keep(self) -> None:
        """Let go of it: it stays on the engine, under a name that no clean-up but `prune` touches.

        `remove` does nothing then. Its log file ends here.

        Raises:
            SandboxError: The engine cannot, or does not answer; `remove` is still to be called.
        """
        with self._remove_lock:
            if self._removed:
                return
            kept = f"{KEPT_PREFIX}{self.name.removeprefix(f'{NAME_PREFIX}-')}"
            with self._engine.calling(f"rename container {self.name}"):
                if self._api.inspect_container(self.id)["State"].get("Paused"):
                    self._api.unpause(self.id)  # whoever looks inside wants it alive
                self._api.rename(self.id, kept)
            self._end.let_go()
            self._removed = self.is_kept = True
            self.name = kept
            self._follower.stop()
            self._close_tunnel()
            self._end.complete()

    @property
    def unheard(self) -> Mapping[Inside, str]:
        """Why nothing listens, by the addresses outwards where that could not be."""
        return self._tunnel.unheard if self._tunnel is not None else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        return f"<Container {self.name} of {self.spec.image}>"

    def _open_tunnel(self, outwards: Mapping[Inside, Connect]) -> None:
        try:
            self._tunnel = Tunnel(
                self,
                self.spec.ports,
                outwards,
                self._end.notice_cut_off,
                is_isolated=self.spec.has_no_network,
            )
        except SandboxError:
            if self._end.wait_for_cause():
                self.check()
            raise
        self.ports = self._tunnel.ports

    def _close_tunnel(self) -> None:
        if self._tunnel is not None:
            self._tunnel.close()

    def _read_ports(self) -> dict[int, int]:
        if not self.spec.ports:
            return {}
        with self._engine.calling(f"show container {self.name}"):
            settings = self._api.inspect_container(self.id)["NetworkSettings"]
        bindings = settings.get("Ports") or {}
        try:
            return {port: int(bindings[f"{port}/tcp"][0]["HostPort"]) for port in self.spec.ports}
        except (KeyError, IndexError, TypeError):
            # The engine forgets the ports of a container that has ended.
            if self.wait_for_end(_PORTS_GRACE):
                self.check()
            raise SettingsError(
                f"network: {self.spec.network!r} publishes no ports (it may be internal)"
            ) from None
