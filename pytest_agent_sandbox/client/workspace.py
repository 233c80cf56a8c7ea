"""The workspace of an agent server: its files, its commands, its version control."""

from __future__ import annotations

import importlib
import time
from contextlib import suppress
from functools import cached_property
from http import HTTPStatus
from typing import Any

import httpx
from pydantic import SecretStr

from pytest_agent_sandbox.client.answers import an_object
from pytest_agent_sandbox.client.asynchronous import AwaitableClosing, InThread
from pytest_agent_sandbox.client.resources.server import AgentServer
from pytest_agent_sandbox.client.transport import Guard, ServerConnection
from pytest_agent_sandbox.client.upstream_names import UpstreamNames
from pytest_agent_sandbox.client.workspace_git import WorkspaceGit
from pytest_agent_sandbox.client.workspace_repositories import WorkspaceRepositories
from pytest_agent_sandbox.errors import SandboxError, SandboxStartFailed, ServerError, SettingsError

# Seconds for the server to say that it is ready, before it is asked again.
_PROBE_TIMEOUT = 5.0
# Seconds for the server to say what it is, and to delete a conversation.
_INFO_TIMEOUT = 60.0
_FORGET_TIMEOUT = 10.0


class RemoteWorkspace(WorkspaceRepositories, WorkspaceGit, UpstreamNames, AwaitableClosing):
    """The workspace of a running agent server, wherever it runs.

    Example:
        ```python
        with RemoteWorkspace("http://127.0.0.1:8000", api_key) as workspace:
            workspace.write_text("notes.txt", "hello")
            assert workspace.execute_command("cat notes.txt").stdout == "hello"
        ```

    Args:
        host: Address of the agent server.
        api_key: Its session key; None for a server without authentication.
        working_dir: Folder in the sandbox that relative paths start from and commands run in. It
            is made when something is first written to it, or run in it.
        read_timeout: Seconds of silence after which a request is given up.
        guard: Raises the reason once waiting for the server has become pointless.
        explain_silence: As `ServerConnection` takes it.

    Raises:
        SettingsError: `working_dir` is no absolute path.
    """

    #: Whether there is a desktop, on which an agent's browser then shows.
    has_desktop = False

    def __init__(
        self,
        host: str,
        api_key: SecretStr | str | None = None,
        working_dir: str = "/workspace/project",
        *,
        read_timeout: float = 600.0,
        guard: Guard | None = None,
        explain_silence: Guard | None = None,
    ) -> None:
        if not working_dir.startswith("/"):
            raise SettingsError(f"working_dir must be an absolute path, not {working_dir!r}")
        self.working_dir = working_dir
        self.connection = ServerConnection(
            host,
            api_key,
            guard=guard,
            explain_silence=explain_silence,
            read_timeout=read_timeout,
        )

    @property
    def host(self) -> str:
        """Address of the server."""
        return self.connection.host

    @property
    def api_key(self) -> SecretStr | None:
        """The server's session key."""
        return self.connection.api_key

    @cached_property
    def server(self) -> AgentServer:
        """What the server keeps: settings, secrets, profiles, skills, conversations and so on."""
        return AgentServer(self.connection, self._learn_secret)

    def _learn_secret(self, value: str) -> None:
        if self.on_secret is not None:
            self.on_secret(value)

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Wait until the server answers.

        Args:
            timeout: Seconds.

        Raises:
            SandboxStartFailed: It did not answer in time.
            SandboxError: Whatever the guard knows to be the cause.
        """
        deadline = time.monotonic() + timeout
        while True:
            problem = self._probe("/ready", deadline)
            if problem is not None and problem.status == HTTPStatus.NOT_FOUND:
                # Agent servers before 1.11 have another name for it.
                problem = self._probe("/health", deadline)
            if problem is None:
                return
            if time.monotonic() >= deadline:
                raise SandboxStartFailed(
                    f"The agent server at {self.host} was not ready within {timeout:g} s: "
                    f"{problem} Where it is only slow, give it longer by "
                    "--sandbox-start-timeout=SECONDS."
                )
            time.sleep(0.02)

    def _probe(self, path: str, deadline: float) -> ServerError | None:
        patience = min(deadline - time.monotonic(), _PROBE_TIMEOUT)
        return self.connection.probe(path, timeout=max(0.1, patience))

    def alive(self, *, timeout: float = 2.0) -> bool:
        """Return whether the server answers right now.

        Args:
            timeout: Seconds for it to answer.
        """
        try:
            return self.connection.probe("/alive", timeout=timeout) is None
        except SandboxError:  # the guard's
            return False

    def log_tail(self, lines: int = 50) -> str:  # noqa: ARG002 - for those that have the log
        """Return the last lines of the server's log; none where it is out of reach."""
        return ""

    def server_info(self, *, timeout: float = _INFO_TIMEOUT) -> dict[str, Any]:
        """Return what the server says about itself: `version`, `usable_tools` and more.

        Args:
            timeout: Seconds for it to answer.
        """
        with self.connection.time.within(timeout):
            return an_object(self.connection.get_json("/server_info"), "/server_info")

    def forget(self, conversation_id: str, *, timeout: float = _FORGET_TIMEOUT) -> None:
        """Have the server delete a conversation, and end its terminal; as far as it can.

        A server that goes on serves others, and each conversation that it knows takes processes.

        Args:
            conversation_id: The conversation.
            timeout: Seconds for it to answer.
        """
        with suppress(SandboxError):
            path = f"/api/conversations/{conversation_id}"
            self.connection.request("DELETE", path, timeout=timeout)

    def as_openhands(self) -> Any:
        """Return this workspace as one of openhands-sdk, for its own `Conversation`.

        Example:
            ```python
            from openhands.sdk import LLM, Conversation
            from openhands.tools.preset.default import get_default_agent

            endpoint = agent_llm.endpoint(agent_workspace)
            llm = LLM(model=endpoint.model, base_url=endpoint.base_url, api_key=endpoint.api_key)
            agent = get_default_agent(llm=llm, cli_mode=True)
            conversation = Conversation(agent=agent, workspace=agent_workspace.as_openhands())
            ```

        Both talk to the same server. This one's `close` ends it for both.

        Returns:
            A `RemoteWorkspace` of the openhands-sdk that is installed here, tried with 1.58.

        Raises:
            SettingsError: It is not installed.
        """
        try:
            sdk = importlib.import_module("openhands.sdk.workspace")
        except ImportError as error:
            raise SettingsError(
                "as_openhands() needs openhands-sdk, and Python 3.12 or later: "
                f"pip install openhands-sdk openhands-tools ({error})"
            ) from error
        key = self.api_key
        return sdk.RemoteWorkspace(
            host=self.host,
            api_key=key.get_secret_value() if key is not None else None,
            working_dir=self.working_dir,
        )

    def close(self) -> None:
        """Close the connections to the server, which goes on running. May be called twice."""
        self.connection.close()

    def __repr__(self) -> str:
        address = str(httpx.URL(self.host).copy_with(userinfo=b""))
        return f"<{type(self).__name__} {self.working_dir} at {address}>"

    # Their awaitable forms.
    await_until_ready = InThread(wait_until_ready)
    alog_tail = InThread(log_tail)
    aalive = InThread(alive)
    aserver_info = InThread(server_info)
    aforget = InThread(forget)
