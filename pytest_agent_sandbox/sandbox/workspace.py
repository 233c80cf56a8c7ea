"""What a test calls a workspace, whatever engine its sandbox runs in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_agent_sandbox.client.asynchronous import InThread
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import ServiceUnavailable

if TYPE_CHECKING:
    from pytest_agent_sandbox.client.git import Snapshot
    from pytest_agent_sandbox.host.closing import Closing
    from pytest_agent_sandbox.sandbox.fresh_result import FreshCommandResult
    from pytest_agent_sandbox.sandbox.gateway import HostGateway
    from pytest_agent_sandbox.sandbox.service_status import ServiceName, ServiceStatus
    from pytest_agent_sandbox.sandbox.services.running_service import RunningService

# What tests find at a workspace of Docker's, and at no other.
_OF_CONTAINERS = ("container", "engine")


class Workspace(RemoteWorkspace):
    """The workspace of a sandbox, and what the plugin has to know of that.

    An engine's own kind of workspace derives from this one, calls `super().__init__` with what
    `RemoteWorkspace` takes, sets `gateway`, and overrides what its sandboxes can do.

    Attributes:
        gateway: Where the LLM calls of its agents go.
        log_path: The file of the server's log; None where the engine keeps none.
        is_closed: Whether it was closed.
        before_agents: Its files before the first agent came: a report shows what changed since.
        no_snapshot: Why these are not known.
        before_close: Called once, before it is closed and the sandbox ends.
    """

    gateway: HostGateway
    log_path: Path | None = None
    is_closed = False
    before_agents: Snapshot | None = None
    no_snapshot = ""
    before_close: Callable[[], object] | None = None

    #: How messages call what the sandbox runs in.
    _place = "the sandbox"

    @property
    def name(self) -> str:
        """What reports call it."""
        return self.working_dir.rstrip("/").rpartition("/")[2] or "sandbox"

    @property
    def identity(self) -> Mapping[str, str]:
        """What tells this workspace apart from any other, each with the word for its kind.

        Cassettes and snapshots have the words in place of the values.

        Raises:
            SandboxDied: The sandbox is gone.
        """
        return {self.working_dir: "folder"}

    @property
    def outlives_test(self) -> bool:
        """Whether its server goes on after the test, and so has to forget its conversations."""
        return True

    def secrets(self) -> Iterable[str]:
        """Return what is to be masked wherever it is told of the sandbox."""
        return () if self.api_key is None else (self.api_key.get_secret_value(),)

    def begin_test(self) -> None:
        """Begin another test's use of it: what is told of that is told since now."""
        self.before_agents = None
        self.no_snapshot = ""

    def facts(self) -> Mapping[str, Any]:
        """Return what a report says of the sandbox once it has started."""
        return {}

    def end_facts(self) -> Mapping[str, Any]:
        """Return what a report says of the sandbox at the end of a test, and let it be read."""
        return {}

    def ways_in(self) -> Iterable[str]:
        """Return lines that tell people how to look into the sandbox."""
        return [f"  folder    {self.working_dir} of the server at {self.host}"]

    def services(self) -> dict[ServiceName, ServiceStatus]:
        """Return how `server`, `vscode` and `desktop` are right now: running, down, off, missing.

        Example:
            ```python
            assert workspace.services()["desktop"].state == "running"
            ```

        Raises:
            ServiceUnavailable: The engine has no such services.
        """
        self._refuse("asked for its services")

    def vscode_url(
        self,
        folder: str | None = None,  # noqa: ARG002 - of engines that have it
        *,
        timeout: float = 30.0,  # noqa: ARG002
    ) -> str:
        """Wait for VS Code and return its address, which holds its token: who has it gets in.

        Args:
            folder: The folder to open; the workspace's by default.
            timeout: Seconds for VS Code to answer.

        Raises:
            ServiceUnavailable: There is none, it is not published, or it does not answer.
        """
        self._refuse("opened in VS Code")

    def vnc_url(self, *, timeout: float = 30.0) -> str:  # noqa: ARG002 - of engines that have it
        """Wait for the desktop and return its address, which holds its token: who has it gets in.

        Args:
            timeout: Seconds for the desktop to answer.

        Raises:
            ServiceUnavailable: There is none, it is not published, or it does not answer.
        """
        self._refuse("looked at on a desktop")

    def browser_view_url(self, *, timeout: float = 30.0) -> str:
        """As `vnc_url`, to watch the agent's browser on the desktop without touching anything."""
        return self.vnc_url(timeout=timeout)

    def join(self, services: Sequence[RunningService]) -> Closing:
        """Have programs in the sandbox reach services by their names, until what is returned ends.

        Raises:
            ServiceUnavailable: The engine cannot do that.
            SettingsError: A port is one of the sandbox's own, or it is too late for its names.
        """
        names = ", ".join(service.name for service in services)
        self._refuse(f"joined to services ({names})")

    def record_desktop(self) -> None:
        """Record a video of the desktop from now on.

        Raises:
            ServiceUnavailable: The engine has no desktop to record.
        """
        self._refuse("recorded")

    def save_video(self, path: Path) -> None:  # noqa: ARG002 - of engines that record any
        """End the recording and write it to a file, also where the sandbox has ended.

        Raises:
            SandboxError: There is no recording.
        """
        self._refuse("recorded")

    def verify_in_fresh(
        self,
        command: str,  # noqa: ARG002 - of engines that can
        *,
        copy: Sequence[str],  # noqa: ARG002
        image: str | None = None,  # noqa: ARG002
        cwd: str | None = None,  # noqa: ARG002
        timeout: float = 60.0,  # noqa: ARG002
    ) -> FreshCommandResult:
        """Run a shell command (`/bin/sh`) out of the agent's reach, on a copy of its work.

        It runs in a fresh container without network, which gets the files and folders that are
        named, at the paths that they have in the sandbox, and nothing else of it: no tools, no
        variables and no files that the agent has changed elsewhere. A failing command is a result,
        as of `execute_command`. The container is gone when this returns.

        Example:
            ```python
            workspace.verify_in_fresh("pytest -q", copy=["src", "tests"]).check()
            ```

        Args:
            command: The command line.
            copy: The files and folders, relative to `working_dir`. Links in them that lead
                elsewhere, devices and the like are left out, setuid bits are taken away.
            image: Any image that has `/bin/sh`; the sandbox's by default. One that is not here is
                pulled first.
            cwd: Folder to run it in, relative to `working_dir`; `working_dir` by default.
            timeout: Seconds for all of it: the copy, the start and the command, which is ended
                then, as by `execute_command`.

        Raises:
            ValueError: The timeout is not positive.
            FileNotFoundError: What is named is missing in the sandbox.
            CommandTimeout: The time was over before the command began.
            SettingsError: Something is named that is no path, or no command line.
            SandboxError: Something cannot be copied, or the container does not start.
            ServiceUnavailable: The sandbox is in no container of Docker's.
        """
        self._refuse("verified in a fresh container")

    def pause(self) -> None:
        """Freeze every process of the sandbox.

        Raises:
            ServiceUnavailable: The engine cannot do that.
        """
        self._refuse("paused")

    def resume(self) -> None:
        """Let a paused sandbox go on.

        Raises:
            ServiceUnavailable: The engine cannot do that.
        """
        self._refuse("resumed")

    def restart(self, *, timeout: float = 120.0) -> None:  # noqa: ARG002 - of engines that can
        """End the sandbox's server and start another one; files stay.

        Args:
            timeout: Seconds for the new server to answer.

        Raises:
            ServiceUnavailable: The engine cannot do that.
        """
        self._refuse("restarted")

    def keep(self) -> None:
        """Let the sandbox go on when this is closed, so that people can look into it.

        Raises:
            ServiceUnavailable: The engine cannot do that.
        """
        self._refuse("kept")

    def close(self, *, wait: bool = True) -> None:  # noqa: ARG002 - of engines that do it later
        """End the sandbox and let go of it. May be called more than once.

        Args:
            wait: Whether all of that is to be done on return, and the log to be complete; else the
                engine may do it later.
        """
        if not self.is_closed:
            self._begin_close()
        super().close()

    def __repr__(self) -> str:
        state = ", closed" if self.is_closed else ""
        return f"<{type(self).__name__} {self.name}: {self.working_dir}{state}>"

    def _begin_close(self) -> None:
        """Say that it is closed from now on, while its sandbox is still there."""
        self.is_closed = True
        if self.before_close is not None:
            self.before_close()

    # Their awaitable forms.
    aservices = InThread(services)
    avscode_url = InThread(vscode_url)
    avnc_url = InThread(vnc_url)
    abrowser_view_url = InThread(browser_view_url)
    arecord_desktop = InThread(record_desktop)
    asave_video = InThread(save_video)
    averify_in_fresh = InThread(verify_in_fresh)
    apause = InThread(pause)
    aresume = InThread(resume)
    arestart = InThread(restart)

    if not TYPE_CHECKING:  # to a type checker any attribute would be there

        def __getattr__(self, name: str) -> NoReturn:
            if name not in _OF_CONTAINERS:
                raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
            raise AttributeError(
                f"{type(self).__name__} has no {name!r}: {self._place} is in no container of ours. "
                "Any engine's workspace has name, identity and facts(); tests that need the "
                "container itself run with --sandbox-engine=docker.",
                name=name,
                obj=self,
            )

    def _refuse(self, what: str) -> NoReturn:
        raise ServiceUnavailable(
            f"{self._place} is in no container of ours, and cannot be {what}. Tests that need that "
            "run without --sandbox-url, and with --sandbox-engine=docker."
        )
