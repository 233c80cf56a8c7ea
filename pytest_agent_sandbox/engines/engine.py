"""The seam: what the plugin asks of an engine, and what it tells one."""

from __future__ import annotations

import sys
import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pytest_agent_sandbox.errors import ServiceUnavailable, SettingsError
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.sandbox.allowance import Allowance, shared_file
from pytest_agent_sandbox.sandbox.statistics import SandboxStatistics
from pytest_agent_sandbox.sandbox.workspace import Workspace
from pytest_agent_sandbox.settings.setting import flag
from pytest_agent_sandbox.settings.table import SETTINGS, SandboxSettings

if TYPE_CHECKING:
    from pytest_agent_sandbox.sandbox.services.service import Service
    from pytest_agent_sandbox.sandbox.services.starting import ServicesStart


@dataclass(frozen=True, kw_only=True)
class EngineContext:
    """What an engine is told of the pytest process that it works for.

    Attributes:
        settings: The settings of the run.
        run: The run's id; its processes share it.
        worker: The name of this process among those of the run.
        workers: How many processes run the tests.
        may_prepare: Whether sandboxes may be started before a test asks for one.
        is_looked_into: Whether people may look into sandboxes that are held or kept.
        mask: Masks the run's secrets in a text.
        uncaptured: Gives the terminal back for as long as something is shown there.
    """

    settings: SandboxSettings
    run: str
    worker: str = "main"
    workers: int = 1
    may_prepare: bool = False
    is_looked_into: bool = False
    mask: Callable[[str], str] = str
    uncaptured: Callable[[], AbstractContextManager[object]] = nullcontext

    def allowance(self) -> Allowance:
        """Return how many sandboxes the run may have at once, as its processes share it."""
        file = shared_file(self.run) if self.workers > 1 else None
        return Allowance(self.settings.max, file, self._tell)

    def _tell(self, line: str) -> None:
        # Only the thread that pytest runs its tests in may give the terminal back.
        is_main = threading.current_thread() is threading.main_thread()
        with self.uncaptured() if is_main else nullcontext():
            sys.stderr.write(f"\nagent-sandbox: {line}\n")
            sys.stderr.flush()


@dataclass(frozen=True, kw_only=True, eq=False)
class SandboxRequest:
    """A sandbox that a test asks for.

    Attributes:
        settings: What is set for it.
        image: The name of its image; empty where the engine has none.
        test: The id of the test that it is for; empty where that is not known yet.
        labels: What else there is to know of whose it is, for who finds it on the engine.
        hosts: Names of services that it shall know, with their addresses in it.
        log_path: File for the server's log.
        clean_log: Given each line of the log before it is written, as to mask secrets.
        on_secret: Called with each secret value before the sandbox gets it.
    """

    settings: SandboxSettings
    image: str = ""
    test: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    log_path: Path | None = None
    clean_log: Callable[[str], str] | None = None
    on_secret: Callable[[str], object] | None = None

    def for_anybody(self) -> SandboxRequest:
        """Return the request without what concerns a single test."""
        return replace(self, test="", log_path=None, clean_log=None, on_secret=None)

    def tell_secret(self, value: str) -> None:
        """Say a secret value before the sandbox gets it."""
        if self.on_secret is not None:
            self.on_secret(value)


@dataclass(frozen=True, kw_only=True, eq=False)
class ServicesRequest:
    """Services that a test asks for.

    Attributes:
        services: What they are to be, by their names.
        image: The image of the sandboxes beside them.
        settings: What is set for these.
        labels: Whose they are, for who finds them on the engine.
        log_path: Returns the file for the log of a service, by its name.
        scratch: A folder for what nobody reads.
        clean: Given each line of a log before it is written, as to mask secrets.
    """

    services: Mapping[str, Service]
    image: str
    settings: SandboxSettings
    labels: Mapping[str, str]
    log_path: Callable[[str], Path]
    scratch: Path
    clean: Callable[[str], str] | None = None


