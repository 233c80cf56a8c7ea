"""The settings that choose what runs the sandboxes, and where that is.

Standard library only: see `table`, which has all others.
"""

from __future__ import annotations

from pytest_agent_sandbox.settings import kinds
from pytest_agent_sandbox.settings.setting import Values, setting, settings_class

#: The settings that mean nothing but to engine = kubernetes.
CLUSTER_ONLY = frozenset({"kube_context", "kube_namespace", "pod_template"})


@settings_class
class EngineSettings(Values):
    """The part of `SandboxSettings` that is of engines; each is of the run as a whole."""

    url: str | None = setting(
        kinds.text,
        "URL",
        "use the agent server that runs at this URL instead of containers; its session key "
        "comes from SANDBOX_API_KEY",
        default=None,
        run_wide=True,
    )
    engine: str = setting(
        kinds.text,
        "docker|kubernetes|process|NAME",
        "what runs the sandboxes: containers; pods of a cluster; processes of this machine, "
        "without isolation; or an engine from another distribution (default: docker)",
        default="docker",
        run_wide=True,
    )
    python: str | None = setting(
        kinds.text,
        "PATH",
        "Python that has openhands-agent-server, for engine = process (default: that of the tests)",
        default=None,
        run_wide=True,
    )
    max: int | None = setting(
        kinds.positive_integer,
        "N",
        "how many sandboxes the run may have at once, with all its workers; a test that finds no "
        "room waits (default: as many as are asked for)",
        default=None,
        run_wide=True,
        elsewhere="refused",
    )
    kube_context: str | None = setting(
        kinds.text,
        "NAME",
        "context of the kubeconfig, for engine = kubernetes (default: its current one)",
        default=None,
        run_wide=True,
        elsewhere="refused",
    )
    kube_namespace: str | None = setting(
        kinds.text,
        "NAME",
        "namespace of the pods, for engine = kubernetes (default: the context's)",
        default=None,
        run_wide=True,
        elsewhere="refused",
    )
    pod_template: str | None = setting(
        kinds.text,
        "FILE",
        "a pod in YAML with what sandboxes' pods are to have too, such as tolerations and pull "
        "secrets, for engine = kubernetes",
        default=None,
        run_wide=True,
        elsewhere="refused",
    )
