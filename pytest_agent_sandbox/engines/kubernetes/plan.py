"""What the pod of a sandbox is to be, before there is one."""

from __future__ import annotations

import copy
import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from pydantic import SecretStr

from pytest_agent_sandbox.containers.sizes import size_in_bytes
from pytest_agent_sandbox.containers.template import Launch
from pytest_agent_sandbox.engines.engine import SandboxRequest
from pytest_agent_sandbox.engines.kubernetes.pod_image import PodImage
from pytest_agent_sandbox.engines.kubernetes.pod_memory import in_memory, with_home
from pytest_agent_sandbox.engines.kubernetes.pod_state import CUT, SERVER
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host.egress import allowed_places
from pytest_agent_sandbox.host.slug import slug
from pytest_agent_sandbox.sandbox.agent_server import (
    SERVER_PORT,
    SERVER_SETTINGS,
    forwarded,
    secret_key,
)
from pytest_agent_sandbox.sandbox.forwards import (
    Place,
    addresses_inside,
    places_of,
)
from pytest_agent_sandbox.sandbox.kinds import Isolation
from pytest_agent_sandbox.sandbox.network import (
    ISOLATED,
    NONE,
    OPEN,
    WayToGateway,
    check_allow,
    chosen_network,
    network_environment,
)
from pytest_agent_sandbox.sandbox.recycle import SERVER_FOLDERS, FirstState, folders_in_memory

#: The limits of a sandbox for which nobody has set others.
DEFAULT_MEMORY = "4g"
# What a pod gets of a node in any case: a boot takes a core, and an idle server this memory.
_REQUESTED_CPU, _REQUESTED_MEMORY = 1.0, 512 * 1024 * 1024
# What root needs to start a server as another user, and to end it.
_FOR_TEMPLATE = ("KILL", "SETGID", "SETUID")
# Takes each interface but the loopback down: ioctl's numbers are those of netdevice(7).
_CUT = """
for python in python3 /agent-server/.venv/bin/python python; do
    if command -v "$python" >/dev/null; then
        exec "$python" -I -c '
import fcntl, socket, struct
for _, name in socket.if_nameindex():
    if name != "lo":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            ask = struct.pack("16sH14s", name.encode(), 0, b"")
            flags = struct.unpack("16sH14s", fcntl.ioctl(end, 0x8913, ask))[1]
            if flags & 1:
                fcntl.ioctl(end, 0x8914, struct.pack("16sH14s", name.encode(), flags & ~1, b""))
'
    fi
done
exit 127
"""
_SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class PodPlan:
    """What a sandbox is to be: see `SandboxPlan`.

    Attributes:
        image: What it runs from.
        pod: Its pod's spec.
        test: The id of the test that it is for.
        variables: Variables of this process that the server gets too; they may be secrets.
        secret_key: What the server encrypts with; None for a key of its own.
        is_quiet: Whether Python looks for no garbage while the server is loaded.
        isolation: What of an earlier use it may show, where it is used again.
        security: Its profile.
        network: What it can reach.
        allow: Where an isolated one may connect to.
        places: What it reaches by name over TCP: of those, and of what stands beside it.
        gateway: How it reaches its LLM gateway.
        timeout: Seconds until the server has to answer.
    """

    image: PodImage
    pod: Mapping[str, Any]
    test: str = ""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_key: SecretStr | None = None
    is_quiet: bool = True
    isolation: Isolation = "fresh"
    security: str = "default"
    network: str = OPEN
    allow: frozenset[str] = frozenset()
    places: frozenset[Place] = frozenset()
    gateway: WayToGateway = field(default_factory=WayToGateway, repr=False)
    timeout: float = 120.0

    has_services = False
    has_volumes = False
    is_deferrable = False

    @property
    def name_prefix(self) -> str:
        """What its pod's name begins with."""
        shown = slug(self.test.rpartition("/")[2], _SHOWN, kept="").lower().strip("-")
        return f"agent-sandbox-{shown}" if shown else "agent-sandbox"

    @property
    def launch(self) -> Launch:
        """How its servers are started."""
        return Launch(
            server=self.image.server,
            account=self.image.account,
            gains=False,
            is_quiet=self.is_quiet,
        )

    @property
    def first_state(self) -> FirstState | None:
        """What it is before its first server, where it is to be brought back to that."""
        # What the image has in its folders in memory is there before its container begins.
        return FirstState(files={}, volumes=()) if self.isolation == "recycled" else None

    @cached_property
    def kind(self) -> Hashable:
        """Sandboxes of the same kind can stand in for each other. It may hold secrets."""
        return (
            json.dumps(self.pod, sort_keys=True),
            tuple(sorted(self.variables.items())),
            self.secret_key,
            self.is_quiet,
            self.isolation,
            self.network,
            self.allow,
            self.places,
        )

    def for_anybody(self) -> PodPlan:
        """Return the plan without what concerns a single test."""
        return replace(self, test="")


