"""A first test: no agent yet, just a real agent server in a fresh container."""


def test_the_workspace_runs_commands(agent_workspace):
    result = agent_workspace.execute_command("echo hello > greeting.txt && cat greeting.txt")
    assert result.exit_code == 0
    assert result.stdout == "hello\n"
    assert agent_workspace.read_text("greeting.txt") == "hello\n"
