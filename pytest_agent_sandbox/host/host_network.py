"""This machine's ways to package indexes and sites, by its environment, for a build to share.

Certificates of a company proxy, the package index and proxies: a build in a container knows
nothing of them unless it is told.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pytest_agent_sandbox.errors import SettingsError

CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
INDEX_VARIABLES = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
NPM_VARIABLES = ("NPM_CONFIG_REGISTRY", "npm_config_registry")
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class HostNetwork:
    """The ways by which this machine reaches package indexes and sites.

    Attributes:
        certificates: CA certificates in PEM, each once, in a stable order.
        index_url: The package index instead of PyPI; it may hold credentials.
        extra_index_urls: Further package indexes; they may hold credentials.
        trusted_hosts: Indexes that pip may use without a certificate.
        npm_registry: The npm registry instead of the public one; it may hold credentials.
        proxies: Proxy variables by name, in upper case; they may hold credentials.
    """

    certificates: tuple[str, ...] = ()
    index_url: str | None = field(default=None, repr=False)
    extra_index_urls: tuple[str, ...] = field(default=(), repr=False)
    trusted_hosts: tuple[str, ...] = ()
    npm_registry: str | None = field(default=None, repr=False)
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, *, ca_bundle: str | Path | None = None
    ) -> Self:
        """Read the variables that pip, uv, npm, curl and Python themselves go by.

        A bundle that a variable names but that is not there is passed over, as such variables
        are often left behind. Indexes on this machine's disk are passed over too: a build cannot
        reach them.

        Args:
            environment: The variables; None for this process's.
            ca_bundle: A file with CA certificates to use instead of those the variables name.

        Raises:
            SettingsError: `ca_bundle` cannot be read or holds no certificate.
        """
        variables = os.environ if environment is None else environment
        if ca_bundle is not None:
            certificates = _certificates(Path(ca_bundle))
            if not certificates:
                raise SettingsError(f"The CA bundle {ca_bundle} holds no PEM certificate.")
        else:
            named = {variables[name] for name in CERTIFICATE_VARIABLES if variables.get(name)}
            files = sorted(Path(name) for name in named if Path(name).is_file())
            certificates = {each for file in files for each in _certificates(file)}
        indexes = [url for name in INDEX_VARIABLES for url in _urls(variables.get(name, ""))]
        return cls(
            certificates=tuple(sorted(certificates)),
            index_url=indexes[0] if indexes else None,
            extra_index_urls=tuple(_urls(variables.get("PIP_EXTRA_INDEX_URL", ""))),
            trusted_hosts=tuple(variables.get("PIP_TRUSTED_HOST", "").split()),
            npm_registry=next(
                (url for name in NPM_VARIABLES for url in _urls(variables.get(name, ""))), None
            ),
            proxies={
                name: value
                for name in PROXY_VARIABLES
                if (value := variables.get(name) or variables.get(name.lower()))
            },
        )

    @property
    def has_index_credentials(self) -> bool:
        """Whether an index's address holds a user name or password."""
        urls = [url for url in (self.index_url, *self.extra_index_urls, self.npm_registry) if url]
        return any("@" in urlsplit(url).netloc for url in urls)

    def pip_configuration(self) -> str:
        """Return the text of a pip.conf; it may hold credentials."""
        lines = ["[global]"]
        if self.index_url:
            lines.append(f"index-url = {self.index_url}")
        for key, values in (
            ("extra-index-url", self.extra_index_urls),
            ("trusted-host", self.trusted_hosts),
        ):
            if values:
                lines.append(f"{key} =")
                lines += [f"    {value}" for value in values]
        return "\n".join(lines) + "\n"

    def npm_configuration(self) -> str:
        """Return the text of an .npmrc; it may hold credentials."""
        return f"registry={self.npm_registry}\n" if self.npm_registry else ""

    def certificate_files(self) -> dict[str, str]:
        """Return the certificates as one file each, which is what a trust store wants."""
        return {
            f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.crt": f"{text}\n"
            for text in self.certificates
        }


def _certificates(file: Path) -> set[str]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SettingsError(f"The CA bundle {file} cannot be read: {error.strerror}.") from error
    return {found.replace("\r\n", "\n") for found in _CERTIFICATE.findall(text)}


def _urls(value: str) -> list[str]:
    return [url for url in value.split() if url.startswith(("http://", "https://"))]
