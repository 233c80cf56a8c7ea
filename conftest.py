"""For all of the project's tests: the engine and the image that they run on.

A machine without an engine skips what needs one; CI fails instead.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

import pytest

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_names import AGENTS_LABEL, FULL_TARGET
from pytest_agent_sandbox.containers.images import choose_image, ensure_image, find_built
from pytest_agent_sandbox.engines.docker.workspace import DockerWorkspace
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.ci import is_in_ci
from pytest_agent_sandbox.sandbox import started
from tests.support.services_image import build_redis_image, build_services_image

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

pytest_plugins = ["pytester"]


#: The files that take longest, the longest first. They begin before all others: where each file is
#: one worker's, as in scripts/test, none waits in the end for another's that has just begun.
LONGEST = (
    "tests/benchmarks/test_benchmarks.py",
    "tests/docs/test_examples.py",
    "tests/kubernetes/test_sandboxes.py",
    "tests/end_to_end/test_cassettes.py",
    "tests/faults/test_faults.py",
    "tests/end_to_end/test_warm_pool.py",
    "tests/end_to_end/test_looking_inside.py",
    "tests/end_to_end/test_restart.py",
    "tests/client/test_deadlines.py",
    "tests/end_to_end/test_signals.py",
    "tests/end_to_end/test_trials.py",
    "tests/end_to_end/test_isolation.py",
    "tests/end_to_end/test_network.py",
    "tests/kubernetes/test_isolation.py",
    "tests/end_to_end/test_remote_engines.py",
    "tests/kubernetes/test_refused_starts.py",
    "tests/end_to_end/test_pristine.py",
    "tests/engines/docker/test_full_sandbox.py",
    "tests/kubernetes/test_room.py",
    "tests/interop/test_processes.py",
    "tests/end_to_end/test_acp_agents.py",
    "tests/end_to_end/test_served.py",
    "tests/end_to_end/test_expectations.py",
    "tests/containers/test_building.py",
    "tests/kubernetes/test_cut_streams.py",
    "tests/kubernetes/test_api_server.py",
)


#: What a test needs of this machine: a fixture of this file, and a marker of the same name on each
#: test that uses it. So `-m "not engine"` runs all that needs no container engine.
NEEDS = ("engine", "browser")

#: Where a test finds the engine that has not asked for one.
NO_ENGINE = "unix:///this-test-has-no-marker-engine"


@pytest.hookimpl(trylast=True)  # after the plugin's
def pytest_configure() -> None:
    """Keep the plugin out of the sandboxes that these tests start: it would ask them things."""
    started.listeners.clear()


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses by the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in NEEDS:
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(name)
    ranks = {file: rank for rank, file in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """Keep the engine from tests without its marker: else they pass only where there is one.

    Each test may find any message in the log, whatever others have logged.
    """
    seldom.begin_anew()
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("engine") is None:
            patch.setenv("DOCKER_HOST", NO_ENGINE)
        return (yield)


@pytest.fixture(scope="session")
def engine() -> Iterator[ContainerEngine]:
    """A connected engine."""
    try:
        engine = ContainerEngine.connect()
    except SandboxError as error:
        missing(str(error))
    with engine:
        yield engine


@pytest.fixture(scope="session")
def agent_server_image(engine: ContainerEngine) -> str:
    """The image that the plugin would use too; scripts/setup makes it ready."""
    reference = choose_image(engine, os.environ.get("PYTEST_SANDBOX_IMAGE"))
    try:
        return ensure_image(engine, reference).reference
    except SandboxError as error:
        missing(str(error))


@pytest.fixture(scope="session")
def coding_agents_image(engine: ContainerEngine) -> str:
    """The image with Claude Code and Codex; scripts/test makes it ready."""
    found = engine.client.images.list(filters={"label": f"{AGENTS_LABEL}=claude-code,codex"})
    names = [name for image in found for name in image.tags]
    if not names:
        missing("There is no image of `agent-sandbox build --with claude-code,codex`.")
    return str(names[0])


@pytest.fixture(scope="session")
def full_image(engine: ContainerEngine) -> str:
    """The image with VS Code, desktop and browser; scripts/test makes it ready."""
    image = find_built(engine, target=FULL_TARGET)
    if image is None:
        missing("There is no image of `agent-sandbox build --target source`.")
    return image.reference


@pytest.fixture(scope="session")
def services_image(engine: ContainerEngine, agent_server_image: str) -> str:
    """An image for sandboxes with PostgreSQL and Redis, made once; it wants Debian's packages."""
    try:
        return build_services_image(engine, agent_server_image)
    except AssertionError as error:
        missing(f"The image with PostgreSQL and Redis was not built: {error}")


@pytest.fixture(scope="session")
def redis_image(engine: ContainerEngine, services_image: str) -> str:
    """An image that starts Redis, as the published one does."""
    return build_redis_image(engine, services_image)


@pytest.fixture(scope="session")
def running_server(engine: ContainerEngine, agent_server_image: str) -> Iterator[DockerWorkspace]:
    """A server in a container that runs for as long as the tests of this process do."""
    with DockerWorkspace(server_image=agent_server_image, engine=engine) as workspace:
        yield workspace


@pytest.fixture(scope="session")
def on_running_server(running_server: DockerWorkspace, engine: ContainerEngine) -> dict[str, str]:
    """The variables that have a project's tests use that server."""
    return {
        "PYTEST_SANDBOX_URL": running_server.host,
        "SANDBOX_API_KEY": running_server.session_key.get_secret_value(),
        # To this machine the server looks as if it were on it; its way back is another.
        "PYTEST_SANDBOX_GATEWAY_ADDRESS": engine.host_route(None).bind_address,
    }


@pytest.fixture(scope="module")  # a test that runs an event loop of its own must not meet this one
def browser() -> Iterator[BrowserContext]:
    """A real Chromium on this machine."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - most tests go without it

    names = ("chromium", "google-chrome", "chromium-browser")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        missing(f"There is no browser to look at pages with: none of {', '.join(names)}.")
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser.new_context()
        browser.close()


@pytest.fixture
def free_ports() -> int:
    """The first of three ports in a row that are free right now."""
    for first in range(20000, 60000, 3):
        with ExitStack() as taken:
            try:
                for port in range(first, first + 3):
                    taken.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
        return first
    raise AssertionError("no free ports")


def missing(reason: str) -> NoReturn:
    """Skips a test for want of what it needs; in CI that is a failure."""
    if is_in_ci(os.environ):
        pytest.fail(f"{reason}\nCI has to have it: scripts/setup makes it ready.", pytrace=False)
    pytest.skip(reason)
