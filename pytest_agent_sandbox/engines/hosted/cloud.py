"""Agent servers that OpenHands Cloud runs."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from pytest_agent_sandbox.client.answers import an_object, as_text, shown
from pytest_agent_sandbox.engines.hosted.api import (
    ApiConnection,
    Hosting,
    Phase,
    State,
    an_identifier,
    api_address,
    api_key,
)
from pytest_agent_sandbox.engines.hosted.workspace import HostedWorkspace
from pytest_agent_sandbox.errors import SandboxStartFailed, ServerError
from pytest_agent_sandbox.sandbox.gateway import HostGateway
from pytest_agent_sandbox.settings.suggest import suggests

_PATH = "/api/v1/sandboxes"
_SERVER = "AGENT_SERVER"
_PHASES: dict[str, Phase] = {
    "RUNNING": "running",
    "PAUSED": "paused",
    "ERROR": "failed",
    "MISSING": "gone",
}


class CloudApi(Hosting):
    """One sandbox of OpenHands Cloud.

    Args:
        connection: The way to the API.
        sandbox: Its id; None for a new one.
        specification: What to start; None for the API's default.
        timeout: Seconds for a request.
    """

    def __init__(
        self,
        connection: ApiConnection,
        *,
        sandbox: str | None,
        specification: str | None,
        timeout: float,
    ) -> None:
        super().__init__(connection, arguments=("cloud_api_url", "cloud_api_key"), timeout=timeout)
        self._specification = specification
        self.id = sandbox or ""

    @property
    def advice(self) -> str:
        """What to do where the API did not start it."""
        return f"Check sandbox_spec_id = {self._specification or 'the default'}."

    def begin(self, end: float) -> None:
        """Start the sandbox, or find the one that is meant."""
        if self.id:
            if self.state(end - time.monotonic()).phase == "gone":
                raise SandboxStartFailed(f"{self.name} is not there: check sandbox_id.")
            return
        params = {"sandbox_spec_id": self._specification}
        answer = self.ask_to_start(_PATH, end=end, longest=end - time.monotonic(), params=params)
        self.id = an_identifier(an_object(answer, _PATH).get("id"), _PATH)

    def explained(self, error: ServerError) -> SandboxStartFailed:
        """Return the error of a start that the API refused, or never heard of."""
        explained = super().explained(error)
        if self.was_started and not self.id:
            explained.add_note(
                "It may have started a sandbox all the same: it shows yours at "
                f"{self.connection.host}{_PATH}/search"
            )
        return explained

    def state(self, timeout: float) -> State:
        """Ask how it is."""
        answer = self.ask("GET", _PATH, params={"id": self.id}, timeout=max(0.1, timeout))
        found = answer[0] if isinstance(answer, list) and answer else None
        if found is None:
            return State("gone", "the API does not know it")
        data = an_object(found, _PATH)
        status = as_text(data.get("status") or "").upper()
        phase = _PHASES.get(status, "starting")
        if phase == "running":
            self.learn_way(_address(data), data.get("session_api_key"))
        return State(phase, f"status {status!r}")

    def pause(self, timeout: float) -> None:
        """Have it paused."""
        self.ask("POST", f"{self._at}/pause", timeout=timeout)

    def resume(self, timeout: float) -> None:
        """Have it go on."""
        self.ask("POST", f"{self._at}/resume", timeout=timeout)

    def stop(self, timeout: float) -> None:
        """End it, if it is there."""
        if not self.id:
            return
        try:  # the API wants the id twice
            self.ask("DELETE", self._at, params={"sandbox_id": self.id}, timeout=timeout)
        except ServerError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    @property
    def _at(self) -> str:
        return f"{_PATH}/{quote(self.id, safe='')}"


class OpenHandsCloudWorkspace(HostedWorkspace):
    """An agent server in a sandbox that OpenHands Cloud starts.

    The sandbox is deleted when the workspace is closed:

        with OpenHandsCloudWorkspace(
            cloud_api_url="https://app.all-hands.dev",
            cloud_api_key=os.environ["OPENHANDS_CLOUD_API_KEY"],
        ) as workspace:
            print(workspace.execute_command("pwd").stdout)

    Args:
        cloud_api_url: Address of the API.
        cloud_api_key: Its key, which stays here.
        sandbox_spec_id: What to start, such as an image that the API knows; its default one.
        sandbox_id: A sandbox that is there already, which is resumed where it is paused.
        init_timeout: Seconds from the first request until the server answers.
        api_timeout: Seconds for any other request to the API.
        keep_alive: Leave the sandbox as it is when the workspace is closed.
        working_dir: The workspace's folder in the sandbox.
        read_timeout: Seconds of silence after which a request to the server is given up.
        gateway_address: The address of this machine at which the sandbox reaches it, for the LLM
            calls of agents. A server at a loopback address needs none.
        gateway: An LLM gateway to share; by default the workspace has its own.

    Raises:
        SandboxStartFailed: The API did not start it, or the server never answered.
        SettingsError: An argument has a value that cannot be used.
    """

    @suggests({"server_image": "sandbox_spec_id", "api_key": "cloud_api_key"})
    def __init__(
        self,
        *,
        cloud_api_url: str,
        cloud_api_key: SecretStr | str,
        sandbox_spec_id: str | None = None,
        sandbox_id: str | None = None,
        init_timeout: float = 300.0,
        api_timeout: float = 60.0,
        keep_alive: bool = False,
        working_dir: str = "/workspace/project",
        read_timeout: float = 600.0,
        gateway_address: str | None = None,
        gateway: HostGateway | None = None,
    ) -> None:
        hosting = CloudApi(
            ApiConnection(
                api_address("cloud_api_url", cloud_api_url),
                api_key("cloud_api_key", cloud_api_key),
                header="Authorization",
                prefix="Bearer ",
            ),
            sandbox=sandbox_id,
            specification=sandbox_spec_id,
            timeout=api_timeout,
        )
        super().__init__(
            hosting,
            image=sandbox_spec_id or "the API's default",
            working_dir=working_dir,
            start_timeout=init_timeout,
            read_timeout=read_timeout,
            at_end="keep" if keep_alive else "stop",
            gateway_address=gateway_address,
            gateway=gateway,
        )

    @property
    def sandbox_id(self) -> str:
        """The API's id of the sandbox, by which another workspace can use it again."""
        return self._hosting.id


def _address(data: dict[str, Any]) -> object:
    exposed = data.get("exposed_urls")
    for each in exposed if isinstance(exposed, list) else ():
        if isinstance(each, dict) and each.get("name") == _SERVER:
            return each.get("url")
    raise ServerError(f"{_PATH} tells no address of {_SERVER}: {shown(exposed)}")
