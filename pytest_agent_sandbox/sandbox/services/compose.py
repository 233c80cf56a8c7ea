"""Services from a compose file: the part of it that holds beside a sandbox."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.containers.sizes import size_in_bytes
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.sandbox.services.compose_values import Values
from pytest_agent_sandbox.sandbox.services.compose_yaml import Table, read_yaml
from pytest_agent_sandbox.sandbox.services.readiness import Ready
from pytest_agent_sandbox.sandbox.services.service import Service, check_name
from pytest_agent_sandbox.sandbox.services.variables import interpolate, read_variables

#: The keys of a service that are followed.
KEYS = (
    "image",
    "build",
    "environment",
    "env_file",
    "command",
    "entrypoint",
    "healthcheck",
    "depends_on",
    "ports",
    "expose",
    "volumes",
    "tmpfs",
    "user",
    "hostname",
    "platform",
    "mem_limit",
)
_TOP = ("services", "volumes", "name", "version")
#: What to do where one is used that is not.
_INSTEAD = {
    "networks": "leave it out: services reach one another by their names, and nothing else",
    "network_mode": "leave it out, or give the service in Python: Service(network=…)",
    "container_name": "leave it out: containers of tests that run side by side need names of "
    "their own",
    "restart": "leave it out: a service that ends is told as an error of the test",
    "links": "leave it out: services reach one another by their names",
    "extra_hosts": "leave it out: a service reaches no other hosts",
    "privileged": "leave it out: nothing beside a sandbox may do what this machine's root may",
    "secrets": "give them by environment, or in a volume",
    "configs": "give them by environment, or by an image that has them",
    "deploy": "leave it out; mem_limit limits the memory",
    "profiles": "leave it out, and give tests files of their own",
    "extends": "use anchors (<<: *name) of the same file",
    "include": "name each file: agent_services('a.yaml', 'b.yaml')",
}
_OTHERWISE = "leave it out, or give this service in Python: agent_services(name=Service(…))"
_NAMED = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
# Seconds that a service has at least; as of Service(start_timeout=…).
_SHORTEST_WAIT = 60.0
_INTERVAL, _RETRIES = 30.0, "3"  # where a health check does not say, in Compose


def read_compose(path: Path, environment: Mapping[str, str]) -> dict[str, Service]:
    """Return the services of a compose file, by their names.

    Args:
        path: The file.
        environment: Variables that it may name; a file `.env` beside it adds to them.

    Raises:
        SettingsError: It cannot be read or followed; the message names file, service and key.
    """
    beside = path.parent / ".env"
    variables = {
        **(read_variables(beside, environment) if beside.is_file() else {}),
        **environment,
    }
    document = read_yaml(path, partial(interpolate, variables=variables))
    top = Values(path, "compose file", document)
    for key in document:
        if key not in _TOP and not key.startswith("x-"):
            top.refuse(key, f"this is not supported; {_INSTEAD.get(key, _OTHERWISE)}")
    if not isinstance(document.get("services"), Table) or not document["services"]:
        raise SettingsError(f"{path}: there is no service: it needs `services:`")
    volumes = _volumes(top)
    services = {}
    for name in top.inner("services").table:
        _check_name(top.inner("services"), name)
        table = document["services"][name]
        if not isinstance(table, Table):
            top.inner("services").refuse(name, "this is no mapping")
        values = Values(path, f"service {name}", table)
        for key in table:
            if key not in KEYS and not key.startswith("x-"):
                values.refuse(key, f"this is not supported; {_INSTEAD.get(key, _OTHERWISE)}")
        services[name] = _service(name, values, volumes, variables)
    for name, service in services.items():
        for other in service.after:
            if other not in services:
                values = Values(path, f"service {name}", document["services"][name])
                values.refuse("depends_on", f"there is no service {other!r:.50} in this file")
    return services


def _check_name(services: Values, name: str) -> None:
    try:
        check_name(name)
    except SettingsError as error:
        services.refuse(name, str(error).partition(": ")[2])


def _volumes(top: Values) -> set[str]:
    """Return the names of volumes that the file declares."""
    if top.table.get("volumes") is None:
        return set()
    declared = top.inner("volumes")
    for name, settings in declared.table.items():
        if not _NAMED.fullmatch(name):
            declared.refuse(name, "this is no name of a volume")
        if settings is not None:
            # Its name on the engine is another in each start: nothing is left of it afterwards.
            declared.inner(name).only(
                ("name", "labels"), "this is not supported: each start has new, empty volumes"
            )
    return set(declared.table)


def _service(name: str, values: Values, volumes: set[str], variables: Mapping[str, str]) -> Service:
    table = values.table
    if table.get("image") is None and table.get("build") is None:
        raise SettingsError(f"{values.file}: {values.place}: it has neither image nor build")
    ready, start_timeout = _readiness(values)
    mounts, in_memory = _mounts(name, values, volumes)
    memory = values.text("mem_limit")
    try:
        size_in_bytes("mem_limit", memory)
        return Service(
            values.text("image") or "",
            env=dict(_environment(values, variables)),
            ports=list(dict.fromkeys([*values.ports("ports"), *values.ports("expose")])),
            ready=ready,
            command=values.words("command"),
            entrypoint=values.words("entrypoint"),
            build=_build(values, variables) if table.get("build") is not None else None,
            volumes=mounts,
            tmpfs=[*in_memory, *(_tmpfs(values, item) for item in values.texts("tmpfs"))],
            user=values.text("user"),
            hostname=values.text("hostname"),
            memory=memory,
            platform=values.text("platform"),
            after=_after(values),
            start_timeout=start_timeout,
        )
    except SettingsError as error:
        if str(error).startswith(str(values.file)):
            raise
        raise SettingsError(f"{values.file}: {values.place}: {error}") from None


def _environment(values: Values, variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for item in values.items("env_file"):
        file, is_required = item, True
        if isinstance(item, Table):
            long = Values(values.file, f"{values.place}: env_file", item)
            long.only(("path", "required"), "this is not supported")
            file = long.text("path") or ""
            is_required = "required" not in item or long.flag("required")
        path = values.file.parent / file
        if not path.is_file():
            if is_required:
                values.refuse("env_file", f"there is no file {file!r:.100}")
            continue
        yield from read_variables(path, variables).items()
    yield from _given(values.pairs("environment"), variables)


def _given(
    pairs: Mapping[str, str | None], variables: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield variables; those without a value have that of the environment, if any."""
    for name, value in pairs.items():
        if value is not None:
            yield name, value
        elif name in variables:
            yield name, variables[name]


