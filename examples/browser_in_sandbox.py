"""A program without pytest: watch an agent's browser on the sandbox's desktop.

Needs an image with a browser, built once: `agent-sandbox build --target source`.
Needs LLM_MODEL and LLM_API_KEY, and LLM_BASE_URL where it is not the provider's own.

What the agent is to do may follow as an argument.
"""

import os
import sys

from pytest_agent_sandbox import LLM, Conversation, DockerWorkspace, default_agent

TASK = "Go to https://openhands.dev/blog and summarize the main points of the latest post."


def main() -> None:
    for name in ("LLM_MODEL", "LLM_API_KEY"):
        if not os.environ.get(name):
            raise SystemExit(f"{name} is not set: it says which LLM the agent is to use.")
    llm = LLM(
        model=os.environ["LLM_MODEL"],
        base_url=os.environ.get("LLM_BASE_URL"),
        api_key=os.environ["LLM_API_KEY"],
    )
    with DockerWorkspace(
        server_image=os.environ.get("SANDBOX_IMAGE"), extra_ports=True
    ) as workspace:
        print(f"Watch the agent's browser: {workspace.browser_view_url()}")
        # cli_mode=False, as upstream spells it, does the same.
        agent = default_agent(llm, browser=True)
        with Conversation(agent, workspace, visualize=True) as conversation:
            conversation.send_message(sys.argv[1] if len(sys.argv) > 1 else TASK)
            conversation.run(timeout=600)
            print(f"cost: {conversation.cost:.6f} US dollars")

        print(f"The desktop, to use it yourself: {workspace.vnc_url()}")
        if sys.stdin.isatty() and not os.environ.get("CI"):
            input("Press Enter to end the sandbox. ")


if __name__ == "__main__":
    main()
