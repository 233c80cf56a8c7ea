"""The limits and privileges of a service: what images need to start, and nothing of the machine's.

What they promise is told in SECURITY.md.
"""

from __future__ import annotations

from typing import Any

from pytest_agent_sandbox.sandbox.services.service import Service

#: What the entry points of images need, to make folders their user's and to become that user, and
#: servers of files and logins for those who log in. Of what engines give, these are left out: raw
#: packets and devices (NET_RAW, MKNOD), and whatever gives capabilities (SETFCAP, SETPCAP).
CAPABILITIES = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
    "SYS_CHROOT",
)

#: The limits of a service for which nobody has set others: enough for a search engine, and not
#: enough to bring a machine down.
DEFAULT_MEMORY, PIDS = "4g", 4096


def limits_and_privileges(spec: Service) -> dict[str, Any]:
    """Return the limits and privileges of a service, as arguments of `ContainerSpec`."""
    asked = {"memory": spec.memory, "cpus": spec.cpus}
    return {
        "memory": spec.memory or DEFAULT_MEMORY,
        "cpus": spec.cpus,
        "pids_limit": PIDS,
        "required_limits": tuple(name for name, limit in asked.items() if limit is not None),
        "cap_drop": ("ALL",),
        "cap_add": CAPABILITIES,
        "security_options": ("no-new-privileges",),
    }