def _build(values: Values, variables: Mapping[str, str]) -> dict[str, Any]:
    if isinstance(values.table["build"], str):
        return {"context": values.file.parent / values.table["build"]}
    build = values.inner("build")
    build.only(
        ("context", "dockerfile", "args", "target"),
        "this is not supported; build takes context, dockerfile, args and target",
    )
    return {
        "context": values.file.parent / (build.text("context") or "."),
        "dockerfile": build.text("dockerfile"),
        "args": dict(_given(build.pairs("args"), variables)),
        "target": build.text("target"),
    }


def _readiness(values: Values) -> tuple[Ready | None, float]:
    """Return when a service is ready, and how long that may take."""
    if values.table.get("healthcheck") is None:
        return None, _SHORTEST_WAIT
    check = values.inner("healthcheck")
    times = ("interval", "timeout", "start_period", "start_interval")
    check.only(("test", "disable", "retries", *times), "this is not supported")
    for key in times:
        check.seconds(key, 0.0)
    retries = check.text("retries") or _RETRIES
    if not re.fullmatch(r"\d{1,6}", retries):
        check.refuse("retries", f"{retries!r:.50} is no number")
    wait = _SHORTEST_WAIT
    if check.table.keys() & {"interval", "retries", "start_period"}:
        tries = int(retries) * check.seconds("interval", _INTERVAL)
        wait = max(wait, check.seconds("start_period", 0.0) + tries)
    test = check.table.get("test")
    words = [] if test is None else ["CMD-SHELL", test] if isinstance(test, str) else test
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        check.refuse("test", "this is no list of texts")
    if check.flag("disable") or words[:1] == ["NONE"]:
        is_reached = values.table.get("ports") or values.table.get("expose")
        return (Ready.port() if is_reached else Ready.started()), wait
    if not words:
        return None, wait
    if words[0] not in ("CMD", "CMD-SHELL") or len(words) == 1:
        check.refuse("test", 'it begins with "CMD", "CMD-SHELL" or "NONE", and the command follows')
    command = words[1:] if words[0] == "CMD" else " ".join(words[1:])
    return Ready.command(command), wait


def _after(values: Values) -> list[str]:
    if not isinstance(values.table.get("depends_on"), Table):
        return values.texts("depends_on")
    others = values.inner("depends_on")
    for name, settings in others.table.items():
        if settings is None:
            continue
        other = others.inner(name)
        other.only(("condition", "required"), "this is not supported")
        condition = other.text("condition") or "service_started"
        if condition not in ("service_started", "service_healthy"):
            other.refuse(
                "condition",
                f"{condition!r:.50} is not supported: a service that ends is an error. Have the "
                "image or the command of one that stays do the work",
            )
    return list(others.table)


def _mounts(name: str, values: Values, volumes: set[str]) -> tuple[list[str], list[str]]:
    """Return the mounts of volumes, and folders in memory."""
    mounts, in_memory = [], []
    for number, item in enumerate(values.items("volumes"), 1):
        own = f"{name}-{number}"
        if isinstance(item, str):
            source, _, target = item.partition(":") if ":" in item else (own, "", item)
            mode = ""
        else:
            long = Values(values.file, f"{values.place}: volumes", item)
            long.only(("type", "source", "target", "read_only", "tmpfs"), "this is not supported")
            kind, target = long.text("type") or "volume", long.text("target") or ""
            if kind == "tmpfs":
                size = long.inner("tmpfs").text("size") if "tmpfs" in item else None
                in_memory.append(_tmpfs(values, f"{target}:size={size}" if size else target))
                continue
            source = "./" if kind != "volume" else long.text("source") or own
            mode = ":ro" if long.flag("read_only") else ""
        if not _NAMED.fullmatch(source):
            values.refuse(
                "volumes",
                f"{item if isinstance(item, str) else target!r} mounts a folder of this machine, "
                "which is not supported: what an agent does there would stay. Use a named volume, "
                "or build an image that has the files",
            )
        if source != own and source not in volumes:
            values.refuse("volumes", f"{source!r:.50} is not among the file's `volumes:`")
        if not target.startswith("/"):
            values.refuse("volumes", f"{target!r:.50} is no folder such as /data")
        mounts.append(f"{source}:{target}{mode}")
    return mounts, in_memory


def _tmpfs(values: Values, written: str) -> str:
    folder, _, options = written.partition(":")
    sizes = [option for option in options.split(",") if option.startswith("size=")]
    for option in options.split(","):
        if option not in ("", "rw", "exec", "mode=1777", *sizes):
            values.refuse("tmpfs", f"the option {option!r:.50} is not supported; use size=…")
    if not folder.startswith("/"):
        values.refuse("tmpfs", f"{folder!r:.50} is no folder such as /data")
    return f"{folder}:{sizes[-1].removeprefix('size=')}" if sizes else folder
