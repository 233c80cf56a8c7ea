"""The command `scripts/compat`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import find_local
from pytest_agent_sandbox.containers.progress import show_progress
from pytest_agent_sandbox.errors import ImageBuildFailed, SandboxError

from . import page
from .protocol import GROUPS
from .releases import CannotTestError, Release, chosen, published_releases, recent
from .sweep import Result, image_of, not_installed, run_suite

MONTHS = 6


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the arguments ask for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/compat", description=__doc__)
    parser.add_argument("versions", nargs="*", help="such as 1.58 (its last release) or 1.58.0")
    parser.add_argument(
        "--all", action="store_true", help=f"each minor of the last {MONTHS} months"
    )
    parser.add_argument("--missing", action="store_true", help="of those, what has no result yet")
    parser.add_argument("--image", help="test an image that is there; its result is only shown")
    parser.add_argument("--write", action="store_true", help="write docs/compatibility.md")
    options = parser.parse_args(arguments)
    if not (options.versions or options.all or options.missing or options.image or options.write):
        parser.error("name a version, or use --all, --missing, --image or --write")
    try:
        if options.image:
            _test_image(options.image)
        if options.versions or options.all or options.missing:
            _sweep(_releases(options))
        if options.write:
            page.PAGE.write_text(page.page(page.load()), "utf-8")
            print(f"wrote {page.PAGE.name}: {len(page.load())} versions")
    except (CannotTestError, SandboxError) as error:
        print(f"scripts/compat: {error}", file=sys.stderr)
        return 1
    return 0


def _releases(options: argparse.Namespace) -> list[Release]:
    releases = published_releases()
    wanted = chosen(releases, options.versions)
    if options.all or options.missing:
        wanted += recent(releases, MONTHS)
    if options.missing:
        known = page.load()
        wanted = [release for release in wanted if release.version not in known]
    return wanted


def _sweep(releases: list[Release]) -> None:
    with ContainerEngine.connect() as engine:
        for number, release in enumerate(releases, 1):
            began = time.monotonic()
            result = _result(engine, release)
            results = page.load()  # each time: another sweep may have added its own
            page.save({**results, release.version: result})
            _tell(f"{number}/{len(releases)} {release.version}", result, time.monotonic() - began)


def _result(engine: ContainerEngine, release: Release) -> Result:
    day = f"{release.published:%Y-%m-%d}"
    try:
        with show_progress(sys.stderr) as progress, image_of(engine, release, progress) as image:
            return run_suite(engine, image.reference, day)
    except ImageBuildFailed as error:
        return not_installed(error, day)


def _test_image(name: str) -> None:
    with ContainerEngine.connect() as engine:
        if find_local(engine, name) is None:
            raise CannotTestError(f"--image: there is no image {name!r} on {engine.description}.")
        began = time.monotonic()
        result = run_suite(engine, name)
        _tell(name, result, time.monotonic() - began)


def _tell(what: str, result: Result, seconds: float) -> None:
    cells = [f"{name}: {page.cell(result.groups[name])}" for name in GROUPS if result.groups]
    print(f"{what} ({seconds:.0f} s): {result.problem or '; '.join(cells)}", flush=True)
