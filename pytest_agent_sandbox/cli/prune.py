"""`agent-sandbox prune`: what is on the engine, and the end of what nobody uses."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_agent_sandbox.cli.pruning import prune_found
from pytest_agent_sandbox.containers.cleanup import Found, find
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.host.ownership import HOST, PID
from pytest_agent_sandbox.host.seldom import harmless

_LONGEST = 200


def prune(
    names: Sequence[str], *, dry_run: bool = False, yes: bool = False, as_json: bool = False
) -> bool:
    """Print what there is; remove what was kept or left behind, or what is named.

    Args:
        names: What to remove, and nothing else.
        dry_run: Remove nothing.
        yes: Remove it without asking.
        as_json: Print it for programs, which are not asked.

    Returns:
        Whether all went well.

    Raises:
        SettingsError: A name is unknown, or nobody can be asked.
        EngineUnavailable: No engine answers.
    """
    with ContainerEngine.connect() as engine:
        return prune_found(
            find(engine),
            names,
            describe=_describe,
            remove=lambda one: one.remove(engine),
            place="on this engine",
            dry_run=dry_run,
            yes=yes,
            as_json=as_json,
        )


def _describe(one: Found) -> str:
    kind = "" if one.kind == "container" else f" ({one.kind})"
    return f"{one.name}{kind}: {_why(one)}"


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
    service = f"service {labels['service']}, " if "service" in labels else ""
    return f"{service}{use}; of {test}, {since}"
