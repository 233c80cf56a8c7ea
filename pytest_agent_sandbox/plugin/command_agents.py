"""The command-line agents that a test runs: their LLM, their transcript, their evidence."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from pytest_agent_sandbox.client.events import Event, parse_event
from pytest_agent_sandbox.evidence.hints import NO_LLM
from pytest_agent_sandbox.host.no_proxy import NO_PROXY, without_proxy
from pytest_agent_sandbox.plugin.report import collect

if TYPE_CHECKING:
    from pytest_agent_sandbox.client.agent_runs import AgentRun
    from pytest_agent_sandbox.evidence.recorder import Recorder
    from pytest_agent_sandbox.llm.lane import Lane
    from pytest_agent_sandbox.plugin.agent_llm import AgentLLM
    from pytest_agent_sandbox.plugin.session import SandboxSession
    from pytest_agent_sandbox.sandbox.workspace import Workspace


#: What answers the LLM calls of a test, once it has asked for that.
LLM: pytest.StashKey[AgentLLM] = pytest.StashKey()


def follow(session: SandboxSession, item: pytest.Item | None, workspace: Workspace) -> None:
    """Have the agents that a test runs in a workspace use the test's LLM, and leave evidence.

    Args:
        session: What the run shares.
        item: The test; None for a workspace of several: whichever runs at the time.
        workspace: Where the agents run.
    """

    def begin(command: tuple[str, ...], variables: Mapping[str, str]) -> FollowedRun | None:
        # Before anything is told of it. Its own folder is no secret, and is in many a variable.
        session.redactor.add(
            *(value for value in map(str, variables.values()) if workspace.working_dir not in value)
        )
        test = item or session.uses.test
        if test is None:  # between tests there is nobody to tell of it
            return None
        collect.before_agents(workspace)
        return FollowedRun(session, test, workspace, command, variables)

    workspace.on_agent_run = begin
    workspace.on_secret = session.redactor.add


class FollowedRun:
    """One run of a command-line agent in a test.

    What it prints is told as the messages of an agent are: the page, the transcript and the live
    view show both in the same way.
    """

    def __init__(
        self,
        session: SandboxSession,
        item: pytest.Item,
        workspace: Workspace,
        command: tuple[str, ...],
        variables: Mapping[str, str],
    ) -> None:
        self._recorder: Recorder = session.evidence.recorder(item)
        number = self._recorder.new_agent_run()
        #: Its name, in the evidence and among the test's LLM calls.
        self.name = f"run-{number}"
        self._lane: Lane | None = None
        self.variables: Mapping[str, str] = variables
        llm = item.stash.get(LLM, None)
        if llm is not None:
            to_llm, self._lane = llm.connect_program(
                workspace.gateway,
                name=self.name,
                known=session.identity(workspace),
                observer=self._recorder.llm_observer(self.name),
            )
            past: Mapping[str, str] = {}
            if not variables.keys().isdisjoint(NO_PROXY):
                past = without_proxy([variables], workspace.gateway.way.direct)
            self.variables = {**to_llm, **variables, **past}
        live = session.evidence.live_view
        began = self._recorder.result.started
        self._show: Callable[[Event], None] | None = (
            live.view(item.name, number, session.redactor, began) if live else None
        )
        has_own = any(name.endswith(("_BASE_URL", "_API_KEY")) for name in variables)
        said = {} if llm is not None or has_own else {"llm": NO_LLM}
        self._recorder.record_agent_run(self.name, command=shlex.join(command), **said)
        self._tell("MessageEvent", "user", _message("user", shlex.join(command)))

    def check(self) -> None:
        """Raise what makes waiting for it pointless."""
        if self._lane is not None:
            self._lane.check()

    def output(self, text: str) -> None:
        """Be told whole lines of its output."""
        self._tell("MessageEvent", "agent", _message("assistant", text))

    def ended(self, run: AgentRun) -> None:
        """Be told how it ended."""
        self._tell(
            "ConversationStateUpdateEvent",
            "environment",
            {"key": "execution_status", "value": run.outcome},
        )
        self._recorder.record_agent_run(
            self.name,
            exit_code=run.exit_code,
            timed_out=run.timed_out,
            duration=round(run.duration, 3),
        )

    def _tell(self, kind: str, source: str, fields: Mapping[str, Any]) -> None:
        now = datetime.now(UTC).isoformat()
        event = parse_event({"kind": kind, "source": source, "timestamp": now, **fields})
        if self._show is not None:
            self._show(event)
        try:
            self._recorder.record_output(self.name, event)
        except OSError as error:
            self._recorder.lose(error)


def _message(role: str, text: str) -> dict[str, Any]:
    return {"llm_message": {"role": role, "content": [{"type": "text", "text": text}]}}
