"""Agent servers that the Runtime API of OpenHands runs."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Literal
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
from pytest_agent_sandbox.engines.hosted.workspace import AtEnd, HostedWorkspace
from pytest_agent_sandbox.errors import ServerError, SettingsError
from pytest_agent_sandbox.host.secret_variables import secrets_of
from pytest_agent_sandbox.sandbox.agent_server import SERVER_SETTINGS, forwarded
from pytest_agent_sandbox.sandbox.gateway import HostGateway
from pytest_agent_sandbox.settings.suggest import suggests

# As the API's own clients start a server, in images of either kind.
_COMMANDS = {
    "binary": "/usr/local/bin/openhands-agent-server --port 60000",
    "source": "/agent-server/.venv/bin/python -m openhands.agent_server --port 60000",
}
_USER = 10001
_FACTORS = (1, 2, 4, 8)
# `status` is what counts. `pod_status` is that of Kubernetes, and knows more of failures.
_PHASES: dict[str, Phase] = {"paused": "paused", "error": "failed", "stopped": "gone"}
_FAILED_PODS = ("failed", "unknown", "crashloopbackoff")
_RUNNING_PODS = ("ready", "running")
_NO_IMAGE = ("imagepullbackoff", "invalidimagename")


class RuntimeApi(Hosting):
    """One runtime, known by its session.

    Args:
        connection: The way to the API.
        session: The session's id; None for a new one.
        payload: What to start.
        timeout: Seconds for a request.
        start_timeout: Seconds for the request that starts.
    """

    noun = "runtime"

    def __init__(
        self,
        connection: ApiConnection,
        *,
        session: str | None,
        payload: Mapping[str, Any],
        timeout: float,
        start_timeout: float,
    ) -> None:
        super().__init__(
            connection, arguments=("runtime_api_url", "runtime_api_key"), timeout=timeout
        )
        self._is_new = session is None
        self.session = session or f"agent-server-{uuid.uuid4()}"
        self._payload = {**payload, "session_id": self.session}
        self._start_timeout = start_timeout

    @property
    def advice(self) -> str:
        """What to do where the API did not start it."""
        return f"Check that it can pull server_image = {self._payload['image']}."

    def begin(self, end: float) -> None:
        """Start the runtime; one that the session has already is used."""
        if not self._is_new and self._session(end - time.monotonic()) in ("running", "paused"):
            return
        answer = self.ask_to_start(
            "/start", end=end, longest=self._start_timeout, json=self._payload
        )
        self._learn(answer, "/start")

    def state(self, timeout: float) -> State:
        """Ask how it is."""
        data = self._look_up(timeout)
        if data is None:
            return State("gone", "the API does not know it")
        status, pod = (as_text(data.get(name) or "").lower() for name in ("status", "pod_status"))
        told = [f"status {status!r}"] * bool(status) + [f"pod status {pod!r}"] * bool(pod)
        containers = data.get("container_statuses")
        if pod not in _RUNNING_PODS:  # why it does not start
            more = [data[name] for name in ("container_statuses", "events") if data.get(name)]
            told += [shown(each) for each in more]
        log = self.mask(as_text(data.get("pod_logs") or ""))
        phase = _phase(status, pod, as_text(containers or "").lower())
        return State(phase, self.mask(", ".join(told)) or "no status", log)

    def pause(self, timeout: float) -> None:
        """Have it paused."""
        self.ask("POST", "/pause", json={"runtime_id": self.id}, timeout=timeout)

    def resume(self, timeout: float) -> None:
        """Have it go on."""
        self.ask("POST", "/resume", json={"runtime_id": self.id}, timeout=timeout)

    def stop(self, timeout: float) -> None:
        """End it, if it is there."""
        if not self.id and self.was_started:  # an answer that got lost
            self._look_up(timeout)
        if not self.id:
            return
        try:
            self.ask("POST", "/stop", json={"runtime_id": self.id}, timeout=timeout)
        except ServerError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def _session(self, timeout: float) -> str:
        data = self._look_up(timeout)
        return as_text(data.get("status")).lower() if data else ""

    def _look_up(self, timeout: float) -> dict[str, Any] | None:
        path = f"/sessions/{quote(self.session, safe='')}"
        try:
            data = self.ask("GET", path, timeout=max(0.1, timeout))
        except ServerError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return self._learn(data, path)

    def _learn(self, data: object, where: str) -> dict[str, Any]:
        known = an_object(data, where)
        found = known.get("runtime_id") or known.get("id")
        if found or not self.id:
            self.id = an_identifier(found, where)
        self.learn_way(known.get("url"), known.get("session_api_key"))
        return known


class APIRemoteWorkspace(HostedWorkspace):
    """An agent server in a runtime that the Runtime API of OpenHands starts.

    The runtime is stopped when the workspace is closed:

        with APIRemoteWorkspace(
            runtime_api_url="https://runtime.example",
            runtime_api_key=os.environ["RUNTIME_API_KEY"],
            server_image="ghcr.io/openhands/agent-server:1.58.0-python",
        ) as workspace:
            print(workspace.execute_command("pwd").stdout)

    Args:
        runtime_api_url: Address of the API.
        runtime_api_key: Its key, which stays here.
        server_image: The image, which the API has to be able to pull.
        image_pull_policy: When it pulls that.
        session_id: The name by which the API knows the runtime: one that it has is used, and
            resumed where it is paused. By default a new name.
        resource_factor: How much of the API's resources it gets: 1, 2, 4 or 8.
        runtime_class: Of the API's cluster; None for its default one.
        init_timeout: Seconds for the request that starts the runtime, within the time for all.
        startup_wait_timeout: Seconds from the first request until the server answers.
        api_timeout: Seconds for any other request to the API.
        keep_alive: Leave the runtime as it is when the workspace is closed.
        pause_on_close: Pause it then in place of stopping it.
        target_type: How the image holds the server: as a `binary`, or its `source`.
        forward_env: Names of environment variables that the server gets with their values.
        working_dir: The workspace's folder in the runtime.
        read_timeout: Seconds of silence after which a request to the server is given up.
        gateway_address: The address of this machine at which the runtime reaches it, for the LLM
            calls of agents. A server at a loopback address needs none.
        gateway: An LLM gateway to share; by default the workspace has its own.

    Raises:
        SandboxStartFailed: The API did not start it, or the server never answered. Nothing of it
            is left.
        SettingsError: An argument has a value that cannot be used.
    """

    @suggests({"image": "server_image", "api_key": "runtime_api_key", "host": "runtime_api_url"})
    def __init__(
        self,
        *,
        runtime_api_url: str,
        runtime_api_key: SecretStr | str,
        server_image: str,
        image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent",
        session_id: str | None = None,
        resource_factor: int = 1,
        runtime_class: str | None = "sysbox-runc",
        init_timeout: float = 300.0,
        startup_wait_timeout: float = 300.0,
        api_timeout: float = 60.0,
        keep_alive: bool = False,
        pause_on_close: bool = False,
        target_type: Literal["binary", "source"] = "binary",
        forward_env: Iterable[str] = (),
        working_dir: str = "/workspace",
        read_timeout: float = 600.0,
        gateway_address: str | None = None,
        gateway: HostGateway | None = None,
    ) -> None:
        if resource_factor not in _FACTORS:
            raise SettingsError(f"resource_factor = {resource_factor} is none of {_FACTORS}.")
        if target_type not in _COMMANDS:
            raise SettingsError(f"target_type = {target_type} is neither binary nor source.")
        secret_key = secrets.token_urlsafe(32)
        variables = forwarded(forward_env)
        payload = {
            "image": server_image,
            "command": _COMMANDS[target_type],
            "working_dir": "/",
            "environment": {**SERVER_SETTINGS, "OH_SECRET_KEY": secret_key, **variables},
            "run_as_user": _USER,
            "fs_group": _USER,
            "image_pull_policy": image_pull_policy,
        }
        if runtime_class:
            payload["runtime_class"] = runtime_class
        if resource_factor != 1:
            payload["resource_factor"] = resource_factor
        hosting = RuntimeApi(
            ApiConnection(
                api_address("runtime_api_url", runtime_api_url),
                api_key("runtime_api_key", runtime_api_key),
                header="X-API-Key",
            ),
            session=session_id,
            payload=payload,
            timeout=api_timeout,
            start_timeout=init_timeout,
        )
        hosting.learn_secrets(secret_key, *secrets_of(variables))
        at_end: AtEnd = "keep" if keep_alive else "pause" if pause_on_close else "stop"
        self.session_id = hosting.session
        super().__init__(
            hosting,
            image=server_image,
            working_dir=working_dir,
            start_timeout=startup_wait_timeout,
            read_timeout=read_timeout,
            at_end=at_end,
            gateway_address=gateway_address,
            gateway=gateway,
        )


def _phase(status: str, pod: str, containers: str) -> Phase:
    if pod in _FAILED_PODS or any(reason in containers for reason in _NO_IMAGE):
        return "failed"
    if status in _PHASES:
        return _PHASES[status]
    return "running" if pod in _RUNNING_PODS or (status == "running" and not pod) else "starting"
