"""Which engines there are: our own, and those that other distributions add."""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint, entry_points

from pytest_agent_sandbox.engines.engine import EngineContext, SandboxEngine
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.settings.engines import CLUSTER_ONLY
from pytest_agent_sandbox.settings.suggest import did_you_mean
from pytest_agent_sandbox.settings.table import SandboxSettings

#: The entry points by which other distributions add engines.
GROUP = "pytest_agent_sandbox.engines"
_DEFAULT, _REMOTE = "docker", "remote"
#: Our own, which nothing replaces: each loads on first use.
_OWN = {
    _DEFAULT: "pytest_agent_sandbox.engines.docker.engine:DockerEngine",
    "kubernetes": "pytest_agent_sandbox.engines.kubernetes.engine:KubernetesEngine",
    "process": "pytest_agent_sandbox.engines.process.engine:ProcessEngine",
    _REMOTE: "pytest_agent_sandbox.engines.remote.engine:RemoteEngine",
}


def make_engine(context: EngineContext) -> SandboxEngine:
    """Make the engine that the settings of a run choose.

    Raises:
        SettingsError: There is no such engine, it cannot be loaded, or a setting makes no sense
            with it.
    """
    return find_engine(context.settings)(context)


def check_engine(settings: SandboxSettings) -> None:
    """Check that there is the engine that settings choose, and that it can follow them.

    Docker, which follows all of them but a cluster's, is not loaded for that: this is called in
    every run with workers, also where no test asks for a sandbox.

    Raises:
        SettingsError: There is no such engine, or a setting makes no sense with it.
    """
    is_other = settings.engine != _DEFAULT or settings.url is not None
    if is_other or any(getattr(settings, name) is not None for name in CLUSTER_ONLY):
        find_engine(settings).check(settings)


def find_engine(settings: SandboxSettings) -> type[SandboxEngine]:
    """Return the class of the engine that settings choose; `url` chooses `remote`.

    Raises:
        SettingsError: There is no such engine, or it cannot be loaded.
    """
    if settings.url is not None and settings.engine not in (_DEFAULT, _REMOTE):
        raise SettingsError(
            f"--sandbox-url names a server that is running, and --sandbox-engine={settings.engine} "
            "starts some: leave one of both out."
        )
    if settings.url is None and settings.engine == _REMOTE:
        raise SettingsError(
            "--sandbox-engine=remote needs the address of the server that is running: give "
            "--sandbox-url=URL."
        )
    name = settings.engine if settings.url is None else _REMOTE
    if name in _OWN:
        module, _, attribute = _OWN[name].partition(":")
        found = getattr(importlib.import_module(module), attribute)
    else:
        found = _load(_find(name))
    if not (isinstance(found, type) and issubclass(found, SandboxEngine)):
        raise SettingsError(
            f"engine = {name}: {found!r} is no class that derives from "
            "pytest_agent_sandbox.engines.engine.SandboxEngine"
        )
    return found


def _find(name: str) -> EntryPoint:
    added = entry_points(group=GROUP)
    found = [point for point in added if point.name == name]
    if not found:
        known = sorted({*_OWN, *(point.name for point in added)})
        hint = f"{question} " if (question := did_you_mean(name, known)) else ""
        raise SettingsError(
            f"engine = {name}: there is no such engine. {hint}Known are {', '.join(known)}; other "
            f"distributions add engines by entry points of the group {GROUP}."
        )
    if len(found) > 1:
        raise SettingsError(
            f"engine = {name}: several distributions have an engine of this name: "
            f"{', '.join(map(_origin, found))}. Uninstall all but one."
        )
    return found[0]


def _load(point: EntryPoint) -> object:
    try:
        return point.load()
    except Exception as error:  # whatever its module raises
        raise SettingsError(
            f"engine = {point.name}: {_origin(point)} cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error


def _origin(point: EntryPoint) -> str:
    return f"{point.value} of {point.dist.name}" if point.dist is not None else point.value
