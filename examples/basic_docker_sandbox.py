"""A program without pytest: an agent writes a file in a sandbox, and deletes it again.

Needs LLM_MODEL and LLM_API_KEY, and LLM_BASE_URL where it is not the provider's own.
"""

import os

from pytest_agent_sandbox import (
    LLM,
    Conversation,
    DockerWorkspace,
    RemoteConversation,
    default_agent,
)


def main() -> None:
    for name in ("LLM_MODEL", "LLM_API_KEY"):
        if not os.environ.get(name):
            raise SystemExit(f"{name} is not set: it says which LLM the agent is to use.")
    llm = LLM(
        usage_id="agent",
        model=os.environ["LLM_MODEL"],
        base_url=os.environ.get("LLM_BASE_URL"),
        api_key=os.environ["LLM_API_KEY"],
    )
    events = []
    # The engine's own platform and free ports are the default; both can be given.
    with DockerWorkspace() as workspace:
        result = workspace.execute_command("echo 'Hello from the sandbox!' && pwd")
        print(f"exit code {result.exit_code}:\n{result.stdout}")

        conversation = Conversation(
            agent=default_agent(llm=llm, cli_mode=True),
            workspace=workspace,
            callbacks=[events.append],
            visualize=True,
        )
        assert isinstance(conversation, RemoteConversation)
        try:
            print(f"conversation {conversation.state.id}")
            for task in (
                "Read the current repo and write 3 facts about it into FACTS.txt.",
                "Great! Now delete that file.",
            ):
                conversation.send_message(task)
                conversation.run(timeout=300)
                print(f"status: {conversation.state.execution_status}")
            metrics = conversation.conversation_stats.get_combined_metrics()
            print(f"{len(events)} events, cost: {metrics.accumulated_cost:.6f} US dollars")
        finally:
            conversation.close()


if __name__ == "__main__":
    main()
