"""What can be done with a conversation beside letting it run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pytest_agent_sandbox.client.agents import llm_payload
from pytest_agent_sandbox.client.answers import an_id, an_object, as_text
from pytest_agent_sandbox.client.asynchronous import InThread
from pytest_agent_sandbox.client.conversation_endpoints import PATIENCE, ConversationEndpoints
from pytest_agent_sandbox.client.conversation_feed import ConversationFeed
from pytest_agent_sandbox.client.conversation_state import ConversationState
from pytest_agent_sandbox.client.elsewhere import elsewhere
from pytest_agent_sandbox.client.policies import (
    ConfirmationPolicy,
    SecurityAnalyzer,
    analyzer_payload,
    policy_payload,
)
from pytest_agent_sandbox.errors import ConversationTimeout
from pytest_agent_sandbox.host.redaction import Redactor

if TYPE_CHECKING:
    from pytest_agent_sandbox.client.agents import LLM


@elsewhere(
    {
        "agent_final_response": "final_response() returns it",
        "execute_tool": "workspace.execute_command(…) runs a command beside the agent",
        "generate_title": 'set_title(…) gives it one; with request={"autotitle": True} the server '
        "asks the agent's LLM for it",
        "navigate_to": "navigate(…) does it",
        "reject_pending_actions": "reject(…) does it",
        "stuck_detector": "run() raises an error where the agent is stuck",
    }
)
class ConversationVerbs:
    """A conversation that is asked, changed and steered.

    Each method raises `ServerError` where the server refused, is too old for it, or did not answer
    in time. The endpoints are those of agent server 1.58.
    """

    _endpoints: ConversationEndpoints
    _feed: ConversationFeed
    _redactor: Redactor
    state: ConversationState

    def ask_agent(self, question: str, *, timeout: float = PATIENCE) -> str:
        """Ask the agent's LLM something about the conversation, which does not become part of it.

        Example:
            ```python
            assert "pytest" in conversation.ask_agent("Which tool did you use?")
            ```

        Args:
            question: What to ask.
            timeout: Seconds for the server to do it.
        """
        answer = self._endpoints.post("ask_agent", {"question": question}, timeout)
        return as_text(an_object(answer, "ask_agent").get("response"))

    def final_response(self, *, timeout: float = PATIENCE) -> str:
        """Return the agent's last answer to the user, as the server tells it; empty for none.

        Args:
            timeout: Seconds for the server to do it.
        """
        answer = self._endpoints.get("agent_final_response", timeout)
        return as_text(an_object(answer, "agent_final_response").get("response"))

    def condense(self, *, timeout: float = PATIENCE) -> None:
        """Have the agent's condenser shorten what the LLM is sent of the history, now.

        Args:
            timeout: Seconds for the server to do it.
        """
        self._endpoints.post("condense", None, timeout)

    def set_title(self, title: str, *, timeout: float = PATIENCE) -> None:
        """Give the conversation a title.

        Args:
            title: The title.
            timeout: Seconds for the server to do it.
        """
        self._endpoints.update({"title": title}, timeout)

    def set_tags(self, tags: Mapping[str, str], *, timeout: float = PATIENCE) -> None:
        """Replace the conversation's tags. Names are lower-case letters and digits.

        Args:
            tags: All of its tags.
            timeout: Seconds for the server to do it.
        """
        self._endpoints.update({"tags": dict(tags)}, timeout)

    def set_confirmation_policy(
        self, policy: ConfirmationPolicy, *, timeout: float = PATIENCE
    ) -> None:
        """Say which actions wait for `accept` or `reject` from now on.

        Args:
            policy: `"always"`, `"never"`, `"risky"`, a bool as `confirm=` takes it, or a dict with
                the `kind` of one that the server has:
                `{"kind": "ConfirmRisky", "threshold": "LOW"}`.
            timeout: Seconds for the server to take it.

        Raises:
            SettingsError: It is no policy.
            ServerError: The server refused it, or did not answer in time.
        """
        body = {"policy": policy_payload(policy)}
        self._endpoints.post("confirmation_policy", body, timeout)

    def set_security_analyzer(
        self, analyzer: SecurityAnalyzer | None, *, timeout: float = PATIENCE
    ) -> None:
        """Say who judges the risk of actions from now on.

        Args:
            analyzer: `"llm"`, for which the LLM gives a `security_risk` with each tool call;
                `"pattern"` or `"policy_rail"`, which look at what it would do; a dict with a
                `kind`; or None for nobody.
            timeout: Seconds for the server to take it.

        Raises:
            SettingsError: It is no analyzer.
            ServerError: The server refused it, or did not answer in time.
        """
        given = None if analyzer is None else analyzer_payload(analyzer)
        self._endpoints.post("security_analyzer", {"security_analyzer": given}, timeout)

    def switch_llm(self, llm: LLM | Mapping[str, Any], *, timeout: float = PATIENCE) -> None:
        """Let the agent go on with another LLM.

        Args:
            llm: The LLM. For one whose calls are the test's, take the model, address and key of
                `agent_llm.endpoint(agent_workspace)`.
            timeout: Seconds for the server to take it.
        """
        payload = llm_payload(llm)
        if key := payload.get("api_key"):
            self._redactor.add(str(key))
        self._endpoints.post("switch_llm", {"llm": payload}, timeout)

    def switch_profile(self, name: str, *, timeout: float = PATIENCE) -> None:
        """Let the agent go on with the LLM of a profile that the server has.

        Args:
            name: The profile's name.
            timeout: Seconds for the server to do it.
        """
        self._endpoints.post("switch_profile", {"profile_name": name}, timeout)

    def switch_acp_model(self, model: str, *, timeout: float = PATIENCE) -> None:
        """Let an ACP agent go on with another of its models.

        Args:
            model: The model's id, as the agent has it.
            timeout: Seconds for the server to do it.
        """
        self._endpoints.post("switch_acp_model", {"model": model}, timeout)

    def load_plugin(self, plugin: str, *, timeout: float = PATIENCE) -> None:
        """Give the agent a plugin of the server's marketplaces: `name` or `name@marketplace`.

        Args:
            plugin: Its name, or `name@marketplace`.
            timeout: Seconds for the server to do it.
        """
        self._endpoints.post("load_plugin", {"plugin_ref": plugin}, timeout)

    def navigate(self, event_id: str, *, timeout: float = PATIENCE) -> None:
        """Go back to an earlier event: what is said next is an answer to that.

        Args:
            event_id: Id of the event.
            timeout: Seconds for the server to do it.
        """
        self._endpoints.post("navigate", {"event_id": event_id}, timeout)

    def start_goal(
        self, objective: str, *, max_iterations: int | None = None, timeout: float = PATIENCE
    ) -> None:
        """Let the agent work, run after run, until it judges that an objective is reached.

        Args:
            objective: What is to be reached.
            max_iterations: The most runs; by default the server's own limit.
            timeout: Seconds for the server to take it.
        """
        body: dict[str, Any] = {"objective": objective}
        if max_iterations is not None:
            body["max_iterations"] = max_iterations
        self.state.update({"goal": {}})
        self._endpoints.post("goal", body, timeout)

    def wait_for_goal(self, *, timeout: float = PATIENCE) -> dict[str, Any]:
        """Wait until an objective is reached, or given up.

        Args:
            timeout: Seconds.

        Returns:
            What `state.goal` tells then: `status` is `complete`, `capped` or `interrupted`.

        Raises:
            ConversationTimeout: It is neither by then. The agent goes on.
            SandboxError: Whatever a guard knows to have made waiting pointless.
        """
        end = time.monotonic() + timeout
        if not self._feed.wait_until(lambda: self.state.goal.get("active") is False, end):
            raise ConversationTimeout(f"The goal was not reached within {timeout:g} s.")
        return self.state.goal

    def stop_goal(self, *, timeout: float = PATIENCE) -> None:
        """Give the objective up.

        Args:
            timeout: Seconds for the server to do it.
        """
        self._endpoints.post("goal/stop", None, timeout)

    def resume_goal(self, *, timeout: float = PATIENCE) -> None:
        """Take up an objective that was given up.

        Args:
            timeout: Seconds for the server to do it.
        """
        self.state.update({"goal": {}})
        self._endpoints.post("goal/resume", None, timeout)

    def start_child(
        self,
        task: str,
        *,
        title: str | None = None,
        isolation: Literal["shared", "worktree"] = "shared",
        timeout: float = PATIENCE,
    ) -> str:
        """Start a conversation below this one, with the same agent; return its id.

        Args:
            task: What its agent is told.
            title: Its title.
            isolation: Whether it works in the same folder, or in a git worktree of it.
            timeout: Seconds for the server to start it.
        """
        body = {"task": task, "title": title, "isolation": isolation}
        answer = an_object(self._endpoints.post("children", body, timeout), "children")
        return an_id({"id": answer.get("conversation_id")}, "children")

    aask_agent = InThread(ask_agent)
    afinal_response = InThread(final_response)
    acondense = InThread(condense)
    aset_title = InThread(set_title)
    aset_tags = InThread(set_tags)
    aset_confirmation_policy = InThread(set_confirmation_policy)
    aset_security_analyzer = InThread(set_security_analyzer)
    aswitch_llm = InThread(switch_llm)
    aswitch_profile = InThread(switch_profile)
    aswitch_acp_model = InThread(switch_acp_model)
    aload_plugin = InThread(load_plugin)
    anavigate = InThread(navigate)
    astart_goal = InThread(start_goal)
    await_for_goal = InThread(wait_for_goal)
    astop_goal = InThread(stop_goal)
    aresume_goal = InThread(resume_goal)
    astart_child = InThread(start_child)
