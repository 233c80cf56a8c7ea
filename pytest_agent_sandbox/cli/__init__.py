"""`agent-sandbox`: looks after what the tests need, outside of pytest."""

from pytest_agent_sandbox.cli.main import main

__all__ = ["main"]
