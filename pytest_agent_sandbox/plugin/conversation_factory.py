"""The fixture `agent_conversation`: a test's conversations, closed with the test."""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_agent_sandbox.client.acp import is_acp
from pytest_agent_sandbox.client.agents import LLM, default_agent
from pytest_agent_sandbox.client.asynchronous import InThread
from pytest_agent_sandbox.client.client_tools import by_specification
from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.plugin.opened import OpenResources
from pytest_agent_sandbox.plugin.report import collect
from pytest_agent_sandbox.plugin.unanswered import Unanswered
from pytest_agent_sandbox.sandbox.tools import ServedTools

if TYPE_CHECKING:
    from pytest_agent_sandbox.client.conversation_endpoints import Secret
    from pytest_agent_sandbox.client.events import Event
    from pytest_agent_sandbox.client.policies import ConfirmationPolicy, SecurityAnalyzer
    from pytest_agent_sandbox.client.skills import Skill
    from pytest_agent_sandbox.llm.replies import Entry
    from pytest_agent_sandbox.plugin.agent_llm import AgentLLM
    from pytest_agent_sandbox.plugin.session import SandboxSession
    from pytest_agent_sandbox.sandbox.workspace import Workspace


@dataclass
class _Numbered:
    """A conversation with its number in the test, and what has its server forget it."""

    number: int
    conversation: RemoteConversation
    forget: Callable[[RemoteConversation], None] | None

    def close(self) -> None:
        """Close it, and have a server that goes on after the test forget it."""
        try:
            self.conversation.close()
        finally:
            if self.forget is not None:
                self.forget(self.conversation)


