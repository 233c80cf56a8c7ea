"""The user's pod template: a file with what pods are to have beside what a sandbox needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.errors import SettingsError

_OPTION = "--sandbox-pod-template"
#: What a template may not have: it would give a sandbox what it is not to have.
_REFUSED = ("hostNetwork", "hostPID", "hostIPC", "ephemeralContainers", "serviceAccountName")

#: What of a container's security context gives it more than a sandbox has.
_GIVING = frozenset({"privileged", "capabilities", "procMount"})


def read_template(path: str | None) -> Mapping[str, Any]:
    """Return the spec of a pod template's file; empty for none.

    Raises:
        SettingsError: It cannot be read, is no pod, or has what no sandbox may have.
    """
    if path is None:
        return {}
    import yaml

    try:
        found = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{_OPTION}={path} cannot be read: {error}") from error
    if not isinstance(found, dict) or found.get("kind") != "Pod":
        raise SettingsError(f"{_OPTION}={path} holds no pod: it has to begin with `kind: Pod`.")
    spec = found.get("spec") or {}
    if not isinstance(spec, dict):
        raise SettingsError(f"{_OPTION}={path}: spec is no mapping.")
    refused = [name for name in _REFUSED if spec.get(name)]
    if refused:
        raise SettingsError(
            f"{_OPTION}={path}: no sandbox may have {', '.join(refused)}. Leave it out."
        )
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        asked = _GIVING & set(container.get("securityContext") or {})
        if asked:
            raise SettingsError(
                f"{_OPTION}={path}: the securityContext of {container.get('name')} may not have "
                f"{', '.join(sorted(asked))}. Leave it out."
            )
    return spec
