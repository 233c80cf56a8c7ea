"""The command line: what commands there are, and what each of them is given."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from pytest_agent_sandbox.cli.completion import SHELLS
from pytest_agent_sandbox.containers.image_names import (
    AGENTS,
    DEFAULT_AGENT_SERVER_VERSION,
    DEFAULT_BASE_IMAGE,
    MINIMAL_TARGET,
)
from pytest_agent_sandbox.errors import SandboxError, SettingsError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the program's name; None for this process's own.

    Returns:
        The exit code: 0, or 1 where something is missing or went wrong.
    """
    options = make_parser().parse_args(arguments)
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


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="agent-sandbox", description="Manage what agent-sandbox tests need."
    )
    parser.add_argument(
        "--version", action="version", version=f"agent-sandbox {version('pytest-agent-sandbox')}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    doctor = commands.add_parser(
        "doctor",
        help="check whether tests can run here",
        description="Check whether tests can run here, and print what to do if not. "
        "Exit with 1 if something needed is missing.",
    )
    doctor.add_argument(
        "--image", metavar="NAME", help="check this image instead of the default one"
    )
    doctor.add_argument(
        "--start",
        action="store_true",
        help="also start a sandbox and time it (takes seconds); always done with "
        "--engine kubernetes",
    )
    doctor.add_argument(
        "--pod-template",
        metavar="FILE",
        help="with --engine kubernetes: the file that --sandbox-pod-template names",
    )
    _add_engine(doctor)
    _add_json(doctor)
    doctor.set_defaults(command=_doctor)

    build = commands.add_parser(
        "build",
        help="build the agent-server image on this machine",
        description="Build an agent-server image from a base image and PyPI packages. Without "
        "--tag, tests on this engine use it from then on. CA certificates, package index and "
        "proxies come from the environment (SSL_CERT_FILE, PIP_INDEX_URL, HTTPS_PROXY, …).",
    )
    build.add_argument(
        "--base-image",
        metavar="NAME",
        help="an image with Python >= 3.12, or with apt-get and such a Python to install "
        f"(default: {DEFAULT_BASE_IMAGE}; without a registry, a Debian made by mmdebstrap)",
    )
    build.add_argument(
        "--version",
        metavar="X.Y.Z",
        default=DEFAULT_AGENT_SERVER_VERSION,
        help="version of the agent server (default: %(default)s)",
    )
    build.add_argument(
        "--target",
        default=MINIMAL_TARGET,
        help="source-minimal: the agent server and its tools; source: also VS Code, a desktop and "
        "Chromium (default: %(default)s)",
    )
    build.add_argument(
        "--with",
        dest="agents",
        type=lambda names: [name.strip() for name in names.split(",") if name.strip()],
        default=[],
        metavar="AGENT,…",
        help=f"add coding agents from npm, in pinned versions: {', '.join(AGENTS)}",
    )
    build.add_argument(
        "--platform", metavar="OS/ARCH", help="such as linux/arm64 (default: the engine's own)"
    )
    build.add_argument(
        "--ca-bundle",
        metavar="FILE",
        help="CA certificates to trust instead of the environment's",
    )
    build.add_argument(
        "--tag",
        metavar="NAME",
        help="name of the image, for --sandbox-image; keeps the default image as it is",
    )
    build.add_argument(
        "--push",
        metavar="REGISTRY",
        help="push the image too, as REGISTRY/agent-server:VERSION: clusters pull it from there",
    )
    _add_json(build)
    build.set_defaults(command=_build)

    show = commands.add_parser(
        "show",
        help="open or print the results of a test or a run",
        description="Open a result in the browser, or print it if there is no browser.",
    )
    show.add_argument(
        "path",
        nargs="?",
        default="agent-results",
        metavar="PATH",
        help="folder of a run, or of a test in it (default: %(default)s)",
    )
    show.add_argument("--text", action="store_true", help="always print it")
    _add_json(show)
    show.set_defaults(command=_show)

    compare = commands.add_parser(
        "compare",
        help="compare two runs: pass rates, steps, durations, cost",
        description="Compare two runs, and show which differences are more than chance: by "
        "Fisher's exact test of pass rates and permutation tests of means, corrected for multiple "
        "comparisons (Holm).",
    )
    for name in ("A", "B"):
        compare.add_argument(name, type=Path, help="output folder of a run (--sandbox-output)")
    _add_json(compare)
    compare.set_defaults(command=_compare)

    prune = commands.add_parser(
        "prune",
        help="list the sandboxes on the engine, and remove unused ones",
        description="List all sandboxes on the engine, and remove those kept by --sandbox-keep and "
        "those of killed runs. Sandboxes of active runs and of other machines stay, unless you "
        "name them.",
    )
    prune.add_argument(
        "names", nargs="*", metavar="NAME", help="sandbox to remove (default: see above)"
    )
    prune.add_argument("--dry-run", action="store_true", help="only list them")
    prune.add_argument("-y", "--yes", action="store_true", help="remove them without asking")
    _add_engine(prune)
    _add_json(prune)
    prune.set_defaults(command=_prune)

    cassettes = commands.add_parser("cassettes", help="manage recorded LLM answers")
    of_cassettes = cassettes.add_subparsers(required=True, metavar="COMMAND")
    check = of_cassettes.add_parser(
        "check",
        help="find cassettes that no test uses, or that cannot be read",
        description="Collect the tests as pytest does, and list the cassettes that no test uses or "
        "that cannot be read. Exit with 1 if there are any.",
    )
    check.add_argument(
        "arguments",
        nargs="*",
        metavar="ARGUMENT",
        help="arguments of pytest that select all tests (default: the project's settings)",
    )
    check.set_defaults(command=_check_cassettes)

    completion = commands.add_parser(
        "completion",
        help="print a script that has your shell complete all this",
        description="Prints a script that has your shell complete commands and options. For bash: "
        'eval "$(agent-sandbox completion bash)" in ~/.bashrc.',
    )
    completion.add_argument("shell", choices=SHELLS, help="whose script it is")
    completion.set_defaults(command=_completion)
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print it as JSON, for programs")


