"""`agent-sandbox doctor`: says whether the tests can run here, and what to do if not."""

from __future__ import annotations

import os
import time
from collections.abc import Generator

import requests
from docker.errors import DockerException

from pytest_agent_sandbox.cli.findings import Finding, failure, live_llm, tell
from pytest_agent_sandbox.containers import images
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_names import DEFAULT_IMAGE
from pytest_agent_sandbox.containers.progress import megabytes
from pytest_agent_sandbox.errors import SandboxError


def doctor(image: str | None, *, start: bool, as_json: bool = False) -> int:
    """Print what tests need and whether it is here.

    Args:
        image: The image to look at; None for the default one.
        start: Whether to start a sandbox too.
        as_json: Print it for programs.

    Returns:
        The exit code: 1 where something needed is missing.
    """
    return tell(_findings(image, start=start), as_json=as_json)


def _findings(requested: str | None, *, start: bool) -> Generator[Finding, None, None]:
    yield live_llm(os.environ)
    try:
        engine = ContainerEngine.connect()
    except SandboxError as error:
        yield failure("engine", error)
        return
    with engine:
        yield _engine(engine)
        yield _host_route(engine)
        image = _image(engine, requested)
        yield image
        if start and image.state == "ok":
            yield _start(engine, requested)


def _engine(engine: ContainerEngine) -> Finding:
    way = engine.way
    text = f"{engine.description} at {way.address} ({way.words}), for {engine.platform}"
    if not engine.is_remote:
        return Finding("engine", "ok", text)
    return Finding(
        "engine",
        "ok",
        f"{text}\nIt is on another machine: a folder in `volumes` is one of the engine's machine, "
        "and has to be there; use `files` or upload() for those of this one.",
    )


def _host_route(engine: ContainerEngine) -> Finding:
    try:
        if engine.is_apart:
            return Finding(
                "host route",
                "ok",
                "the engine's ports are out of reach here: all goes over its connection",
            )
        route = engine.host_route()
    except SandboxError as error:
        return failure("host route", error)
    return Finding(
        "host route",
        "ok",
        f"sandboxes reach this machine as {route.container_host_name} ({route.bind_address})",
    )


def _image(engine: ContainerEngine, requested: str | None) -> Finding:
    try:
        reference = images.choose_image(engine, requested)
        image = images.find_local(engine, reference)
    except SandboxError as error:
        return failure("image", error)
    if image is not None:
        text = f"{images.describe(image)}, {megabytes(image.size)}"
        if image.platform == engine.platform:
            return Finding("image", "ok", text)
        return Finding(
            "image",
            "FAIL",
            f"{text}, is for {image.platform}, not for {engine.platform}",
            f"Set --sandbox-platform={image.platform} where the engine can emulate it.",
        )
    if command := images.build_command(reference):
        return Finding("image", "FAIL", f"{reference} is not here.", f"Build it: `{command}`.")
    try:
        with engine.calling(f"ask the registry for {reference}"):
            engine.client.images.get_registry_data(reference)
    except (SandboxError, DockerException, requests.RequestException) as error:
        advice = f"Build one on this machine: `{images.BUILD_COMMAND}`."
        if reference != DEFAULT_IMAGE:
            advice = "Check its name, the network, and whether a `docker login` is needed."
        return Finding("image", "FAIL", f"{reference} is not here. {error}", advice)
    return Finding("image", "ok", f"{reference} is not here yet; the first test run pulls it")


def _start(engine: ContainerEngine, requested: str | None) -> Finding:
    from pytest_agent_sandbox.engines.docker.workspace import DockerWorkspace

    started = time.monotonic()
    try:
        with DockerWorkspace(server_image=requested, engine=engine) as workspace:
            seconds = time.monotonic() - started
            answered = workspace.execute_command("echo ready")
    except SandboxError as error:
        return failure("sandbox", error)
    if answered.stdout.strip() != "ready":
        return Finding("sandbox", "FAIL", f"it started, but a command said {answered.stdout!r}")
    return Finding("sandbox", "ok", f"started in {seconds:.1f} s, and ran a command")
