"""Which versions of the agent server there are, as PyPI has them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
from pip._internal.models.index import PyPI

PACKAGE = "openhands-agent-server"
_VERSION = re.compile(r"\d+\.\d+(\.\d+)?")


class CannotTestError(Exception):
    """What was asked for cannot be done."""


@dataclass(frozen=True)
class Release:
    """A version, and when it was published."""

    version: str
    published: datetime

    @property
    def numbers(self) -> tuple[int, ...]:
        """What versions are ordered by."""
        return numbers(self.version)

    @property
    def minor(self) -> tuple[int, ...]:
        """The first two numbers of the version."""
        return self.numbers[:2]


def numbers(version: str) -> tuple[int, ...]:
    """What versions are ordered by."""
    return tuple(int(part) for part in version.split("."))


def published_releases() -> list[Release]:
    """All final releases, newest first.

    Raises:
        CannotTestError: PyPI cannot be asked.
    """
    try:
        # pip knows where PyPI is; its JSON has the dates, which package indexes need not have.
        answer = httpx.get(f"{PyPI.pypi_url}/{PACKAGE}/json", timeout=30)
        found = answer.raise_for_status().json()["releases"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise CannotTestError(f"PyPI does not tell the versions of {PACKAGE}: {error}") from None
    releases = [
        Release(version, datetime.fromisoformat(files[0]["upload_time_iso_8601"]))
        for version, files in found.items()
        if files and not files[0]["yanked"] and _VERSION.fullmatch(version)
    ]
    return sorted(releases, key=lambda release: release.numbers, reverse=True)


def last_of_each_minor(releases: Iterable[Release]) -> list[Release]:
    """Of each minor, the release with the most fixes, in the order of the releases."""
    last: dict[tuple[int, ...], Release] = {}
    for release in releases:
        known = last.setdefault(release.minor, release)
        if release.numbers > known.numbers:
            last[release.minor] = release
    return list(last.values())


def recent(releases: Iterable[Release], months: int) -> list[Release]:
    """The last release of each minor that came in the last months, newest first."""
    since = datetime.now(UTC) - timedelta(days=months * 30.5)
    releases = list(releases)
    minors = {release.minor for release in releases if release.published >= since}
    return [release for release in last_of_each_minor(releases) if release.minor in minors]


def chosen(releases: list[Release], wanted: Iterable[str]) -> list[Release]:
    """The releases that words such as `1.58` (its last release) or `1.58.0` name.

    Raises:
        CannotTestError: A word is no version, or there is no such release.
    """
    found = []
    for word in wanted:
        if not _VERSION.fullmatch(word):
            raise CannotTestError(
                f"{word!r} is no version of the agent server; write 1.58 or 1.58.0."
            )
        parts = numbers(word)
        fits = [release for release in releases if release.numbers[: len(parts)] == parts]
        if not fits:
            raise CannotTestError(
                f"PyPI has no {PACKAGE} {word}; its newest is {releases[0].version}."
            )
        found.append(max(fits, key=lambda release: release.numbers))
    return found
