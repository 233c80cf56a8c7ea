"""`agent-sandbox prune`: what is on the engine, and the end of what nobody uses."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pytest_agent_sandbox.containers.cleanup import Found, find
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SandboxError, SettingsError
from pytest_agent_sandbox.host.ownership import HOST, PID
from pytest_agent_sandbox.host.seldom import harmless

_LONGEST = 200


def prune(names: Sequence[str], *, dry_run: bool = False) -> bool:
    """Print what there is; remove what was kept or left behind, or what is named.

    Args:
        names: What to remove, and nothing else.
        dry_run: Remove nothing.

    Returns:
        Whether all went well.

    Raises:
        SettingsError: A name is unknown.
        EngineUnavailable: No engine answers.
    """
    with ContainerEngine.connect() as engine:
        found = find(engine)
        there = [one.name for one in found]
        unknown = [name for name in names if name not in there]
        if unknown:
            known = ", ".join(there) or "none at all"
            raise SettingsError(f"No sandbox is called {unknown[0]}; there are: {known}.")
        if not found:
            print("agent-sandbox: there are no sandboxes on this engine")
        ended = [_prune(engine, one, names, dry_run=dry_run) for one in found]
    return all(ended)


def _prune(engine: ContainerEngine, one: Found, names: Sequence[str], *, dry_run: bool) -> bool:
    """Show one, and remove it if it is to go; return False where that failed."""
    goes = one.name in names if names else one.use in ("kept", "dead")
    if dry_run or not goes:
        if not names or goes:
            print(f"agent-sandbox: {one.name}{' (network)' if one.is_network else ''}: {_why(one)}")
        return True
    try:
        one.remove(engine)
    except SandboxError as error:
        print(f"agent-sandbox: {error}", file=sys.stderr)
        return False
    print(f"agent-sandbox: removed {one.name}: {_why(one)}")
    return True


def _why(one: Found) -> str:
    # Somebody else may have written them, for this terminal.
    labels = {name: harmless(value, _LONGEST) for name, value in one.labels.items()}
    owner = f"process {labels.get(PID, '?')} on {labels.get(HOST, '?')}"
    test = labels.get("test") or "a program"
    since = f"started {labels['started']}" if "started" in labels else "of an earlier release"
    use = {
        "kept": "kept to be looked into",
        "alive": f"in use by {owner}",
        "dead": f"left behind by {owner}, which has ended",
        "unknown": f"of {owner}, which cannot be seen from here; name it to remove it",
    }[one.use]
    return f"{use}; of {test}, {since}"
