"""An agent with a browser: it reads a web page that is served in its sandbox.

Needs the image of `agent-sandbox build --target source`.
"""

import pytest

from pytest_agent_sandbox import LLM, default_agent, say, tool

PAGE = "<title>News</title><h1>The bridge opens in May</h1><p>It is 300 m long.</p>"


# The desktop is there to watch: `agent_workspace.vnc_url()`, or a video with --sandbox-video=all.
@pytest.mark.agent_sandbox(extra_ports=True)
def test_reads_a_web_page(agent_workspace, agent_llm, agent_conversation):
    agent_workspace.write_text("site/index.html", PAGE)
    agent_workspace.execute_command("python3 -m http.server 8080 &", cwd="site")
    agent_llm.script(
        [
            tool("browser_navigate", url="http://localhost:8080/"),
            tool("browser_get_state", include_screenshot=True),
            tool("browser_get_content"),
            say("The bridge opens in May."),
        ]
    )
    conversation = agent_conversation(default_agent(LLM(model="default"), browser=True))
    conversation.send_message("When does the bridge open? Look at http://localhost:8080/.")
    conversation.run(timeout=180)

    assert conversation.status == "finished"
    (content,) = conversation.events.tool_calls("browser_get_content")
    assert "It is 300 m long." in content.result
