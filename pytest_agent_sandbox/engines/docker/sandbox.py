"""An agent server in a container of Docker's."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.container_errors import is_transient
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.template import NO_PYTHON, Launch
from pytest_agent_sandbox.engines.docker.plan import DockerPlan
from pytest_agent_sandbox.errors import SandboxDied, SandboxError, SandboxStartFailed
from pytest_agent_sandbox.host.egress import Egress
from pytest_agent_sandbox.host.no_proxy import without_proxy
from pytest_agent_sandbox.sandbox.agent_server import DORMANT
from pytest_agent_sandbox.sandbox.network import allowed_forwards, ways_out
from pytest_agent_sandbox.sandbox.recycle import FirstState
from pytest_agent_sandbox.sandbox.sandbox import Keys, Sandbox, Supply, User
from pytest_agent_sandbox.sandbox.server_process import of_the_process

DockerSandbox = Sandbox[DockerPlan, Container]
DockerSupply = Supply[DockerPlan, Container]


def start_sandbox(
    engine: ContainerEngine,
    plan: DockerPlan,
    user: User,
    *,
    dormant: bool = False,
    check: Callable[[], None] = lambda: None,
    launch: Launch | None = None,
    state: FirstState | None = None,
) -> DockerSandbox:
    """Start a container until its server answers; once more after a transient failure.

    Args:
        engine: The engine to run it.
        plan: What it is to be.
        user: Whom it is for.
        dormant: Whether its user is not known yet: see `Sandbox.hand_over`.
        check: Called while waiting; what it raises ends that.
        launch: How its servers are started; None for a container that starts one itself.
        state: Its first state, where it is to be brought back to that.

    Raises:
        SandboxStartFailed: The container did not start, or its server never answered.
        SandboxError: Whatever else keeps it from starting.
    """
    try:
        return _start_once(engine, plan, user, dormant, check, launch, state)
    except SandboxError as error:
        if not is_transient(error):
            raise
        return _start_once(engine, plan, user, dormant, check, launch, state)


def _start_once(
    engine: ContainerEngine,
    plan: DockerPlan,
    user: User,
    dormant: bool,
    check: Callable[[], None],
    launch: Launch | None,
    state: FirstState | None,
) -> DockerSandbox:
    began = time.monotonic()
    keys = Keys.new(plan.secret_key)
    keys.tell(user.on_secret)
    own = dict(DORMANT if dormant else plan.variables)
    environment = {**plan.spec.environment, **own}
    told = [plan.image.environment, engine.container_proxies, environment]
    own |= without_proxy(told, plan.gateway.direct)
    # What may be secret goes to the server alone where that can be, not to its container.
    shown = {**own, **keys.environment} if launch is None else of_the_process(own)
    spec = replace(
        plan.spec,
        environment={**plan.spec.environment, **shown},
        name_prefix=plan.name_prefix,
        tunneled=engine.is_apart,
    )
    egress = Egress(plan.allow)
    forwards = allowed_forwards(plan.places, plan.allow, egress)
    try:
        with ExitStack() as undo:
            container = undo.enter_context(
                Container.start(
                    engine,
                    spec,
                    log_path=user.log_path,
                    echo=user.echo,
                    clean=user.clean_log,
                    outwards=ways_out(plan.network, plan.gateway, egress, forwards),
                )
            )
            sandbox = DockerSandbox(plan, container, keys, egress, forwards, is_dormant=dormant)
            sandbox.begin(launch, state, own, check, since=began)
            undo.pop_all()
    except SandboxDied as death:
        # The log is a note of its own: the first error's notes do not show.
        raise SandboxStartFailed(
            f"While starting: {death}{_hint(death, launch)}", log=death.log
        ) from None
    return sandbox


def _hint(death: SandboxDied, launch: Launch | None) -> str:
    if launch is None or launch.server.python or death.exit_code != NO_PYTHON:
        return ""
    return (
        "\nThere is no Python in the image, nor is its server one that is known: it cannot be "
        "recycled. Use isolation = fresh."
    )
