"""A connected engine, an image to run, and a start function that cleans up after itself."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pytest_agent_sandbox.containers.cleanup import remove_labelled
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.container_spec import ContainerSpec
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.host.multiplexer import Connect, Inside

from .starting import SpecFactory, Start


@pytest.fixture(scope="session")
def image(agent_server_image: str) -> str:
    """An image with a shell and Python, on the engine already."""
    return agent_server_image


@pytest.fixture(scope="session")
def run_label(engine: ContainerEngine) -> Iterator[str]:
    """Marks what tests start. Every test removes what it starts; this is the proof."""
    label = uuid.uuid4().hex
    yield label
    assert remove_labelled(engine, {"run": label}) == 0


@pytest.fixture
def spec(image: str, run_label: str) -> SpecFactory:
    """A specification of a container that runs a shell script."""

    def make(script: str, **settings: object) -> ContainerSpec:
        settings.setdefault("labels", {"run": run_label})
        settings.setdefault("image", image)
        return ContainerSpec(entrypoint=["sh", "-c"], command=[script], **settings)

    return make


@pytest.fixture
def start(engine: ContainerEngine, spec: SpecFactory, tmp_path: Path) -> Iterator[Start]:
    """Starts containers; they are gone after the test."""
    session_engine = engine
    started: list[Container] = []

    def start(
        script: str,
        *,
        engine: ContainerEngine | None = None,
        outwards: Mapping[Inside, Connect] | None = None,
        **settings: object,
    ) -> Container:
        container = Container.start(
            engine or session_engine,
            spec(script, **settings),
            log_path=tmp_path / f"container-{len(started)}.log",
            outwards=outwards,
        )
        started.append(container)
        return container

    yield start
    for container in started:
        if container._engine is session_engine:
            container.remove()
