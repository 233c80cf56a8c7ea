"""`agent-sandbox prune --engine kubernetes`: what is in a namespace, and what nobody uses of it."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_agent_sandbox.cli.pruning import prune_found
from pytest_agent_sandbox.engines.kubernetes.cleanup import Found, find
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.credentials import read_credentials
from pytest_agent_sandbox.host.seldom import harmless

_LONGEST = 200


def prune(
    names: Sequence[str],
    *,
    context: str | None,
    namespace: str | None,
    dry_run: bool = False,
    yes: bool = False,
    as_json: bool = False,
) -> bool:
    """Print what there is; delete what was kept or left behind, or what is named.

    Args:
        names: What to delete, and nothing else.
        context: The context of the kubeconfig; None for its current one.
        namespace: The namespace; None for the context's.
        dry_run: Delete nothing.
        yes: Delete it without asking.
        as_json: Print it for programs, which are not asked.

    Returns:
        Whether all went well.

    Raises:
        SettingsError: There are no credentials, a name is unknown, or nobody can be asked.
        SandboxError: The cluster refuses, or does not answer.
    """
    with Cluster(read_credentials(context, namespace)) as cluster:
        return prune_found(
            find(cluster),
            names,
            describe=_describe,
            remove=lambda one: one.remove(cluster),
            place=f"in the namespace {cluster.namespace}",
            dry_run=dry_run,
            yes=yes,
            as_json=as_json,
        )


def _describe(one: Found) -> str:
    # Somebody else may have written them, for this terminal.
    labels = {name: harmless(value, _LONGEST) for name, value in one.labels.items()}
    owner = f"run {labels['run'] or '?'}"
    use = {
        "kept": "kept to be looked into",
        "alive": f"in use by {owner}",
        "dead": f"left behind by {owner}, whose process has ended",
        "unknown": f"of {owner}, of which nothing tells whether it has ended; name it to remove it",
    }[one.use]
    test = f"; of {labels['test']}" if labels["test"] else ""
    title = f"{one.name} (job)" if one.kind == "job" else one.name
    return f"{title}: {use}{test}, started {labels['started'] or '?'}"
