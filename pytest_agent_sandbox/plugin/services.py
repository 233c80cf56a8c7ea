"""The fixture `agent_services`: what agents work with, started for a test or for several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_agent_sandbox.client.asynchronous import InThread
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.plugin.options import SCOPES, SERVICES_MARKER, host_name
from pytest_agent_sandbox.plugin.service_files import services_of_files, split_files
from pytest_agent_sandbox.sandbox.services.service import Service
from pytest_agent_sandbox.sandbox.services.services import Services
from pytest_agent_sandbox.sandbox.services.testcontainer import is_testcontainer, service_of

if TYPE_CHECKING:
    from pytest_agent_sandbox.plugin.session import SandboxSession
    from pytest_agent_sandbox.sandbox.services.running_service import RunningService

#: Called with shared services before each further test that uses them.
Reset = Callable[[Services], object]


class ServiceFactory(Closing):
    """The fixture `agent_services`: each call starts services, and waits until they are ready.

    Example::

        def test_report(agent_services, agent_workspace, agent_conversation):
            services = agent_services(db=Service("postgres:17", ports=[5432], env={…}))
            conversation = agent_conversation()
            conversation.send_message("Put the totals of sales.csv into the table totals.")
            conversation.run()
            with psycopg.connect(host="127.0.0.1", port=services.db.host_port, …) as database:
                assert database.execute("select sum(total) from totals").fetchone() == (42,)

    The services of `@pytest.mark.agent_services(…)` are attributes of it: `agent_services.db`.

    Args:
        item: The test.
        session: What the run shares.
        image: The name of the sandboxes' image.
    """

    def __init__(self, item: pytest.Item, session: SandboxSession, image: str) -> None:
        self._item = item
        self._sets = session.services  # made here, before threads of the test ask for it
        self._image = image
        self._marked: dict[str, RunningService] = {}
        self._pending: list[Callable[[], Services]] = []

    def __call__(
        self,
        /,
        *files: str | Path,
        scope: str = "function",
        reset: Reset | None = None,
        **services: Any,
    ) -> Services:
        """Start services, and wait until all are ready.

        Programs in the test's sandboxes, whatever their network, reach each by its name; the test
        reaches it by `host_port`; those that are started together reach one another.

        Args:
            files: Compose files, relative to the test's file.
            scope: How long they live, in pytest's words: those of a wider scope are there for the
                next test that asks for the same ones.
            reset: Called with them before each further test that gets them, to have it find what
                the first one has found.
            services: Each a `Service`, or a container object of testcontainers, by its name; also
                `services="compose.yaml"`.

        Raises:
            SettingsError: A value cannot be used.
            SandboxStartFailed: One has not started, or was not ready in time; the note holds its
                log.
        """
        return self._begin(files, scope, reset, services)()

    #: As calling it, without blocking the event loop: `await agent_services.astart(…)`.
    astart = InThread(__call__)

    def shared(
        self,
        /,
        *files: str | Path,
        scope: str = "session",
        reset: Reset | None = None,
        **services: Any,
    ) -> Services:
        """Return services that all tests of this process share that ask for the same ones.

        Args:
            files: Compose files, relative to the test's file.
            scope: How long they live.
            reset: Called with them before each further test that gets them.
            services: As in a call.
        """
        return self(*files, scope=scope, reset=reset, **services)

    def begin(self, marker: pytest.Mark) -> None:
        """Begin the start of a marker's services; `wait` waits for them."""
        kwargs = dict(marker.kwargs)
        scope, reset = kwargs.pop("scope", "function"), kwargs.pop("reset", None)
        self._pending.append(self._begin(marker.args, scope, reset, kwargs))

    def wait(self) -> None:
        """Wait until the services of markers are ready."""
        while self._pending:
            for service in self._pending.pop(0)():
                self._marked[service.name] = service

    def _begin(
        self,
        files: tuple[str | Path, ...],
        scope: str,
        reset: Reset | None,
        given: Mapping[str, Any],
    ) -> Callable[[], Services]:
        if scope not in SCOPES:
            raise SettingsError(
                f"agent_services: there is no scope {scope!r}; give one of {', '.join(SCOPES)}"
            )
        specs = self._specs(files, given)
        return self._sets.begin(self._item, scope, specs, self._image, reset)

    def _specs(self, files: Sequence[str | Path], given: Mapping[str, Any]) -> dict[str, Service]:
        files, given = split_files(files, given)
        specs = services_of_files(self._item, files)
        for name, one in given.items():
            value = service_of(name, one) if is_testcontainer(one) else one
            if not isinstance(value, Service):
                raise SettingsError(
                    f"agent_services: {name}={value!r} is no Service; use "
                    f"{name}=Service(IMAGE, ports=[…]), or a container object of testcontainers"
                )
            if host_name(name) in specs:
                raise SettingsError(f"agent_services: {name!r} is in a compose file already")
            specs[host_name(name)] = value
        if not specs:
            raise SettingsError(
                "agent_services: no service is given; use agent_services(db=Service(IMAGE, …)), or "
                "agent_services('compose.yaml')"
            )
        return specs

    def __getattr__(self, name: str) -> RunningService:
        if name.startswith("_"):  # copy and pickle ask for such
            raise AttributeError(name)
        try:
            return self[host_name(name)]
        except KeyError:
            known = ", ".join(self._marked) or "none"
            raise AttributeError(
                f"@pytest.mark.{SERVICES_MARKER} has no service {name!r} here; there are: {known}"
            ) from None

    def __getitem__(self, name: str) -> RunningService:
        """Return a service of the test's markers by its name."""
        self.wait()  # as from a fixture of the test, which is set up before all are ready
        return self._marked[name]

    def __repr__(self) -> str:
        return f"<ServiceFactory, services of markers: {', '.join(self._marked) or 'none'}>"

    def close(self) -> None:
        """End what is of the test alone; called once, when the test is over."""
        self._sets.end_of(self._item)
