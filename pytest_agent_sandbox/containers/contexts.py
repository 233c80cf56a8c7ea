"""Docker's contexts: named engines, with their certificates, in the folder of its configuration.

The SDK reads them too, but finds none where docker has no config.json, which a context alone does
not make, and speaks no TLS where a context has an authority and no certificate of the user's own.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.utils.config import load_general_config

from pytest_agent_sandbox.containers.certificates import tls_of
from pytest_agent_sandbox.errors import EngineUnavailable

_DEFAULT = "default"


@dataclass(frozen=True)
class Context:
    """A docker context.

    Attributes:
        name: Its name.
        host: The engine's address.
        tls: The SDK's TLS configuration; None for a plain connection.
    """

    name: str
    host: str
    tls: Any = None


def chosen_context() -> Context | None:
    """Return the context that the docker command line would use; None for the default one.

    Raises:
        EngineUnavailable: There is no such context, or it cannot be read.
    """
    name = os.environ.get("DOCKER_CONTEXT") or load_general_config().get("currentContext")
    if not name or name == _DEFAULT:
        return None
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker", "contexts").absolute()
    # Docker's own names of their folders.
    place = hashlib.sha256(str(name).encode()).hexdigest()
    try:
        found = json.loads((folder / "meta" / place / "meta.json").read_text("utf-8"))
        endpoint = found["Endpoints"]["docker"]
        host, is_lax = str(endpoint.get("Host") or ""), bool(endpoint.get("SkipTLSVerify"))
    except FileNotFoundError:
        raise EngineUnavailable(
            f"The docker context {name!r}, chosen by DOCKER_CONTEXT or `docker context use`, does "
            "not exist; `docker context ls` shows those that do."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineUnavailable(
            f"The docker context cannot be read: {name!r}: {error}. "
            "`docker context use default` leaves it."
        ) from error
    return Context(name, host, _tls(folder / "tls" / place / "docker", name, is_lax=is_lax))


def _tls(folder: Path, name: str, *, is_lax: bool) -> Any:
    try:
        files = sorted(folder.iterdir())
    except FileNotFoundError:
        return None
    found = {
        kind: next((file for file in files if file.name.startswith(kind)), None)
        for kind in ("ca", "cert", "key")
    }
    return tls_of(
        found["ca"], found["cert"], found["key"], f"docker context {name!r}", verify=not is_lax
    )