def _add_engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine",
        choices=("docker", "kubernetes"),
        default="docker",
        help="what the sandboxes run in (default: %(default)s)",
    )
    parser.add_argument(
        "--kube-context", metavar="NAME", help="a context of the kubeconfig (default: its current)"
    )
    parser.add_argument(
        "--kube-namespace", metavar="NAME", help="a namespace (default: the context's)"
    )


def _check_engine(options: argparse.Namespace) -> None:
    """Refuse what another engine would not heed."""
    for name in ("kube_context", "kube_namespace", "pod_template"):
        if options.engine != "kubernetes" and getattr(options, name, None) is not None:
            raise SettingsError(f"--{name.replace('_', '-')} needs --engine kubernetes.")


def _doctor(options: argparse.Namespace) -> int:
    _check_engine(options)
    if options.engine == "kubernetes":
        from pytest_agent_sandbox.cli import doctor_kubernetes

        return doctor_kubernetes.doctor(
            options.image,
            context=options.kube_context,
            namespace=options.kube_namespace,
            template=options.pod_template,
            as_json=options.json,
        )
    from pytest_agent_sandbox.cli.doctor import doctor

    return doctor(options.image, start=options.start, as_json=options.json)


def _build(options: argparse.Namespace) -> int:
    from pytest_agent_sandbox.cli.build import build

    build(
        base_image=options.base_image,
        version=options.version,
        target=options.target,
        agents=options.agents,
        platform=options.platform,
        ca_bundle=options.ca_bundle,
        tag=options.tag,
        push=options.push,
        as_json=options.json,
    )
    return 0


def _check_cassettes(options: argparse.Namespace) -> int:
    from pytest_agent_sandbox.cli.cassettes import check_cassettes

    count, problems = check_cassettes(options.arguments)
    for file, problem in problems.items():
        print(f"{file}: {problem}")
    print(f"agent-sandbox: {count} cassettes, {len(problems)} with problems")
    return 1 if problems else 0


def _prune(options: argparse.Namespace) -> int:
    _check_engine(options)
    if options.engine == "kubernetes":
        from pytest_agent_sandbox.cli import prune_kubernetes

        is_done = prune_kubernetes.prune(
            options.names,
            context=options.kube_context,
            namespace=options.kube_namespace,
            dry_run=options.dry_run,
            yes=options.yes,
            as_json=options.json,
        )
        return 0 if is_done else 1
    from pytest_agent_sandbox.cli.prune import prune

    went_well = prune(options.names, dry_run=options.dry_run, yes=options.yes, as_json=options.json)
    return 0 if went_well else 1


def _show(options: argparse.Namespace) -> int:
    from pytest_agent_sandbox.cli.show import show

    show(Path(options.path), as_text=options.text, as_json=options.json)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from pytest_agent_sandbox.cli.compare import compare, compare_for_programs
    from pytest_agent_sandbox.cli.json_output import print_json

    if options.json:
        print_json(compare_for_programs(options.A, options.B))
    else:
        print(compare(options.A, options.B), end="")
    return 0


def _completion(options: argparse.Namespace) -> int:
    from pytest_agent_sandbox.cli.completion import completion

    print(completion(make_parser(), options.shell))
    return 0
