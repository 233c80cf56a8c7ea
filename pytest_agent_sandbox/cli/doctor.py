"""`agent-sandbox doctor`: says whether the tests can run here, and what to do if not."""

from __future__ import annotations

import os
import platform as machine
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version

import requests
from docker.errors import DockerException

from pytest_agent_sandbox.cli.json_output import print_json
from pytest_agent_sandbox.containers import images
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import DEFAULT_IMAGE
from pytest_agent_sandbox.containers.progress import megabytes
from pytest_agent_sandbox.errors import SandboxError, SettingsError
from pytest_agent_sandbox.llm.models import check_model

#: How programs are told of the states of findings.
_STATES = {"ok": "ok", "--": "optional", "FAIL": "failed"}

LLM_VARIABLES = ("LLM_MODEL", "LLM_API_KEY", "LLM_BASE_URL")


@dataclass(frozen=True)
class Finding:
    """What the doctor found out about one thing.

    Attributes:
        subject: What was looked at.
        state: `ok`, `--` for something optional that is not there, or `FAIL`.
        text: What was found.
        advice: What to do about it.
    """

    subject: str
    state: str
    text: str
    advice: str = ""

    def __str__(self) -> str:
        indent = " " * 18
        lines = [*self.text.splitlines(), *self.advice.splitlines()]
        return f"{self.state:<5}{self.subject:<13}" + f"\n{indent}".join(lines)


def doctor(image: str | None, *, start: bool, as_json: bool = False) -> int:
    """Print what tests need and whether it is here.

    Args:
        image: The image to look at; None for the default one.
        start: Whether to start a sandbox too.
        as_json: Print it for programs.

    Returns:
        The exit code: 1 where something needed is missing.
    """
    if as_json:
        return _as_json(image, start=start)
    failed = False
    print(
        f"agent-sandbox {version('pytest-agent-sandbox')}, Python {machine.python_version()}, "
        f"{machine.system()} {machine.machine()}"
    )
    for finding in _findings(image, start=start):
        print(finding, flush=True)
        failed = failed or finding.state == "FAIL"
    print("Something is missing: see above." if failed else "All that tests need is here.")
    return 1 if failed else 0


def _as_json(image: str | None, *, start: bool) -> int:
    findings = list(_findings(image, start=start))
    failed = any(finding.state == "FAIL" for finding in findings)
    print_json(
        {
            "version": version("pytest-agent-sandbox"),
            "python": machine.python_version(),
            "system": f"{machine.system()} {machine.machine()}",
            "ready": not failed,
            "findings": [
                {**asdict(finding), "state": _STATES[finding.state]} for finding in findings
            ],
        }
    )
    return 1 if failed else 0


def _findings(requested: str | None, *, start: bool) -> Iterator[Finding]:
    yield _llm(os.environ)
    try:
        engine = ContainerEngine.connect()
    except SandboxError as error:
        yield Finding("engine", "FAIL", str(error))
        return
    with engine:
        yield Finding(
            "engine", "ok", f"{engine.description} at {engine.endpoint}, for {engine.platform}"
        )
        yield _host_route(engine)
        image = _image(engine, requested)
        yield image
        if start and image.state == "ok":
            yield _start(engine, requested)


def _llm(environment: Mapping[str, str]) -> Finding:
    # Names only, but for that of the model: a value may be a secret.
    there = [name for name in LLM_VARIABLES if environment.get(name)]
    lacking = [name for name in LLM_VARIABLES[:2] if name not in there]
    if model := environment.get("LLM_MODEL"):
        try:
            check_model(model)
        except SettingsError as error:
            return Finding("live LLM", "FAIL", str(error))
    if not lacking:
        return Finding("live LLM", "ok", f"{', '.join(there)} set")
    return Finding(
        "live LLM",
        "--",
        f"{', '.join(lacking)} not set",
        "Tests with a script or a cassette run; others are skipped, and fail in CI.",
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
        return Finding("host route", "FAIL", str(error))
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
        return Finding("image", "FAIL", str(error))
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
        notes = "\n".join(getattr(error, "__notes__", ()))
        return Finding("sandbox", "FAIL", str(error), notes)
    if answered.stdout.strip() != "ready":
        return Finding("sandbox", "FAIL", f"it started, but a command said {answered.stdout!r}")
    return Finding("sandbox", "ok", f"started in {seconds:.1f} s, and ran a command")
