"""`agent-sandbox`: looks after what the tests need, outside of pytest."""

from __future__ import annotations

import argparse
import os
import platform as machine
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import requests
from docker.errors import DockerException

from pytest_agent_sandbox.containers import building, images
from pytest_agent_sandbox.containers.base_images import DEFAULT_BASE_IMAGE
from pytest_agent_sandbox.containers.engine import Engine
from pytest_agent_sandbox.containers.images import DEFAULT_AGENT_SERVER_VERSION, DEFAULT_IMAGE
from pytest_agent_sandbox.containers.progress import megabytes, show_progress
from pytest_agent_sandbox.errors import SandboxError, SettingsError
from pytest_agent_sandbox.llm.models import check_model

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the program's name; None for this process's own.

    Returns:
        The exit code: 0, or 1 where something is missing or went wrong.
    """
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except SandboxError as error:
        notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        print(f"agent-sandbox: {error}{notes}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("agent-sandbox: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agent-sandbox", description="Looks after what agent-sandbox tests need."
    )
    parser.add_argument(
        "--version", action="version", version=f"agent-sandbox {version('pytest-agent-sandbox')}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    doctor = commands.add_parser(
        "doctor",
        help="say whether the tests can run here, and what to do if not",
        description="Says whether the tests can run here, and what to do if not. "
        "Exit code 1 where something needed is missing.",
    )
    doctor.add_argument(
        "--image", metavar="NAME", help="look at this image rather than the default one"
    )
    doctor.add_argument(
        "--start", action="store_true", help="start a sandbox too, and time it (takes seconds)"
    )
    doctor.set_defaults(command=_doctor)

    build = commands.add_parser(
        "build",
        help="build the agent-server image, where the published one cannot be pulled",
        description="Builds an agent-server image from a base image and PyPI packages. Without "
        "--tag, tests on this engine use it from then on. CA certificates, package index and "
        "proxies come from the environment (SSL_CERT_FILE, PIP_INDEX_URL, HTTPS_PROXY, …).",
    )
    build.add_argument(
        "--base-image",
        metavar="NAME",
        help="any image with Python >= 3.12, or with apt-get and such a Python "
        f"({DEFAULT_BASE_IMAGE}; where that cannot be pulled, a Debian made by mmdebstrap)",
    )
    build.add_argument(
        "--version",
        metavar="X.Y.Z",
        default=DEFAULT_AGENT_SERVER_VERSION,
        help="version of the agent server (%(default)s)",
    )
    build.add_argument(
        "--target",
        default=images.MINIMAL_TARGET,
        help="source-minimal: the agent server and its tools; source: VS Code, a desktop and "
        "Chromium too (%(default)s)",
    )
    build.add_argument(
        "--platform", metavar="OS/ARCH", help="such as linux/arm64 (the engine's own)"
    )
    build.add_argument(
        "--ca-bundle",
        metavar="FILE",
        help="CA certificates to trust, instead of those that the environment names",
    )
    build.add_argument(
        "--tag",
        metavar="NAME",
        help="name the image so, for --sandbox-image, and leave the default image as it is",
    )
    build.set_defaults(command=_build)

    show = commands.add_parser(
        "show",
        help="open or print what a test has left behind",
        description="Opens a result in the browser, or prints it where there is none.",
    )
    show.add_argument(
        "path",
        nargs="?",
        default="agent-results",
        metavar="PATH",
        help="folder of a run, or of a test in it (%(default)s)",
    )
    show.add_argument("--text", action="store_true", help="print it in any case")
    show.set_defaults(command=_show)

    compare = commands.add_parser(
        "compare",
        help="set two runs side by side: pass rates, steps, durations, cost",
        description="Sets two runs side by side, and says which differences are more than chance: "
        "by Fisher's exact test of pass rates and permutation tests of means, corrected for their "
        "number (Holm).",
    )
    for name in ("A", "B"):
        compare.add_argument(
            name, type=Path, help="output folder of a run, as --sandbox-output named it"
        )
    compare.set_defaults(command=_compare)

    prune = commands.add_parser(
        "prune",
        help="show the sandboxes on the engine, and end those that nobody uses",
        description="Shows all sandboxes on the engine, and removes those that --sandbox-keep has "
        "left to be looked into, and those whose run was killed. Those of a run that goes on stay, "
        "and so do those of other machines, unless they are named.",
    )
    prune.add_argument(
        "names", nargs="*", metavar="NAME", help="sandbox to remove (nothing: as said above)"
    )
    prune.add_argument("--dry-run", action="store_true", help="show them only")
    prune.set_defaults(command=_prune)

    cassettes = commands.add_parser("cassettes", help="look after recorded LLM answers")
    of_cassettes = cassettes.add_subparsers(required=True, metavar="COMMAND")
    check = of_cassettes.add_parser(
        "check",
        help="find cassettes that no test uses, or that cannot be read",
        description="Collects the tests as pytest would, and names the cassettes that none of them "
        "uses or that cannot be read. Exit code 1 where there are any.",
    )
    check.add_argument(
        "arguments",
        nargs="*",
        metavar="ARGUMENT",
        help="what pytest is given to find all tests (nothing: the project's own settings)",
    )
    check.set_defaults(command=_check_cassettes)
    return parser


def _check_cassettes(options: argparse.Namespace) -> int:
    from pytest_agent_sandbox.cassette_check import check_cassettes

    count, problems = check_cassettes(options.arguments)
    for file, problem in problems.items():
        print(f"{file}: {problem}")
    print(f"agent-sandbox: {count} cassettes, {len(problems)} with problems")
    return 1 if problems else 0


def _prune(options: argparse.Namespace) -> int:
    from pytest_agent_sandbox.pruning import prune

    return 0 if prune(options.names, dry_run=options.dry_run) else 1


def _show(options: argparse.Namespace) -> int:
    from pytest_agent_sandbox.show import show

    show(Path(options.path), as_text=options.text)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from pytest_agent_sandbox.comparison import compare

    print(compare(options.A, options.B), end="")
    return 0


def _build(options: argparse.Namespace) -> int:
    started = time.monotonic()
    with Engine.connect() as engine:
        with show_progress(sys.stderr) as progress:
            image = building.build_agent_server(
                engine,
                base_image=options.base_image,
                version=options.version,
                target=options.target,
                platform=options.platform,
                ca_bundle=options.ca_bundle,
                progress=progress,
            )
        if options.tag:
            image = building.add_name(engine, image, options.tag)
            use = f"Use it with --sandbox-image={image.reference}."
        else:
            image = building.make_default(engine, image)
            use = (
                f"Tests on {engine.description} use it unless told otherwise."
                if image.labels[images.VERSION_LABEL] == DEFAULT_AGENT_SERVER_VERSION
                else f"Use it with --sandbox-image={image.reference}."
            )
    seconds = time.monotonic() - started
    print(f"{images.describe(image)}: {megabytes(image.size)}, ready in {seconds:.1f} s. {use}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    failed = False
    print(
        f"agent-sandbox {version('pytest-agent-sandbox')}, Python {machine.python_version()}, "
        f"{machine.system()} {machine.machine()}"
    )
    for finding in _findings(options):
        print(finding, flush=True)
        failed = failed or finding.state == "FAIL"
    print("Something is missing: see above." if failed else "All that tests need is here.")
    return 1 if failed else 0


def _findings(options: argparse.Namespace) -> Iterator[Finding]:
    yield _llm(os.environ)
    try:
        engine = Engine.connect()
    except SandboxError as error:
        yield Finding("engine", "FAIL", str(error))
        return
    with engine:
        yield Finding(
            "engine", "ok", f"{engine.description} at {engine.endpoint}, for {engine.platform}"
        )
        yield _host_route(engine)
        image = _image(engine, options.image)
        yield image
        if options.start and image.state == "ok":
            yield _start(engine, options.image)


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


def _host_route(engine: Engine) -> Finding:
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


def _image(engine: Engine, requested: str | None) -> Finding:
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


def _start(engine: Engine, requested: str | None) -> Finding:
    from pytest_agent_sandbox.workspaces import DockerWorkspace

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


if __name__ == "__main__":
    sys.exit(main())
