"""The folders of a recycled or strict pod: in memory, with what the image has in their place."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence
from typing import Any

from pytest_agent_sandbox.containers.accounts import Account
from pytest_agent_sandbox.containers.janitor import CAPABILITIES

_FILL = "fill"
# Where the folders are while they are filled.
_TARGET = "/agent-sandbox-fill"


def in_memory(
    spec: dict[str, Any],
    server: dict[str, Any],
    folders: Sequence[str],
    account: Account,
    *,
    is_cleaned: bool,
) -> None:
    """Have a pod write to folders in memory only.

    Args:
        spec: The pod's spec, which is changed.
        server: Its container, which is changed.
        folders: The folders.
        account: Whose those are that the image lacks.
        is_cleaned: Whether root is to clean them between two uses.
    """
    security = server["securityContext"]
    security["readOnlyRootFilesystem"] = True
    if is_cleaned:
        added = {*security["capabilities"]["add"], *CAPABILITIES}
        security["capabilities"]["add"] = sorted(added)
    names = {f"memory-{number}": folder for number, folder in enumerate(folders)}
    spec["volumes"] = [{"name": name, "emptyDir": {"medium": "Memory"}} for name in names]
    server["volumeMounts"] = [{"name": name, "mountPath": folder} for name, folder in names.items()]
    fill = {
        "name": _FILL,
        "image": server["image"],
        "imagePullPolicy": server["imagePullPolicy"],
        "command": ["/bin/sh", "-ec", "\n".join(_lines(folders, account))],
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi"},
            "limits": server["resources"]["limits"],
        },
        "securityContext": {
            "runAsUser": 0,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": sorted(CAPABILITIES)},
        },
        "volumeMounts": [
            {"name": name, "mountPath": f"{_TARGET}/{number}"} for number, name in enumerate(names)
        ],
    }
    spec.setdefault("initContainers", []).insert(0, fill)


def with_home(folders: Sequence[str], home: str) -> list[str]:
    """Return the folders with a user's home, unless that is inside of one of them."""
    if not home.startswith("/") or home == "/":
        return list(folders)
    is_inside = any(posixpath.commonpath([home, folder]) == folder for folder in folders)
    return list(folders) if is_inside else [*folders, home]


def _lines(folders: Sequence[str], account: Account) -> list[str]:
    lines = []
    for number, folder in enumerate(folders):
        source, target = shlex.quote(folder), f"{_TARGET}/{number}"
        lines += [
            f"if [ -d {source} ]; then",
            f"  cp -a {source}/. {target}/",
            f"  chown --reference={source} {target}; chmod --reference={source} {target}",
            "else",
            f"  chown {account.number}:{account.group} {target}; chmod 755 {target}",
            "fi",
        ]
    return lines
