"""For all of the project's tests: the engine and the image that they run on.

A machine without an engine skips what needs one; CI fails instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pytest_agent_sandbox.containers.engine import Engine
from pytest_agent_sandbox.containers.images import choose_image, ensure_image
from pytest_agent_sandbox.errors import SandboxError

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A connected engine."""
    try:
        engine = Engine.connect()
    except SandboxError as error:
        missing(str(error))
    with engine:
        yield engine


@pytest.fixture(scope="session")
def agent_server_image(engine: Engine) -> str:
    """The image that the plugin would use too; scripts/setup makes it ready."""
    reference = choose_image(engine, os.environ.get("PYTEST_SANDBOX_IMAGE"))
    try:
        return ensure_image(engine, reference).reference
    except SandboxError as error:
        missing(str(error))


def missing(reason: str) -> None:
    """Skips a test for want of what it needs; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}\nCI has to have it: scripts/setup makes it ready.", pytrace=False)
    pytest.skip(reason)
