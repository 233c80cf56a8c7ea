"""The plugin: pytest's hooks, the fixtures, and all that knows pytest.

pytest knows the plugin by this module's name, so the hooks have to be here; `hooks` has them.
"""

from pytest_agent_sandbox.plugin.hooks import *  # noqa: F403 - whatever hooks there are
