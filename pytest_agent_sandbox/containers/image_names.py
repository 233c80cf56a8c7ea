"""The names of agent-server images, their labels, and what they can be made of.

Standard library only: the command line and engines without containers know them too.
"""

from __future__ import annotations

#: The agent server that this release was tested with.
DEFAULT_AGENT_SERVER_VERSION = "1.58.0"
#: Its published image. Never `latest`: a regression test must not move by itself.
DEFAULT_IMAGE = f"ghcr.io/openhands/agent-server:{DEFAULT_AGENT_SERVER_VERSION}-python"
#: The repository of the images that `agent-sandbox build` makes.
BUILT_REPOSITORY = "pytest-agent-sandbox/agent-server"

LABEL_PREFIX = "pytest-agent-sandbox."
VERSION_LABEL = f"{LABEL_PREFIX}version"
TARGET_LABEL = f"{LABEL_PREFIX}target"
#: The targets of a build: the agent server and its tools; VS Code, desktop and browser too.
MINIMAL_TARGET, FULL_TARGET = "source-minimal", "source"
AGENTS_LABEL = f"{LABEL_PREFIX}agents"
#: Coding agents that an image can have, each a folder of image/agents with a lock file of npm.
AGENTS = ("claude-agent-acp", "claude-code", "codex", "codex-acp")
#: The image that a build begins from where no base is named.
DEFAULT_BASE_IMAGE = "python:3.13-slim-trixie"
