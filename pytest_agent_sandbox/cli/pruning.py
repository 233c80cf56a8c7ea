"""What `agent-sandbox prune` asks and tells, whatever sandboxes run in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from pytest_agent_sandbox.cli.json_output import print_json
from pytest_agent_sandbox.errors import SandboxError, SettingsError


class Prunable(Protocol):
    """Something of ours that was found."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def kind(self) -> str:
        """What it is."""

    @property
    def use(self) -> str:
        """Who uses it: `kept`, `alive`, `dead` or `unknown`."""

    @property
    def labels(self) -> Mapping[str, str]:
        """What else it tells."""


Thing = TypeVar("Thing", bound=Prunable)


def prune_found(
    found: Sequence[Thing],
    names: Sequence[str],
    *,
    describe: Callable[[Thing], str],
    remove: Callable[[Thing], object],
    place: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> bool:
    """Print what there is; remove what was kept or left behind, or what is named.

    Args:
        found: All that there is.
        names: What to remove, and nothing else.
        describe: Tells what one is, in a line.
        remove: Removes one.
        place: Where they are, as "on this engine".
        dry_run: Remove nothing.
        yes: Remove it without asking.
        as_json: Print it for programs, which are not asked.

    Returns:
        Whether all went well.

    Raises:
        SettingsError: A name is unknown, or nobody can be asked.
    """
    _check_names(names, found)
    chosen = [one for one in found if (one.name in names if names else _is_nobodys(one))]
    if not as_json:
        for one in chosen if names else found:
            print(f"agent-sandbox: {describe(one)}")
        if not found:
            print(f"agent-sandbox: there are no sandboxes {place}")
    if dry_run or not chosen:
        problems: dict[str, str] | None = None
    elif not (yes or _confirmed(len(chosen), can_ask=not as_json)):
        return False
    else:
        problems = _remove(chosen, remove, is_told=not as_json)
    if as_json:
        gone = [] if problems is None else chosen
        print_json({"sandboxes": [_document(one, one in gone, problems or {}) for one in found]})
    return not problems


def _check_names(names: Sequence[str], found: Sequence[Prunable]) -> None:
    there = [one.name for one in found]
    unknown = [name for name in names if name not in there]
    if unknown:
        known = ", ".join(there) or "none at all"
        raise SettingsError(f"No sandbox is called {unknown[0]}; there are: {known}.")


def _is_nobodys(one: Prunable) -> bool:
    return one.use in ("kept", "dead")


def _confirmed(count: int, *, can_ask: bool) -> bool:
    what = "1 sandbox" if count == 1 else f"{count} sandboxes"
    if not (can_ask and sys.stdin.isatty()):
        raise SettingsError(f"This removes {what}: give --yes, or --dry-run to look only.")
    return input(f"Remove {what}? [y/N] ").strip().lower() in ("y", "yes")


def _remove(
    chosen: Sequence[Thing], remove: Callable[[Thing], object], *, is_told: bool
) -> dict[str, str]:
    """Remove them; return what went wrong, by their names."""
    problems: dict[str, str] = {}
    for one in chosen:
        try:
            remove(one)
        except SandboxError as error:
            problems[one.name] = str(error)
            print(f"agent-sandbox: {error}", file=sys.stderr)
        else:
            if is_told:
                print(f"agent-sandbox: removed {one.name}")
    return problems


def _document(one: Prunable, is_chosen: bool, problems: Mapping[str, str]) -> dict[str, object]:
    return {
        "name": one.name,
        "kind": one.kind,
        "use": one.use,
        "labels": dict(one.labels),
        "removed": is_chosen and one.name not in problems,
        "problem": problems.get(one.name, ""),
    }