class SandboxEngine(Closing):
    """What sandboxes run in, for one pytest process; made before its first test.

    An engine of another distribution derives from this class and is named by an entry point of the
    group `pytest_agent_sandbox.engines`: `--sandbox-engine=NAME` chooses it. Only `start` has to be
    there; CONTRIBUTING.md goes through the rest.

    Args:
        context: What it is told of the process.

    Raises:
        SettingsError: The settings of the run make no sense with it.
    """

    #: The settings that it knows, of those that are refused or ignored elsewhere.
    supports: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, context: EngineContext) -> None:
        self.context = context
        self.check(context.settings)

    @classmethod
    def chosen_by(cls, settings: SandboxSettings) -> str:
        """Return the option that has chosen it, for messages."""
        return f"--sandbox-engine={settings.engine}"

    @property
    def statistics(self) -> SandboxStatistics:
        """How the tests got their sandboxes so far."""
        return SandboxStatistics()

    def connect(self) -> None:
        """Find what runs the sandboxes; called before all else, and any number of times.

        Raises:
            EngineUnavailable: It does not answer.
        """

    def header(self) -> Sequence[str]:
        """Return lines for the top of the terminal, after "3 tests": "on …".

        Raises:
            SandboxError: The engine does not answer.
        """
        return [f"on {self.context.settings.engine}", *self.not_in_effect()]

    @classmethod
    def check(cls, settings: SandboxSettings) -> None:
        """Refuse settings that promise what this engine cannot keep.

        Called for the run, also in the process that xdist starts the workers from, and for each
        test.

        Args:
            settings: Those of the run, or of a test.

        Raises:
            SettingsError: One does.
        """
        for setting in SETTINGS:
            is_unknown = setting.elsewhere == "refused" and setting.name not in cls.supports
            value = getattr(settings, setting.name)
            is_asked = value != setting.default and (setting.name, value) != ("network", "open")
            if is_unknown and is_asked:
                raise SettingsError(
                    f"{flag(setting)} = {value} is not supported with {cls.chosen_by(settings)}. "
                    "Leave one of both out."
                )

    def not_in_effect(self) -> list[str]:
        """Return a line that names the run's settings that mean nothing here, if there are any."""
        given = [
            flag(setting)
            for setting in SETTINGS
            if setting.elsewhere == "ignored"
            and setting.name not in self.supports
            and getattr(self.context.settings, setting.name) != setting.default
        ]
        return [f"not in effect without containers: {', '.join(given)}"] if given else []

    def choose_image(self, settings: SandboxSettings) -> str:
        """Return the name of the image that settings mean; empty where there is none.

        Raises:
            SandboxError: The engine does not answer.
        """
        return settings.image or "" if "image" in self.supports else ""

    def prepare(self, requests: Sequence[SandboxRequest]) -> None:
        """Have sandboxes ready for the tests that come next, in order; replaces what was said.

        Whatever goes wrong is for the tests to meet: this raises nothing for it.
        """

    @property
    def ahead(self) -> int:
        """How many requests `prepare` has a use for."""
        return 0

    @abstractmethod
    def start(self, request: SandboxRequest) -> Workspace:
        """Start a sandbox until its server answers.

        The settings of the request have passed `check`. Tests may have threads that call this at
        the same time.

        Raises:
            EngineUnavailable: The engine does not answer.
            SandboxStartFailed: The sandbox did not start, or its server never answered.
            SettingsError: A setting has a value that cannot be used.
        """

    def start_services(self, request: ServicesRequest) -> ServicesStart:
        """Begin the start of services beside the sandboxes, once their images are there.

        Raises:
            ServiceUnavailable: The engine has no containers for them.
            SettingsError: A value cannot be used.
            SandboxError: An image cannot be had.
        """
        raise ServiceUnavailable(
            f"agent_services starts containers of a Docker engine, which "
            f"{self.chosen_by(self.context.settings)} has not: it cannot start "
            f"{', '.join(request.services)}. Run tests that need them with --sandbox-engine=docker."
        )

    def kept(self) -> list[str]:
        """Return what the terminal says of sandboxes of this run that stay after it.

        With xdist, an engine of the process that started the workers is asked, which has started
        no sandbox itself.
        """
        return []

    def close(self) -> None:
        """End all that is left, and wait for that; called once, after the last test."""
