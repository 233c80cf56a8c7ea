"""The sandboxes that the processes of a run have, and who waits for room: one small file."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from filelock import FileLock

from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.ownership import Owner, forget, owner_state

#: What a sandbox can be: of a test, of nobody, or on its way out.
USED, SPARE, LEAVING = "used", "spare", "leaving"

# Seconds in which room that was given up comes to whoever waits for it.
_SETTLED = 3.0


@dataclass
class Wait:
    """A wait for room.

    Attributes:
        token: Its name.
        since: When it began.
        is_elsewhere: Whether it is not for a seat, but for room that the engine lacks.
        is_certain: Whether nobody but who waits could give back what its process holds.
    """

    token: str
    since: float
    is_elsewhere: bool = False
    is_certain: bool = False


@dataclass
class _Account:
    """The sandboxes of one process, and its waits."""

    labels: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: {USED: 0, SPARE: 0, LEAVING: 0})
    waits: dict[str, Wait] = field(default_factory=dict)
    #: When spare ones were given up.
    given_up: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, fields: dict[str, object]) -> _Account:
        """Return what the file tells."""
        account = cls(**fields)  # type: ignore[arg-type]
        account.waits = {
            token: Wait(**told)  # type: ignore[arg-type]
            for token, told in account.waits.items()
        }
        return account

    @property
    def seeks(self) -> list[Wait]:
        """The waits that are for a seat."""
        return [wait for wait in self.waits.values() if not wait.is_elsewhere]


class Accounts:
    """All accounts of a run, while nobody else changes them."""

    def __init__(self, accounts: dict[str, _Account], own: _Account) -> None:
        self._accounts = accounts
        self._own = own

    @property
    def waits(self) -> list[Wait]:
        """All waits for room."""
        return [wait for one in self._accounts.values() for wait in one.waits.values()]

    @property
    def held(self) -> int:
        """How many sandboxes there are."""
        return sum(sum(one.counts.values()) for one in self._accounts.values())

    @property
    def own_used(self) -> int:
        """How many sandboxes tests of this process use."""
        return self._own.counts[USED]

    def has_room(self, most: int | None, wait: Wait | None = None) -> bool:
        """Tell whether there is room for one more, past those who have waited longer."""
        if most is None or (most > self.held and not self._before(wait)):
            return True
        self._drop_dead()
        return most > self.held + len(self._before(wait))

    def deadlock(self, most: int | None, wait: Wait) -> Literal["", "possible", "certain"]:
        """Tell whether all sandboxes are in use by processes that wait for another one.

        Told to one of them only: to who came last of those who hold any.
        """
        waiting = [one for one in self._accounts.values() if one.counts[USED] and one.seeks]
        if most is None or sum(one.counts[USED] for one in waiting) < most:
            return ""
        last = max((w for one in waiting for w in one.seeks), key=lambda w: (w.since, w.token))
        if last.token != wait.token:
            return ""
        is_certain = all(any(w.is_certain for w in one.seeks) for one in waiting)
        return "certain" if is_certain else "possible"

    def asks_for_spare(self, most: int | None) -> bool:
        """Tell whether this process should give up a spare sandbox, for who has no room."""
        if not self._own.counts[SPARE]:
            return False
        free = 0 if most is None else max(0, most - self.held)
        lacking = sum(1 for wait in self.waits if wait.is_elsewhere)
        lacking += max(0, len(self.waits) - lacking - free)
        return lacking > self._coming()

    def note(self, wait: Wait) -> None:
        """Note a wait of this process."""
        self._own.waits[wait.token] = wait

    def forget(self, wait: Wait) -> None:
        """Note that a wait of this process is over."""
        self._own.waits.pop(wait.token, None)

    def move(self, old: str, new: str) -> None:
        """Note that a sandbox of this process is no more one thing but another; "" is none."""
        if old:
            self._own.counts[old] -= 1
        if new:
            self._own.counts[new] += 1
        if old == SPARE and new == LEAVING:
            self._own.given_up.append(time.time())

    def _before(self, wait: Wait | None) -> list[Wait]:
        return [
            one
            for one in self.waits
            if not one.is_elsewhere
            and (wait is None or (one.since, one.token) < (wait.since, wait.token))
        ]

    def _coming(self) -> int:
        """Return how much room was given up a moment ago."""
        limit = time.time() - _SETTLED
        self._own.given_up = [when for when in self._own.given_up if when > limit]
        return sum(when > limit for one in self._accounts.values() for when in one.given_up)

    def _drop_dead(self) -> None:
        """Drop the accounts of processes that were killed."""
        for name, account in list(self._accounts.items()):
            if account is not self._own and owner_state(account.labels) == "dead":
                del self._accounts[name]
                forget(name)


class AccountsOfRun(Closing):
    """Lets one process or thread at a time see and change the accounts of a run.

    Args:
        file: Where they are; a lock is put beside it. None for a process that is alone.

    Raises:
        SandboxError: The folder of locks cannot be used.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._threads = threading.RLock()
        self._owner = None if file is None else Owner()
        self._lock = nullcontext() if file is None else FileLock(f"{file}.lock")
        self._alone = _Account()
        self._is_closed = False

    @contextmanager
    def changing(self) -> Iterator[Accounts]:
        """Give the accounts; they are written in the end."""
        with self._threads:
            if self._file is None or self._owner is None or self._is_closed:
                yield Accounts({"": self._alone}, self._alone)
                return
            with self._lock:
                accounts = self._read(self._file)
                own = accounts.setdefault(self._owner.id, _Account(dict(self._owner.labels)))
                before = self._text(accounts)
                yield Accounts(accounts, own)
                after = self._text(accounts)
                if after != before:
                    self._write(self._file, after)

    def close(self) -> None:
        """Drop the account of this process."""
        with self._threads:
            if self._owner is None or self._file is None or self._is_closed:
                return
            with self._lock:
                accounts = self._read(self._file)
                accounts.pop(self._owner.id, None)
                self._write(self._file, self._text(accounts))
            self._is_closed = True
            self._owner.close()

    def _read(self, file: Path) -> dict[str, _Account]:
        try:
            told = json.loads(file.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return {name: _Account.of(fields) for name, fields in told.items()}

    def _text(self, accounts: dict[str, _Account]) -> str:
        return json.dumps({name: asdict(account) for name, account in accounts.items()})

    def _write(self, file: Path, text: str) -> None:
        # Whole or not at all: a process may be killed at any time.
        written = file.with_name(f"{file.name}.new")
        written.write_text(text, encoding="utf-8")
        written.replace(file)
