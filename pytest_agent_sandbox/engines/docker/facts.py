"""What a report says of a container: as it started, and as it is at the end of a test."""

from __future__ import annotations

from typing import Any

from pytest_agent_sandbox.containers.effective_settings import effective_settings
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_names import VERSION_LABEL
from pytest_agent_sandbox.engines.docker.sandbox import DockerSandbox
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.egress import told_of
from pytest_agent_sandbox.sandbox.network import network_facts

logger = seldom.logger(__name__)


def facts_of(sandbox: DockerSandbox, engine: ContainerEngine) -> dict[str, Any]:
    """Return what there is to know of a sandbox that has started."""
    plan, image = sandbox.plan, sandbox.plan.image
    facts: dict[str, Any] = {
        "image": image.reference,
        "image id": image.id,
        "platform": image.platform,
        "digest": image.digest,
        "server": image.labels.get(VERSION_LABEL),
        "engine": engine.description,
        "start_seconds": round(sandbox.start_seconds, 3),
        "isolation": plan.isolation,
        "security": plan.security,
    }
    try:
        facts |= effective_settings(engine, sandbox.container)
    except SandboxError as error:
        logger.warning("a container's settings could not be read: %s", error)
    facts |= network_facts(plan.network, plan.allow, sandbox.container.unheard)
    if sandbox.uses > 1:
        facts["used by tests"] = sandbox.uses
    return facts


def end_facts_of(sandbox: DockerSandbox) -> dict[str, Any]:
    """Return how a sandbox is at the end of a test; one that is paused goes on, to be read."""
    facts: dict[str, Any] = {}
    try:
        state = sandbox.container.state()
        facts["state"] = state.status
        facts["exit_code"] = state.exit_code
        facts["out_of_memory"] = state.out_of_memory
        if state.status == "paused":
            sandbox.container.unpause()
    except SandboxError as error:
        facts["state"] = f"unknown: {error}"
    return facts | told_of(sandbox.egress)
