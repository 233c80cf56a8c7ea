"""`agent-sandbox doctor --engine kubernetes`: says whether tests can run in a cluster."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime

from pytest_agent_sandbox.cli.findings import Finding, failure, live_llm, tell
from pytest_agent_sandbox.engines.engine import EngineContext, SandboxRequest
from pytest_agent_sandbox.engines.kubernetes.access import ask, has_namespace, missing_verbs
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.credentials import (
    EXTRA,
    Credentials,
    read_credentials,
)
from pytest_agent_sandbox.engines.kubernetes.engine import KubernetesEngine
from pytest_agent_sandbox.engines.kubernetes.refusals import RULES, role
from pytest_agent_sandbox.engines.kubernetes.workspace import KubernetesWorkspace
from pytest_agent_sandbox.errors import EngineUnavailable, SandboxError
from pytest_agent_sandbox.sandbox.network import ISOLATED, OPEN
from pytest_agent_sandbox.settings.table import SandboxSettings

_Findings = Generator[Finding, None, None]

# Seconds by which two clocks may differ.
_SKEW = 60


def doctor(
    image: str | None,
    *,
    context: str | None,
    namespace: str | None,
    template: str | None,
    as_json: bool = False,
) -> int:
    """Print what tests need of a cluster and whether it is there.

    Args:
        image: The image to look at; None for the default one.
        context: The context of the kubeconfig; None for its current one.
        namespace: The namespace; None for the context's.
        template: The file with the pod template, if there is one.
        as_json: Print it for programs.

    Returns:
        The exit code: 1 where something needed is missing.
    """
    settings = SandboxSettings(
        engine="kubernetes",
        image=image,
        kube_context=context,
        kube_namespace=namespace,
        pod_template=template,
        pool_size=0,
    )
    return tell(_findings(settings), as_json=as_json)


def _findings(settings: SandboxSettings) -> _Findings:
    yield live_llm(os.environ)
    library = _library()
    yield library
    if library.state == "FAIL":
        return
    try:
        credentials = read_credentials(settings.kube_context, settings.kube_namespace)
        cluster = Cluster(credentials)
    except SandboxError as error:
        yield failure("credentials", error)
        return
    except OSError as error:
        text = f"What the kubeconfig names cannot be used: {error}"
        yield Finding("credentials", "FAIL", text, "Check its certificates and keys.")
        return
    yield _credentials(credentials)
    with cluster:
        is_usable = yield from _cluster(cluster)
    if is_usable:
        yield from _sandboxes(settings)


def _library() -> Finding:
    try:
        import kubernetes
    except ImportError:
        advice = f"Install it: pip install '{EXTRA}'"
        return Finding("library", "FAIL", "kubernetes is not installed.", advice)
    return Finding("library", "ok", f"kubernetes {kubernetes.__version__}")


def _credentials(found: Credentials) -> Finding:
    source = f"context {found.context}" if found.context else "the service account of this pod"
    return Finding("credentials", "ok", f"{source}, namespace {found.namespace}")


def _cluster(cluster: Cluster) -> Generator[Finding, None, bool]:
    """Look at the cluster without making anything; return whether sandboxes may be started."""
    try:
        before = datetime.now(UTC)
        told, time_there = ask(cluster, "/version", "ask for its version")
        yield Finding(
            "API server",
            "ok",
            f"Kubernetes {told.get('gitVersion', '?')} at {cluster.credentials.address}",
        )
        yield _clock(before, time_there, datetime.now(UTC))
        namespace = _namespace(cluster)
        yield namespace
        may_all = yield from _permissions(cluster)
    except EngineUnavailable as error:
        yield failure("API server", error, "Check its address, the network, and VPN or proxy.")
        return False
    except SandboxError as error:
        yield failure("API server", error)
        return False
    return may_all and namespace.state != "FAIL"


def _clock(before: datetime, there: datetime, after: datetime) -> Finding:
    # The server tells whole seconds, of a moment between the two.
    seconds = max((before - there).total_seconds() - 1, (there - after).total_seconds(), 0.0)
    if seconds <= _SKEW:
        return Finding("clock", "ok", f"within {_SKEW} s of the API server's")
    ahead = "ahead of" if there < before else "behind"
    return Finding(
        "clock",
        "WARN",
        f"{seconds:.0f} s {ahead} the API server's",
        "Set this machine's clock, or the node's: certificates and tokens may seem expired, or not "
        "yet valid.",
    )


def _namespace(cluster: Cluster) -> Finding:
    is_there = has_namespace(cluster)
    if is_there:
        return Finding("namespace", "ok", cluster.namespace)
    if is_there is None:
        text = f"{cluster.namespace}; whether it is there may not be asked"
        return Finding("namespace", "--", text)
    return Finding(
        "namespace",
        "FAIL",
        f"There is no namespace {cluster.namespace}.",
        f"Make it (kubectl create namespace {cluster.namespace}), or name another one by "
        "--kube-namespace.",
    )


def _permissions(cluster: Cluster) -> Generator[Finding, None, bool]:
    may_all = True
    for group, resource, verbs in RULES:
        missing = missing_verbs(cluster, group, resource, verbs)
        text = f"may {', '.join(one for one in verbs if one not in missing)}"
        if missing:
            text = f"may not {', '.join(missing)}"
            may_all = False
        yield Finding(resource, "FAIL" if missing else "ok", text)
    if not may_all:
        yield Finding(
            "role",
            "FAIL",
            "Permissions are missing. This Role has all that tests need; have it made, and bound "
            "to your account:",
            role(cluster.namespace),
        )
    return may_all


def _sandboxes(settings: SandboxSettings) -> _Findings:
    """Start sandboxes; all that is made for them is gone in the end."""
    run = f"doctor-{secrets.token_hex(4)}"
    with KubernetesEngine(EngineContext(settings=settings, run=run)) as engine:
        began = time.monotonic()
        try:
            image = engine.look_into(_request(engine, OPEN))
        except SandboxError as error:
            yield failure("image", error)
            return
        user = f"user {image.account.number}, agent server {image.version or 'of unknown version'}"
        seconds = time.monotonic() - began
        yield Finding("image", "ok", f"{image.reference}, {user}; its pod took {seconds:.1f} s")
        isolated = _sandbox(engine, ISOLATED, "isolation")
        if isolated.state == "ok":
            yield isolated
            return
        opened = _sandbox(engine, OPEN, "sandbox")
        yield opened
        # The same is wrong with both, as a rule, where none starts.
        if opened.state == "ok":
            advice = "Tests with --sandbox-network=isolated or none do not start here; others do."
            yield Finding("isolation", "--", isolated.text, advice)


def _sandbox(engine: KubernetesEngine, network: str, subject: str) -> Finding:
    began = time.monotonic()
    try:
        with engine.start(_request(engine, network)) as workspace:
            seconds = time.monotonic() - began
            code = workspace.execute_command("true").exit_code
            way = _way(workspace) if network == ISOLATED else ""
    except SandboxError as error:
        return failure(subject, error)
    if code:
        return Finding(subject, "FAIL", f"A sandbox started, but `true` ended with code {code}.")
    return Finding(subject, "ok", f"a sandbox {way}started in {seconds:.1f} s, and ran a command")


def _way(workspace: KubernetesWorkspace) -> str:
    """Return which of the two ways to isolate a sandbox the cluster grants."""
    if workspace.pod.is_tried:
        return "isolated by a network policy, without a way out, as tried from inside, "
    return "isolated by NET_ADMIN, without a way out, as seen from inside, "


def _request(engine: KubernetesEngine, network: str) -> SandboxRequest:
    settings = engine.context.settings
    return SandboxRequest(
        settings=replace(settings, network=network),
        image=engine.choose_image(settings),
        test="agent-sandbox doctor",
    )
