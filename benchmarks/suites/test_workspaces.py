"""A test that needs a workspace, and then takes as long as the benchmark wants."""

import os
import time


def test_workspace(agent_workspace, number):
    assert agent_workspace.execute_command("echo hello").stdout == "hello\n"
    time.sleep(float(os.environ["BENCHMARK_SECONDS"]))
