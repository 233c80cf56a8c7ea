"""Runs the protocol suite against one version of the agent server, in an image made for it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from xml.etree import ElementTree

from pytest_agent_sandbox.containers.build_run import run_build
from pytest_agent_sandbox.containers.building import BUILD_LABEL
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_names import MINIMAL_TARGET, VERSION_LABEL
from pytest_agent_sandbox.containers.images import Image, find_built, find_local, remove_image
from pytest_agent_sandbox.containers.progress import Progress
from pytest_agent_sandbox.errors import ImageBuildFailed

from .protocol import GROUPS, group_of, suite
from .releases import CannotTestError, Release

ROOT = Path(__file__).parents[2]
DOCKERFILE = Path(__file__).parent / "image" / "Dockerfile"
REPOSITORY = "pytest-agent-sandbox/compatibility"
# Seconds for one test, and for all of them: a version that does not work must not hold up others.
TEST_TIMEOUT, SUITE_TIMEOUT = 60, 900
_REASON_LENGTH = 200


@dataclass
class Group:
    """What came of the tests of one group: how many passed, and why the others did not."""

    passed: int = 0
    failed: dict[str, str] = field(default_factory=dict)


@dataclass
class Result:
    """What came of the protocol suite with one version.

    Attributes:
        released: Day on which the version was published; empty where that was not asked.
        tested: Day of this result.
        python: Version of Python that the server ran on.
        groups: What came of each group of tests.
        problem: Why there are no groups, such as that the version cannot be installed.
    """

    released: str
    tested: str
    python: str = ""
    groups: dict[str, Group] = field(default_factory=dict)
    problem: str = ""

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `as_json` wrote."""
        groups = {name: Group(**group) for name, group in data.get("groups", {}).items()}
        return cls(**{**data, "groups": groups})

    def as_json(self) -> dict[str, Any]:
        """What can be written as JSON."""
        return asdict(self)


@contextmanager
def image_of(engine: ContainerEngine, release: Release, progress: Progress) -> Iterator[Image]:
    """An image with a version, removed in the end; its packages are those of the version's time.

    Raises:
        CannotTestError: The project's own image, which it begins from, is not there.
        ImageBuildFailed: The version cannot be installed, or does not import.
    """
    base = find_built(engine, target=MINIMAL_TARGET) or find_built(engine)
    if base is None:
        raise CannotTestError("The image to begin from is not there; scripts/setup makes it.")
    reference = f"{REPOSITORY}:{release.version}"
    newest = release.published + timedelta(days=1)
    run_build(
        engine,
        reference,
        {"Dockerfile": DOCKERFILE.read_text("utf-8")},
        activity=f"installing agent server {release.version}",
        base=base,
        arguments={
            "SERVER_IMAGE": base.reference,
            "SERVER_VERSION": release.version,
            "EXCLUDE_NEWER": newest.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        labels={VERSION_LABEL: release.version, BUILD_LABEL: "compatibility"},
        progress=progress,
    )
    image = find_local(engine, reference)
    assert image is not None
    try:
        yield image
    finally:
        remove_image(engine, image)


def run_suite(engine: ContainerEngine, image: str, released: str = "") -> Result:
    """The protocol suite's result with an image that is there.

    Raises:
        CannotTestError: The tests could not be run at all.
    """
    with tempfile.TemporaryDirectory(prefix="compat-") as folder:
        report = Path(folder, "report.xml")
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        words += ["-o", f"timeout={TEST_TIMEOUT}", f"--junitxml={report}", *suite()]
        try:
            done = subprocess.run(
                words,
                cwd=ROOT,
                env={**os.environ, "PYTEST_SANDBOX_IMAGE": image, "CI": "true"},
                capture_output=True,
                text=True,
                check=False,
                timeout=SUITE_TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            return Result(released, _today(), problem=f"did not end within {SUITE_TIMEOUT} s")
        if not report.is_file() or done.returncode not in (0, 1):
            raise CannotTestError(
                f"The suite could not be run:\n{(done.stdout + done.stderr)[-3000:]}"
            )
        groups = read_report(report)
    return Result(
        released=released,
        tested=_today(),
        python=_python_in(engine, image),
        groups=groups,
    )


def not_installed(error: ImageBuildFailed, released: str) -> Result:
    """The result of a version that no image can be made of."""
    return Result(released, _today(), problem=f"cannot be installed: {error}")


def _today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def read_report(report: Path) -> dict[str, Group]:
    """What a JUnit report says of each group."""
    groups = {name: Group() for name in GROUPS}
    for case in ElementTree.parse(report).iter("testcase"):
        file = case.get("classname", "").replace(".", "/") + ".py"
        name = case.get("name", "")
        group = groups[group_of(file, name.partition("[")[0])]
        problems = [case.find(kind) for kind in ("failure", "error", "skipped")]
        problem = next((one for one in problems if one is not None), None)
        if problem is None:
            group.passed += 1
        else:
            lines = (problem.get("message") or "failed").strip().splitlines()
            group.failed[name] = lines[0][:_REASON_LENGTH]
    return groups


def _python_in(engine: ContainerEngine, image: str) -> str:
    code = "import platform; print(platform.python_version())"
    with engine.calling(f"ask {image} for its Python"):
        said = engine.client.containers.run(
            image, ["-c", code], entrypoint="/agent-server/.venv/bin/python", remove=True
        )
    return str(said.decode().strip())
