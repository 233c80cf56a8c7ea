"""A program without pytest: open VS Code on the files that an agent works with.

Needs an image with VS Code, built once: `agent-sandbox build --target source`.
Needs LLM_MODEL and LLM_API_KEY, and LLM_BASE_URL where it is not the provider's own.
"""

import os
import sys

from pytest_agent_sandbox import LLM, Conversation, DockerWorkspace, default_agent


def main() -> None:
    for name in ("LLM_MODEL", "LLM_API_KEY"):
        if not os.environ.get(name):
            raise SystemExit(f"{name} is not set: it says which LLM the agent is to use.")
    llm = LLM(
        model=os.environ["LLM_MODEL"],
        base_url=os.environ.get("LLM_BASE_URL"),
        api_key=os.environ["LLM_API_KEY"],
    )
    # With host_port=18010, VS Code would be on port 18011 and the desktop on port 18012.
    with DockerWorkspace(
        server_image=os.environ.get("SANDBOX_IMAGE"), extra_ports=True
    ) as workspace:
        with Conversation(default_agent(llm), workspace, visualize=True) as conversation:
            conversation.send_message("Create a simple Python script that prints Hello World")
            conversation.run(timeout=300)

        print(f"VS Code: {workspace.vscode_url()}")
        if sys.stdin.isatty() and not os.environ.get("CI"):
            input("Look at the agent's files in it; press Enter to end the sandbox. ")


if __name__ == "__main__":
    main()
