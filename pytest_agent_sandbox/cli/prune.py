"""`agent-sandbox prune`: what is on the engine, and the end of what nobody uses."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from pytest_agent_sandbox.cli.json_output import print_json
from pytest_agent_sandbox.containers.cleanup import Found, find
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SandboxError, SettingsError
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
        found = find(engine)
        _check_names(names, found)
        chosen = [one for one in found if (one.name in names if names else _is_nobodys(one))]
        if not as_json:
            _show(chosen if names else found)
        if dry_run or not chosen:
            problems: dict[str, str] | None = None
        elif not (yes or _confirmed(len(chosen), can_ask=not as_json)):
            return False
        else:
            problems = _remove(engine, chosen, is_told=not as_json)
    if as_json:
        gone = [] if problems is None else chosen
        print_json({"sandboxes": [_document(one, one in gone, problems or {}) for one in found]})
    return not problems


def _check_names(names: Sequence[str], found: Sequence[Found]) -> None:
    there = [one.name for one in found]
    unknown = [name for name in names if name not in there]
    if unknown:
        known = ", ".join(there) or "none at all"
        raise SettingsError(f"No sandbox is called {unknown[0]}; there are: {known}.")


def _is_nobodys(one: Found) -> bool:
    return one.use in ("kept", "dead")


def _show(found: Sequence[Found]) -> None:
    if not found:
        print("agent-sandbox: there are no sandboxes on this engine")
    for one in found:
        print(f"agent-sandbox: {one.name}{' (network)' if one.is_network else ''}: {_why(one)}")


def _confirmed(count: int, *, can_ask: bool) -> bool:
    what = "1 sandbox" if count == 1 else f"{count} sandboxes"
    if not (can_ask and sys.stdin.isatty()):
        raise SettingsError(f"This removes {what}: give --yes, or --dry-run to look only.")
    return input(f"Remove {what}? [y/N] ").strip().lower() in ("y", "yes")


def _remove(engine: ContainerEngine, chosen: Sequence[Found], *, is_told: bool) -> dict[str, str]:
    """Remove them; return what went wrong, by their names."""
    problems: dict[str, str] = {}
    for one in chosen:
        try:
            one.remove(engine)
        except SandboxError as error:
            problems[one.name] = str(error)
            print(f"agent-sandbox: {error}", file=sys.stderr)
        else:
            if is_told:
                print(f"agent-sandbox: removed {one.name}")
    return problems


def _document(one: Found, is_chosen: bool, problems: Mapping[str, str]) -> dict[str, object]:
    return {
        "name": one.name,
        "kind": "network" if one.is_network else "container",
        "use": one.use,
        "labels": dict(one.labels),
        "removed": is_chosen and one.name not in problems,
        "problem": problems.get(one.name, ""),
    }


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
