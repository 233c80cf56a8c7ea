"""Budgets: what may be spent on LLM calls, by one test or by a whole run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from pytest_agent_sandbox.errors import BudgetExceeded

if TYPE_CHECKING:
    from pytest_agent_sandbox.llm.calls import LLMCall


@dataclass(frozen=True)
class Limits:
    """The limits of a budget; None is no limit."""

    #: In US dollars.
    cost: float | None = None
    tokens: int | None = None
    calls: int | None = None

    @property
    def any(self) -> bool:
        """True if there is a limit at all."""
        return (self.cost, self.tokens, self.calls) != (None, None, None)


@dataclass(frozen=True)
class Spent:
    """The amounts spent so far."""

    cost: float = 0.0
    tokens: int = 0
    calls: int = 0
    #: The model of a call whose cost is not known; empty if all are known.
    unpriced: str = ""
    #: The model of a call that did not say how many tokens it took; empty if all did.
    uncounted: str = ""

    def __str__(self) -> str:
        calls = "1 call" if self.calls == 1 else f"{self.calls} calls"
        said = [calls, f"{self.tokens:,} tokens"]
        if self.cost or self.unpriced:
            unknown = ["calls of unknown cost"] if self.unpriced else []
            said.append(" and ".join([*([f"${self.cost:.4f}"] if self.cost else []), *unknown]))
        return ", ".join(said)


class Ledger:
    """The amounts spent, kept in memory."""

    def __init__(self) -> None:
        self._spent = Spent()

    def change(self, change: Callable[[Spent], Spent]) -> None:
        """Replace the amounts by those that a function makes of them."""
        self._spent = change(self._spent)


class SharedLedger(Ledger):
    """The amounts spent, kept in a file that several processes share.

    Args:
        file: The file, which need not exist yet; a lock is put beside it.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file
        self._lock = FileLock(f"{file}.lock")

    def read(self) -> Spent:
        """Return what all processes have spent so far."""
        with self._lock:
            return self._read()

    def change(self, change: Callable[[Spent], Spent]) -> None:
        """Replace the amounts as `Ledger` does, while no other process can."""
        with self._lock:
            # Whole or not at all: a process may be killed at any time.
            written = self._file.with_name(f"{self._file.name}.new")
            written.write_text(json.dumps(asdict(change(self._read()))), encoding="utf-8")
            written.replace(self._file)

    def remove(self) -> None:
        """Delete the file and those beside it."""
        for suffix in ("", ".lock", ".new"):
            self._file.with_name(f"{self._file.name}{suffix}").unlink(missing_ok=True)

    def _read(self) -> Spent:
        try:
            return Spent(**json.loads(self._file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return Spent()


class Budget:
    """A budget for LLM calls. All but `check` is for the gateway's event loop.

    Args:
        whose: Whose budget it is, for the message: "test" or "run".
        limits: The limits.
        ledger: Keeps the amounts spent.
    """

    def __init__(self, whose: str, limits: Limits, ledger: Ledger | None = None) -> None:
        self._whose = whose
        self._limits = limits
        self._ledger = ledger or Ledger()
        self._failure: BudgetExceeded | None = None

    def take_call(self) -> str:
        """Count one more call, or return why it has to be refused; empty if it was counted."""
        if not self._limits.any:
            return ""
        problem = ""

        def take(spent: Spent) -> Spent:
            nonlocal problem
            problem = self._problem(spent)
            return spent if problem else replace(spent, calls=spent.calls + 1)

        self._ledger.change(take)  # looked up and counted in one: there are other processes
        if problem and self._failure is None:
            self._failure = BudgetExceeded(problem)
        return problem

    def book(self, call: LLMCall, *, is_complete: bool = True) -> None:
        """Add what a call has cost, as far as that is known.

        Args:
            call: The call.
            is_complete: Whether its answer is complete. An answer that broke off does not say what
                it cost, and that is no reason to refuse all later calls.
        """
        if not self._limits.any:
            return
        usage, cost = call.usage, call.cost
        model = call.model or "?"
        self._ledger.change(
            lambda spent: replace(
                spent,
                cost=spent.cost + (cost or 0.0),
                tokens=spent.tokens + (usage.total_tokens if usage else 0),
                unpriced=spent.unpriced or (model if is_complete and cost is None else ""),
                uncounted=spent.uncounted or (model if is_complete and usage is None else ""),
            )
        )

    def check(self) -> None:
        """Raise if a call was refused.

        Raises:
            BudgetExceeded: A call was refused because the budget was used up.
        """
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    def _problem(self, spent: Spent) -> str:
        limits = self._limits
        for name, limit, used in (
            ("cost", limits.cost, spent.cost),
            ("tokens", limits.tokens, spent.tokens),
            ("calls", limits.calls, spent.calls),
        ):
            if limit is not None and used >= limit:
                allowed = f"${limit:g}" if name == "cost" else f"{limit:,}"
                return (
                    f"The {self._whose}'s budget llm_max_{name} = {allowed} is used up ({spent}): "
                    "the agent's next LLM call was refused."
                )
        for name, limit in (("cost", limits.cost), ("tokens", limits.tokens)):
            if limit is not None and spent.uncounted:
                return (
                    f"The {self._whose}'s budget llm_max_{name} = {limit:,} cannot be kept: the "
                    f"provider did not say how many tokens a call of {spent.uncounted!r} took. "
                    "Where the agent streams, have it ask for the usage."
                )
        if limits.cost is not None and spent.unpriced:
            return (
                f"The {self._whose}'s budget llm_max_cost = ${limits.cost:g} cannot be kept: what "
                f"calls of {spent.unpriced!r} cost is not known. Add its price to the file that "
                "llm_prices names."
            )
        return ""
