"""Git repositories that a workspace is given."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from pytest_agent_sandbox.client.agents import plain
from pytest_agent_sandbox.errors import SettingsError

#: Of each provider: its host, the secret of the server with its token, and the user of that.
_PROVIDERS = {
    "github": ("github.com", "github_token", "x-access-token"),
    "gitlab": ("gitlab.com", "gitlab_token", "oauth2"),
    "bitbucket": ("bitbucket.org", "bitbucket_token", "x-token-auth"),
    "azure_devops": ("dev.azure.com", "azure_devops_token", "oauth2"),
}
_SHORT = re.compile(r"[\w-]+/[\w.-]+")
_REF = re.compile(r"[\w./][\w./@+-]*")
_FIELDS = {"url", "ref", "provider"}


@dataclass(frozen=True)
class RepoMapping:
    """A repository that is in the workspace.

    Attributes:
        url: Where it came from.
        dir_name: Name of its folder.
        local_path: Its folder.
        ref: The branch, tag or commit that was asked for.
    """

    url: str
    dir_name: str
    local_path: str
    ref: str | None = None


@dataclass(frozen=True)
class CloneResult:
    """What came of `clone_repos`.

    Attributes:
        success_count: How many repositories are there.
        failed_repos: The addresses of those that are not.
        repo_mappings: Those that are, by address.
        errors: What git said of those that are not, by address.
    """

    success_count: int
    failed_repos: list[str]
    repo_mappings: dict[str, RepoMapping]
    errors: dict[str, str] = field(default_factory=dict)

    def check(self) -> CloneResult:
        """Return the result itself.

        Raises:
            AssertionError: A repository was not cloned; the message says why.
        """
        if self.errors:
            told = "".join(f"\n{url}: {error}" for url, error in self.errors.items())
            raise AssertionError(f"Not all repositories were cloned:{told}")
        return self


@dataclass(frozen=True)
class Repository:
    """A repository that is to be cloned.

    Attributes:
        name: As it was asked for.
        url: Where git finds it.
        ref: The branch, tag or commit to check out.
        provider: Whose it is, where that is known.
    """

    name: str
    url: str
    ref: str | None
    provider: str | None

    @property
    def folder(self) -> str:
        """What git would call its folder."""
        last = re.split(r"[/:]", self.url.rstrip("/"))[-1].removesuffix(".git")
        return re.sub(r"[^\w.-]", "_", last).lstrip(".") or "repo"

    @property
    def token_name(self) -> str | None:
        """Which secret of the server opens it, if any may."""
        is_https = urlsplit(self.url).scheme == "https"
        return _PROVIDERS[self.provider][1] if self.provider and is_https else None

    def command(self, path: str, *, has_token: bool) -> str:
        """Return the command that clones it; a token is in the variable `TOKEN`."""
        options = ""
        if has_token and self.provider:
            address = urlsplit(self.url)
            # For this host only, and kept in no file.
            user = _PROVIDERS[self.provider][2]
            helper = f"!f() {{ echo username={user}; echo password=$TOKEN; }}; f"
            setting = f"credential.https://{address.hostname}.helper={helper}"
            options = f"-c {shlex.quote(setting)} "
        url, folder = shlex.quote(self.url), shlex.quote(path)
        clone = f"GIT_TERMINAL_PROMPT=0 git {options}clone --quiet -- {url} {folder}"
        if self.ref is None:
            return clone
        return f"{clone} && git -C {folder} checkout --quiet {shlex.quote(self.ref)} --"


def as_repository(given: str | Mapping[str, Any] | BaseModel) -> Repository:
    """Return a repository as it was asked for.

    Args:
        given: Its address, or its `url` with a `ref` and a `provider`, also of openhands-sdk.

    Raises:
        SettingsError: It is none.
    """
    fields = {"url": given} if isinstance(given, str) else plain(given)
    if not isinstance(fields, dict) or not isinstance(fields.get("url"), str):
        raise SettingsError(f'A repository is an address or {{"url": "…"}}, not {given!r}.')
    if unknown := fields.keys() - _FIELDS:
        raise SettingsError(f"A repository has a url, a ref and a provider, no {min(unknown)!r}.")
    url, ref, provider = fields["url"], fields.get("ref"), fields.get("provider")
    if provider is not None and provider not in _PROVIDERS:
        raise SettingsError(f"provider={provider!r}: there are {', '.join(_PROVIDERS)}.")
    if ref is not None and not _REF.fullmatch(ref):
        raise SettingsError(f"ref={ref!r} is no branch, tag or commit.")
    if _SHORT.fullmatch(url):
        if provider is None or provider == "azure_devops":
            raise SettingsError(
                f"{url!r} may be anywhere: give the whole address, or "
                f'{{"url": {url!r}, "provider": "github"}} (or gitlab, bitbucket).'
            )
        return Repository(url, f"https://{_PROVIDERS[provider][0]}/{url}", ref, provider)
    return Repository(url, url, ref, provider or _provider_of(url))


def unique_folders(repositories: Iterable[Repository]) -> dict[str, Repository]:
    """Return the repositories by their folders; one that is asked for twice is there once."""
    found: dict[str, Repository] = {}
    known: set[str] = set()
    for one in repositories:
        if one.name in known:
            continue
        known.add(one.name)
        name, number = one.folder, 0
        while name in found:
            number += 1
            name = f"{one.folder}_{number}"
        found[name] = one
    return found


def repos_context(mappings: Mapping[str, RepoMapping]) -> str:
    """Return what an agent is to be told of the repositories; nothing where there are none."""
    if not mappings:
        return ""
    lines = [
        f"- {one.local_path}: {url}" + (f" at {one.ref}" if one.ref else "")
        for url, one in mappings.items()
    ]
    return "\n".join(["These git repositories are in your workspace:", "", *lines, ""])


def _provider_of(url: str) -> str | None:
    host = urlsplit(url).hostname
    return next((name for name, (known, *_) in _PROVIDERS.items() if host == known), None)
