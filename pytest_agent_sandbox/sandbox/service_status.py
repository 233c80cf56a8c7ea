"""What a sandbox may offer to people beside its server: how each of these services is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ServiceName = Literal["server", "vscode", "desktop"]
#: `off`: not asked for; `missing`: the image has none; `down`: it ought to answer, and does not.
ServiceState = Literal["running", "down", "off", "missing"]


@dataclass(frozen=True)
class ServiceStatus:
    """How the server, VS Code or the desktop of a sandbox is.

    Attributes:
        name: `server`, `vscode` or `desktop`.
        state: `running`; `down`, as while it starts; `off`, as without `extra_ports`; `missing`,
            where the image has no such service.
        port: Its port on 127.0.0.1; None where it is not published.
    """

    name: ServiceName
    state: ServiceState
    port: int | None