def plan_pod(
    request: SandboxRequest,
    image: PodImage,
    gateway: WayToGateway,
    template: Mapping[str, Any],
    pull: str,
) -> PodPlan:
    """Plan a sandbox's pod.

    Args:
        request: What is asked for.
        image: What it runs from.
        gateway: How it reaches its LLM gateway.
        template: The spec of the user's pod template.
        pull: When to pull the image: a pull policy of Kubernetes.

    Raises:
        SettingsError: A setting has a value that cannot be used.
    """
    settings = request.settings
    if not settings.working_dir.startswith("/"):
        raise SettingsError(
            f"working_dir: {settings.working_dir!r} is no absolute path, such as /workspace/x"
        )
    is_strict = settings.security == "strict"
    if is_strict and image.account.number == 0:
        raise SettingsError(
            "security = strict wants a user other than root, and the image "
            f"{image.reference} has root: name another image (--sandbox-image)"
        )
    network = chosen_network(settings.security, settings.network)
    # Who cleans needs what nobody may have in a strict one.
    isolation = "fresh" if is_strict and settings.isolation == "recycled" else settings.isolation
    allow = allowed_places(settings.allow)
    check_allow(network, allow)
    places = places_of(allow, [SERVER_PORT])
    environment = {
        **SERVER_SETTINGS,
        **{"OH_ENABLE_VSCODE": "false", "OH_ENABLE_VNC": "false", "AGENT_SANDBOX_DESKTOP": "false"},
        **network_environment(network),
        "HOME": image.account.home or "/",
    }
    memory = size_in_bytes("memory", settings.memory or DEFAULT_MEMORY)
    assert memory is not None
    server: dict[str, Any] = {
        "name": SERVER,
        "image": image.reference,
        "imagePullPolicy": pull,
        "command": list(image.server.entrypoint),
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "resources": {
            "requests": {
                "cpu": _cpus(min(settings.cpus or _REQUESTED_CPU, _REQUESTED_CPU)),
                "memory": str(min(memory, _REQUESTED_MEMORY)),
            },
            "limits": {
                "memory": str(memory),
                **({"cpu": _cpus(settings.cpus)} if settings.cpus else {}),
            },
        },
        "securityContext": {
            "runAsUser": 0,
            "runAsGroup": 0,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": list(_FOR_TEMPLATE)},
        },
    }
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [server],
    }
    if settings.runtime:
        spec["runtimeClassName"] = settings.runtime
    if network in (ISOLATED, NONE):
        spec["dnsPolicy"] = "None"
        spec["dnsConfig"] = {"nameservers": ["127.0.0.1"]}
        spec["initContainers"] = [_cut(image.reference, pull)]
    if places:
        spec["hostAliases"] = [
            {"ip": address, "hostnames": [name]}
            for name, address in addresses_inside(places).items()
        ]
    if is_strict or isolation == "recycled":
        folders = with_home(folders_in_memory(settings.working_dir), image.account.home)
        server["env"] += [{"name": name, "value": path} for name, path in SERVER_FOLDERS.items()]
        in_memory(spec, server, folders, image.account, is_cleaned=not is_strict)
    return PodPlan(
        image=image,
        pod=with_template(spec, template),
        test=request.test,
        variables=forwarded(settings.forward_env),
        secret_key=secret_key(settings.secret_key_env),
        is_quiet=settings.quiet_boot,
        isolation=isolation,
        security=settings.security,
        network=network,
        allow=allow,
        places=places,
        gateway=gateway,
        timeout=settings.start_timeout,
    )


def with_template(spec: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pod's spec with what a template adds to it; lists of named things join by name.

    What both have is the sandbox's, its resource requests apart: a template cannot take away what
    keeps a sandbox in.
    """
    joined = _joined(copy.deepcopy(dict(template)), spec)
    for own, theirs in zip(joined["containers"], _named(template, "containers"), strict=False):
        asked = theirs.get("resources", {}).get("requests")
        if asked and own["name"] == theirs.get("name"):
            own["resources"] = {
                **own["resources"],
                "requests": {**own["resources"]["requests"], **asked},
            }
    return joined


def _joined(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            base[key] = _joined(base[key], value)
        elif isinstance(value, list) and isinstance(base.get(key), list):
            base[key] = _joined_lists(base[key], value)
        else:
            base[key] = copy.deepcopy(value)
    return base


def _joined_lists(base: list[Any], over: list[Any]) -> list[Any]:
    if not all(isinstance(one, dict) and "name" in one for one in (*base, *over)):
        return over
    names = {one["name"]: one for one in base}
    for one in over:
        names[one["name"]] = _joined(dict(names.get(one["name"], {})), one)
    return list(names.values())


def _named(template: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    return list(template.get(key) or ())


def _cut(image: str, pull: str) -> dict[str, Any]:
    """Return the container that takes the pod's network away before the server starts."""
    return {
        "name": CUT,
        "image": image,
        "imagePullPolicy": pull,
        "command": ["/bin/sh", "-c", _CUT],
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi"},
            "limits": {"memory": "128Mi"},
        },
        "securityContext": {
            "runAsUser": 0,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
        },
    }


def _cpus(count: float) -> str:
    return f"{round(count * 1000)}m"