class ConversationFactory(Closing):
    """The fixture `agent_conversation`: each call starts a conversation in the test's workspace.

    Args:
        session: What the run shares.
        item: The test.
        workspace: Gives the test's workspace; asked where a conversation is to be there.
        llm: What answers the agents' LLM calls.
        run_timeout: Seconds for a run of an agent, by default.
    """

    def __init__(
        self,
        session: SandboxSession,
        item: pytest.Item,
        workspace: Callable[[], Workspace],
        llm: AgentLLM,
        *,
        run_timeout: float,
    ) -> None:
        self._session = session
        self._item = item
        self._default_workspace = workspace
        self._workspace: Workspace | None = None
        self._starting = threading.Lock()
        self._is_closed = False
        self._llm = llm
        self._run_timeout = run_timeout
        self._conversations = OpenResources["_Numbered"]("conversation")
        self._numbers = itertools.count(1)
        self._tools = OpenResources[ServedTools]("conversation")

    def __call__(
        self,
        agent: object = None,
        *,
        script: Sequence[Entry] | None = None,
        workspace: Workspace | None = None,
        callbacks: Iterable[Callable[[Event], object]] = (),
        max_iterations: int = 100,
        confirm: ConfirmationPolicy = False,
        security_analyzer: SecurityAnalyzer | None = None,
        secrets: Mapping[str, Secret] | None = None,
        mcp_servers: Mapping[str, Mapping[str, Any]] | None = None,
        skills: Sequence[Skill | Mapping[str, Any]] = (),
        hooks: Mapping[str, Any] | None = None,
        client_tools: Sequence[object] = (),
        conversation_id: str | None = None,
        request: Mapping[str, Any] | None = None,
    ) -> RemoteConversation:
        """Start a conversation.

        Args:
            agent: An `Agent`, an `acp_agent`, a dict, or an openhands.sdk Agent; `default_agent` by
                default. Its LLM's address and key are replaced: the test's LLM answers, through
                the gateway.
            script: What this conversation's LLM answers; by default that of `agent_llm.script`.
            workspace: Where the agent works; by default `agent_workspace`, which is started for
                that.
            callbacks: Called with every event, in order, in a thread of their own.
            max_iterations: Steps the agent may take in one run.
            confirm: Which tool calls wait for `conversation.accept()` or `.reject()`: all (`True`),
                none, the `"risky"` ones, or a policy as the server has it.
            security_analyzer: Who judges the risk: `"llm"`, where the LLM gives a `security_risk`
                with each call, the default for `"risky"`; `"pattern"`; `"policy_rail"`; or a dict.
            secrets: Values that the agent's commands get as environment variables; an `acp_agent`
                gets all of them itself.
            mcp_servers: MCP servers by name, for tools of theirs; their commands are run in the
                sandbox: `{"files": {"command": "npx", "args": ["-y", "…"]}}`.
            skills: Knowledge for the agent: `Skill("name", "content")`.
            hooks: Commands that run in the sandbox at what the agent does, by event:
                `{"stop": "test -f DONE || exit 2"}`; exit code 2 refuses it.
            client_tools: Functions of the test that the agent may call: see `client_tool`. A dict
                with `name`, `description` and `parameters` is a tool that does nothing: its calls
                are in `conversation.events`.
            conversation_id: The id to give to the conversation; by default the server makes one.
            request: Further fields of the request that starts the conversation, as the server takes
                them: `tags`, `plugins`, `agent_definitions`, `tool_module_qualnames`, …

        Raises:
            SettingsError: The agent, or what it is given, cannot be used.
            ServerError: The server refused.
        """
        unanswered = (
            "" if script is not None else self._llm.begin_unscripted("agent_conversation()")
        )
        if unanswered:
            return cast(RemoteConversation, Unanswered(unanswered))
        if workspace is None:
            workspace = self._start_workspace()
        collect.before_agents(workspace)
        recorder = self._session.evidence.recorder(self._item)
        number = next(self._numbers)
        described, lane = self._llm.connect(
            agent or default_agent(LLM(model="default")),
            workspace.gateway,
            script=script,
            name=str(number),
            known=self._session.identity(workspace),
            observer=recorder.llm_observer(str(number)),
        )
        if is_acp(described):  # its LLM is its own affair: it is led there by its environment
            secrets = {**workspace.gateway.llm_variables(lane), **(secrets or {})}
        functions, specifications = by_specification(client_tools)
        if specifications:
            request = {"client_tools": specifications, **(request or {})}
        tools = self._serve(functions, workspace)
        if tools is not None:
            mcp_servers = {**tools.mcp_servers, **(mcp_servers or {})}

        def guard() -> None:
            lane.check()
            if tools is not None:
                tools.check()

        shown = self._session.evidence.live_view
        watching: list[Callable[[Event], object]] = []
        if shown:
            began = recorder.result.started
            watching.append(shown.view(self._item.name, number, self._session.redactor, began))
        if tools is not None:  # a run may be over before its guard is asked again
            watching.append(lambda _: tools.check())
        conversation = RemoteConversation(
            workspace,
            described,
            callbacks=[collect.EventRecorder(recorder, number), *watching, *callbacks],
            max_iterations=max_iterations,
            conversation_id=conversation_id,
            confirm=confirm,
            security_analyzer=security_analyzer,
            request=request,
            secrets=secrets,
            mcp_servers=mcp_servers,
            skills=skills,
            hooks=hooks,
            guard=guard,
            run_timeout=self._run_timeout,
            redactor=self._session.redactor,
        )
        # In any other one they go with the sandbox, or are cleaned away.
        goes_on = self._session.uses.goes_on(workspace) or workspace.outlives_test
        self._conversations.add(_Numbered(number, conversation, _forget if goes_on else None))
        return conversation

    #: As calling it, without blocking the event loop: `await agent_conversation.astart()`.
    astart = InThread(__call__)

    def _start_workspace(self) -> Workspace:
        with self._starting:  # pytest sets up a fixture once, but for threads
            if self._workspace is None:
                self._workspace = self._default_workspace()
                # What was set up last ends first: the conversations before their workspace.
                self._item.addfinalizer(self.close)
            return self._workspace

    def _serve(self, tools: Sequence[object], workspace: Workspace) -> ServedTools | None:
        if not tools:
            return None
        served = ServedTools(tools, workspace.gateway)
        self._session.redactor.add(served.token)
        self._tools.add(served)
        return served

    def check(self) -> None:
        """Raise what is wrong once the test's function has returned, and no `run()` has raised.

        That is what a callback or a client tool raised, or a message that was never run.
        """
        for known in self._conversations:
            known.conversation.check_callbacks()
        for tools in self._tools:
            tools.check()
        for known in self._conversations:
            _check_messages(known.conversation)

    def __repr__(self) -> str:
        return f"<ConversationFactory, conversations: {len(list(self._conversations))}>"

    def close(self) -> None:
        """Close all conversations; what is wanted of them is evidence by then."""
        if self._is_closed:
            return
        self._is_closed = True
        conversations = self._conversations.end()
        with ExitStack() as closing:
            for tools in self._tools.end():
                closing.callback(tools.close)
            for known in conversations:
                closing.callback(known.close)
            if self._session.evidence.wants_evidence(self._item):
                closing.enter_context(collect.MAY_FAIL)
                recorder = self._session.evidence.recorder(self._item)
                for known in conversations:
                    collect.record_conversation(recorder, known.number, known.conversation)


def _check_messages(conversation: RemoteConversation) -> None:
    conversation.check_messages()
    for fork in conversation.forks:
        _check_messages(fork)


def _forget(conversation: RemoteConversation) -> None:
    for fork in conversation.forks:
        _forget(fork)
    conversation.workspace.forget(str(conversation.id))


def is_async(request: pytest.FixtureRequest, name: str) -> bool:
    """Tell whether a fixture is a coroutine: no test could ask for it while its own one runs."""
    manager = getattr(request.session, "_fixturemanager", None)  # pytest (9.2) has no public way
    found = manager.getfixturedefs(name, request.node) if manager is not None else None
    function = found[-1].func if found else None
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
