"""Starting sandboxes, those included that can write to memory only."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import NamedTuple

from pytest_agent_sandbox.containers.accounts import Account, folders_of, handed_over
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.foreign_folders import with_foreign_apart
from pytest_agent_sandbox.containers.host_files import folders_above, joined
from pytest_agent_sandbox.containers.image_files import find_account, first_files, open_image
from pytest_agent_sandbox.containers.janitor import Janitor, by_owner, memory_options
from pytest_agent_sandbox.containers.template import Launch
from pytest_agent_sandbox.engines.docker.plan import USER_LABEL, WORKING_DIR_LABEL, DockerPlan
from pytest_agent_sandbox.engines.docker.sandbox import DockerSandbox, start_sandbox
from pytest_agent_sandbox.engines.docker.server import forked_server
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.sandbox.recycle import (
    SERVER_FOLDER,
    SERVER_FOLDERS,
    FirstState,
    folders_in_memory,
)
from pytest_agent_sandbox.sandbox.sandbox import User


class _Accounts(NamedTuple):
    old: Account
    new: Account


class SandboxStarter:
    """Starts sandboxes on one engine; it looks into each image once."""

    def __init__(self, engine: ContainerEngine) -> None:
        self._engine = engine
        self._files: dict[Hashable, dict[str, bytes]] = {}
        self._known: dict[Hashable, Account] = {}
        self._lock = threading.Lock()

    def start(
        self,
        plan: DockerPlan,
        user: User,
        *,
        dormant: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> DockerSandbox:
        """Start one until its server answers.

        The arguments are those of `start_sandbox`.

        Raises:
            SandboxStartFailed: The container did not start, or its server never answered.
            SandboxError: Whatever else keeps it from starting.
        """
        plan = self._with_owned_memory(plan)
        accounts = self._accounts(plan)
        copies = self._copies(plan)
        begun, files = plan, self._first_files(plan) if plan.is_in_memory else {}
        if accounts is not None:
            begun = _with_folders(plan, accounts.new)
            files = {
                folder: handed_over(files[folder], accounts.old, accounts.new) for folder in files
            }
            files.setdefault(begun.spec.environment["HOME"], b"")
        if plan.is_in_memory:
            begun = _in_memory(begun, files)
        if copies:
            own = begun.spec.files if accounts is not None else b""
            begun = replace(begun, spec=replace(begun.spec, files=joined(own, copies)))
        launch, state = self._launch(begun), None
        if plan.isolation == "recycled":
            state = FirstState(files=files, volumes=begun.spec.volume_targets())
        if launch is not None:
            begun = _launched(begun, launch)
        sandbox = start_sandbox(
            self._engine, begun, user, dormant=dormant, check=check, launch=launch, state=state
        )
        sandbox.plan = plan
        if not plan.is_in_memory or state is not None:
            return sandbox
        try:
            self._fill(sandbox, files)
        except BaseException:
            sandbox.close()
            sandbox.container.remove()
            raise
        return sandbox

    def _fill(self, sandbox: DockerSandbox, files: Mapping[str, bytes]) -> None:
        """Put the image's files into the folders in memory."""
        self._check_user(sandbox)
        # Nobody in it has a capability, root neither: each user's files are that user's to make.
        for owner, mine in by_owner(files).items():
            janitor = Janitor(sandbox.container, user=owner)
            try:
                janitor.restore(mine)
            finally:
                janitor.close()

    def _launch(self, plan: DockerPlan) -> Launch | None:
        """Return how a sandbox's servers are started; None where its image can start but one."""
        image = plan.image
        server = forked_server(image)
        if plan.isolation != "recycled":
            # What starts beside a server is not ours to start.
            if not server.python or plan.has_services:
                return None
            return Launch(server=server, is_quiet=plan.is_quiet)
        user = plan.spec.user or image.user
        return Launch(
            server=server,
            account=self._account(plan, user),
            has_groups=":" not in user,
            gains=plan.security == "sudo",
            is_quiet=plan.is_quiet,
        )

    def _check_user(self, sandbox: DockerSandbox) -> None:
        """Raise `SettingsError` where a user's name, which is not root's, means root after all."""
        api, container = self._engine.client.api, sandbox.container
        with self._engine.calling(f"ask who {container.name} is"):
            asking = api.exec_create(container.id, ["id", "-u"])["Id"]
            number = api.exec_start(asking).decode(errors="replace").strip()
        if not number.isdigit() or int(number) == 0:
            raise SettingsError(
                "user: security = strict wants a user other than root; this one's number is "
                f"{number!r:.80}"
            )

    def _accounts(self, plan: DockerPlan) -> _Accounts | None:
        """Whose the image's folders are, and whose they are to be; None where that is the same."""
        if plan.spec.user is None:
            return None
        found = _Accounts(
            *(self._account(plan, user) for user in (plan.image.user, plan.spec.user))
        )
        return None if found.old.number == found.new.number else found

    def _account(self, plan: DockerPlan, user: str) -> Account:
        """Return who a user is in a plan's image."""
        key = (plan.image.id, user)
        with self._lock:
            if key not in self._known:
                self._known[key] = find_account(self._engine, plan.image.reference, user)
            return self._known[key]

    def _copies(self, plan: DockerPlan) -> bytes:
        """Return the plan's files of this machine as its user's, with the folders they lack."""
        if not plan.spec.files:
            return b""
        image = plan.image
        account = self._account(plan, plan.spec.user or image.user)
        with open_image(self._engine, image.reference) as inside:
            lacking = [name for name in folders_above(plan.spec.files) if not inside.has(name)]
        root = Account(0, 0, "")
        return joined(folders_of(account, lacking), handed_over(plan.spec.files, root, account))

    def _with_owned_memory(self, plan: DockerPlan) -> DockerPlan:
        """Return the plan with its folders in memory as its user's: the image may have them."""
        if not plan.spec.tmpfs:
            return plan
        account = self._account(plan, plan.spec.user or plan.image.user)
        owner = f"uid={account.number},gid={account.group}"
        tmpfs = {folder: f"{options},{owner}" for folder, options in plan.spec.tmpfs.items()}
        return replace(plan, spec=replace(plan.spec, tmpfs=tmpfs))

    def _first_files(self, plan: DockerPlan) -> dict[str, bytes]:
        """Return what the image has in the folders that the sandbox has in memory."""
        user, working_dir = plan.spec.user, plan.spec.labels[WORKING_DIR_LABEL]
        mounted = tuple(plan.spec.volume_targets())
        key = (plan.image.id, user, working_dir, mounted)
        with self._lock:
            if key not in self._files:
                folders = folders_in_memory(working_dir)
                self._files[key] = first_files(
                    self._engine, plan.image.reference, folders, user, mounted
                )
            files = self._files[key]
        # What cleans has the capabilities to give each folder its owner.
        return files if plan.isolation == "recycled" else with_foreign_apart(files)


