"""`python -m pytest_agent_sandbox.cli`: the same as `agent-sandbox`."""

import sys

from pytest_agent_sandbox.cli.main import main

sys.exit(main())
