"""Where the sandboxes of a run come from: warm ones, used ones, new ones; and where they go."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Self

from pytest_agent_sandbox.containers.background import Background
from pytest_agent_sandbox.containers.engine import Engine
from pytest_agent_sandbox.containers.janitor import first_files, memory_options
from pytest_agent_sandbox.containers.pool import Pool, Wanted
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.planning import WORKING_DIR_LABEL, SandboxPlan
from pytest_agent_sandbox.recycling import SERVER_FOLDERS, Recycler, folders_in_memory
from pytest_agent_sandbox.sandboxes import Sandbox, User
from pytest_agent_sandbox.supply_statistics import SupplyStatistics

_log = logging.getLogger(__name__)

# What an idle agent server takes, and some more: 1.58 takes 310 MB.
_MEMORY_OF_ONE = 450_000_000
# The part of the engine's memory that sandboxes may take, used ones included.
_PART_OF_MEMORY = 0.5


def pool_size(engine: Engine, workers: int) -> int:
    """How many sandboxes each of the run's processes should have ready.

    As many as the engine has cores, for a start takes one for five seconds; shared among the
    processes, but at least one each, as far as the memory goes.

    Args:
        engine: The engine.
        workers: How many processes there are.

    Raises:
        EngineUnavailable: The engine did not answer.
    """
    with engine.calling("describe itself"):
        info: dict[str, Any] = engine.client.info()
    cores, memory = int(info.get("NCPU") or 1), int(info.get("MemTotal") or 0)
    by_memory = int(memory * _PART_OF_MEMORY / _MEMORY_OF_ONE) // workers - 1  # one is in use
    return max(0, min(max(1, cores // workers), by_memory))


class SandboxSupply:
    """The sandboxes of one pytest process: a `Supply` that starts ahead, uses again, and counts.

    Args:
        engine: The engine.
        size: How many to start ahead; also how many used ones may lie idle, but at least one.
        most_reuses: How often a recycled one is used again.
        clean_log: Masks secrets in the logs of those that nobody has yet.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        size: int,
        most_reuses: int,
        clean_log: Callable[[str], str],
    ) -> None:
        self.statistics = SupplyStatistics()
        self._engine = engine
        self._most_reuses = most_reuses
        self._clean_log = clean_log
        self._numbers = count(1)
        self._idle: list[Sandbox] = []
        self._most_idle = max(1, size)
        self._in_use: Counter[Hashable] = Counter()
        self._files: dict[Hashable, dict[str, bytes]] = {}
        self._files_lock = threading.Lock()
        self._closing = ExitStack()
        scratch = tempfile.TemporaryDirectory(prefix="agent-sandbox-", ignore_cleanup_errors=True)
        self.scratch = Path(self._closing.enter_context(scratch))
        self._background = self._closing.enter_context(Background())
        self._closing.callback(self._remove_idle)
        self._pool = self._closing.enter_context(
            Pool[Sandbox](size, is_good=_is_alive, discard=self._remove)
        )

    def prepare(self, plans: Sequence[SandboxPlan]) -> None:
        """Have sandboxes ready for the next tests, as far as there are to be any.

        Args:
            plans: Theirs, in order.
        """
        wanted: list[Wanted[Sandbox]] = []
        reusable = Counter(sandbox.plan.kind for sandbox in self._idle) + self._in_use
        for plan in plans:
            kind = plan.kind
            if plan.isolation != "fresh":
                if reusable[kind]:
                    continue
                reusable[kind] += 1
            wanted.append(Wanted(kind, self._starter(plan.for_anybody())))
        self._pool.prepare(wanted)

    def take(self, plan: SandboxPlan, user: User) -> Sandbox:
        """A sandbox that answers.

        Raises:
            SandboxError: There is none, and none can be started.
        """
        began = time.monotonic()
        sandbox, origin = self._find(plan, user)
        sandbox.uses += 1
        if plan.isolation != "fresh":
            self._in_use[plan.kind] += 1
        waited = time.monotonic() - began
        self.statistics.add(plan.test, origin, waited, sandbox.start_seconds)
        return sandbox

    def release(self, sandbox: Sandbox, *, wait: bool) -> None:
        """Take one back: used again, or removed.

        Raises:
            SandboxError: It is to be removed at once, and that failed.
        """
        plan = sandbox.plan
        if plan.isolation != "fresh":
            self._in_use[plan.kind] -= 1
            if not sandbox.container.is_kept and self._is_put_aside(sandbox):
                return
        self._remove(sandbox)
        if wait:
            sandbox.container.remove()

    def do_later(self, work: Callable[[], object]) -> None:
        """Have something done in the background, at the latest when this is closed."""
        self._background.do(work)

    def close(self) -> None:
        """Remove all that nobody uses.

        Raises:
            SandboxError: Something could not be removed.
        """
        self._closing.close()

    def _find(self, plan: SandboxPlan, user: User) -> tuple[Sandbox, str]:
        kind = plan.kind
        for sandbox in [one for one in self._idle if one.plan.kind == kind]:
            self._idle.remove(sandbox)
            if self._hand_over(sandbox, plan, user):
                return sandbox, "reused"
        is_ready = self._pool.is_ready(kind)
        while (warm := self._pool.take(kind)) is not None:
            if self._hand_over(warm, plan, user):
                return warm, "warm" if is_ready else "awaited"
        return self._started(plan, user), "started"

    def _hand_over(self, sandbox: Sandbox, plan: SandboxPlan, user: User) -> bool:
        """Whether it is its new user's; if it cannot be, it is done away with."""
        scratch_log = sandbox.container.log_path
        try:
            sandbox.hand_over(plan, user)
        except SandboxError:
            _log.debug("a sandbox could not be handed over", exc_info=True)
            self._remove(sandbox)
            return False
        scratch_log.unlink(missing_ok=True)
        return True

    def _starter(self, plan: SandboxPlan) -> Callable[[Callable[[], None]], Sandbox]:
        def start(check: Callable[[], None]) -> Sandbox:
            user = User(self._new_log(), clean_log=self._clean_log)
            return self._started(plan, user, dormant=plan.is_deferrable, check=check)

        return start

    def _started(
        self,
        plan: SandboxPlan,
        user: User,
        *,
        dormant: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> Sandbox:
        if plan.isolation != "recycled":
            return Sandbox.start(self._engine, plan, user, dormant=dormant, check=check)
        files = self._first_files(plan)
        sandbox = Sandbox.start(self._engine, _in_memory(plan, files), user, check=check)
        try:
            sandbox.plan = plan
            sandbox.recycler = Recycler(
                self._engine, sandbox.container, sandbox.address, sandbox.session_key, files
            )
        except BaseException:
            self._remove(sandbox)
            raise
        return sandbox

    def _first_files(self, plan: SandboxPlan) -> dict[str, bytes]:
        """What the image has in the folders that a recycled sandbox has in memory."""
        user, working_dir = plan.spec.user, plan.spec.labels[WORKING_DIR_LABEL]
        key = (plan.image.id, user, working_dir)
        with self._files_lock:
            if key not in self._files:
                folders = folders_in_memory(working_dir)
                self._files[key] = first_files(self._engine, plan.image.reference, folders, user)
            return self._files[key]

    def _why_not_again(self, sandbox: Sandbox) -> str:
        """Brings a sandbox back to its first state; why it cannot be used again, if it cannot."""
        if not _is_alive(sandbox):
            return "its container has ended"
        if sandbox.recycler is None:  # tests share it, and leave it as it is
            return ""
        if sandbox.uses > self._most_reuses:
            return f"reused {self._most_reuses} times"
        began = time.monotonic()
        try:
            if sandbox.container.is_paused:
                sandbox.container.unpause()
            problems = sandbox.recycler.reset()
        except SandboxError as error:
            return str(error).partition("\n")[0]
        self.statistics.resets.append(time.monotonic() - began)
        return problems[0] if problems else ""

    def _is_put_aside(self, sandbox: Sandbox) -> bool:
        """Whether a sandbox now waits for its next use."""
        reason = self._why_not_again(sandbox)
        if reason:
            self.statistics.thrown_away.append(reason)
            return False
        sandbox.container.move_log(self._new_log(), self._clean_log, with_past=False)
        self._idle.append(sandbox)
        for surplus in self._idle[: -self._most_idle]:
            self._idle.remove(surplus)
            self._remove(surplus)
        return True

    def _new_log(self) -> Path:
        return self.scratch / f"{next(self._numbers)}.log"

    def _remove_idle(self) -> None:
        while self._idle:
            self._remove(self._idle.pop())

    def _remove(self, sandbox: Sandbox) -> None:
        if sandbox.recycler is not None:
            sandbox.recycler.close()
        sandbox.container.let_go()
        self._background.do(sandbox.container.remove)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _in_memory(plan: SandboxPlan, files: Mapping[str, bytes]) -> SandboxPlan:
    """The plan with a read-only root file system, and the folders of these files in memory."""
    spec = replace(
        plan.spec,
        read_only=True,
        tmpfs={folder: memory_options(archive) for folder, archive in files.items()},
        environment={**plan.spec.environment, **SERVER_FOLDERS},
    )
    return replace(plan, spec=spec)


def _is_alive(sandbox: Sandbox) -> bool:
    try:
        sandbox.container.check()
    except SandboxError:
        return False
    return True