class FreshSupply:
    """Starts each sandbox when it is asked for, and removes it after its use: a `Supply`."""

    def __init__(self, engine: ContainerEngine) -> None:
        self._starter = SandboxStarter(engine)

    def take(self, plan: DockerPlan, user: User) -> DockerSandbox:
        """Start one."""
        return self._starter.start(plan, user)

    def release(self, sandbox: DockerSandbox, *, wait: bool) -> None:  # noqa: ARG002 - it always waits
        """Remove one."""
        sandbox.close()
        sandbox.container.remove()


def _with_folders(plan: DockerPlan, account: Account) -> DockerPlan:
    """Return the plan with the folders a server needs, for a user the image does not expect."""
    home = account.home
    if home not in ("/root", f"/home/{posixpath.basename(home)}"):  # /nonexistent, and the like
        home = f"/home/{account.number}"
    mounted = plan.spec.volume_targets()
    folders = [
        folder
        for folder in (SERVER_FOLDER, plan.spec.labels[WORKING_DIR_LABEL], home)
        # What is mounted belongs to whom it belongs to on its machine.
        if not any(posixpath.commonpath([folder, target]) == target for target in mounted)
    ]
    spec = replace(
        plan.spec,
        # The user's own shell may be one that lets nobody in, and tmux goes by it.
        environment={"HOME": home, "SHELL": "/bin/bash", **plan.spec.environment},
        files=b"" if plan.is_in_memory else folders_of(account, folders),
    )
    return replace(plan, spec=spec)


def _launched(plan: DockerPlan, launch: Launch) -> DockerPlan:
    """Return the plan with a first process that starts its servers."""
    user, environment, labels = plan.spec.user, plan.spec.environment, dict(plan.spec.labels)
    if launch.account is not None:
        user = "0"
        labels[USER_LABEL] = f"{launch.account.number}:{launch.account.group}"
        if "HOME" not in plan.image.environment:  # the engine would take root's
            environment = {"HOME": launch.account.home or "/", **environment}
    spec = replace(
        plan.spec,
        user=user,
        entrypoint=launch.server.entrypoint,
        command=(),
        environment=environment,
        labels=labels,
    )
    return replace(plan, spec=spec)


def _in_memory(plan: DockerPlan, files: Mapping[str, bytes]) -> DockerPlan:
    """Return the plan with a read-only root file system, and the files' folders in memory."""

    def options(folder: str) -> str:
        asked = plan.spec.tmpfs.get(folder)  # a size, say; the owner is that of the image
        return ",".join(filter(None, [asked, memory_options(files[folder])]))

    spec = replace(
        plan.spec,
        read_only=True,
        tmpfs=dict(plan.spec.tmpfs) | {folder: options(folder) for folder in files},
        environment={**plan.spec.environment, **SERVER_FOLDERS},
    )
    return replace(plan, spec=spec)
