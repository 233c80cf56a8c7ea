"""What a pod's status means: why it does not start, and how it has ended."""

from __future__ import annotations

from typing import Any, NamedTuple

from pytest_agent_sandbox.containers.exit_codes import explain_exit

#: The container of a pod with the agent server, and the one that takes its network away.
SERVER, CUT = "server", "cut"

# Reasons for which a container that waits will wait for ever.
_HOPELESS = {
    "ErrImageNeverPull": "is not on the node, and may not be pulled (--sandbox-pull=never)",
    "InvalidImageName": "has a name that no image can have",
    "ImagePullBackOff": "cannot be pulled",
}
# What a registry says that will not change by itself.
_FOR_GOOD = ("not found", "denied", "unauthorized", "manifest unknown", "no such host")
_BAD_START = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


class End(NamedTuple):
    """How a pod has ended.

    Attributes:
        message: That in words, to follow the pod's name.
        exit_code: The server's; None where it is not known.
        out_of_memory: Whether it was ended for lack of memory.
    """

    message: str
    exit_code: int | None = None
    out_of_memory: bool = False


def end_facts_of(pod: dict[str, Any], end: End | None) -> dict[str, Any]:
    """Return how a pod is at the end of a test, in the words of other engines.

    Args:
        pod: The pod as it was last seen.
        end: How it has ended; None while it has not.
    """
    if end is None:
        return {"state": str(pod.get("status", {}).get("phase", "gone")).lower()}
    if end.exit_code is None:
        return {"state": f"ended: {end.message}"}
    facts = {"exit_code": end.exit_code, "out_of_memory": end.out_of_memory}
    return {"state": "exited", **facts}


def of_server(named: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Return what is the server's container's, of things with names; empty where there is none."""
    return next((one for one in named or () if one.get("name") == SERVER), {})


def is_running(pod: dict[str, Any]) -> bool:
    """Tell whether the server's container runs."""
    return "running" in _state(pod)


def is_unschedulable(pod: dict[str, Any]) -> str:
    """Return why no node takes a pod, if so."""
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message") or condition.get("reason") or "")
    return ""


def hopeless_start(pod: dict[str, Any]) -> str:
    """Return why a pod will not start, where waiting does not help; empty while it may."""
    status = pod.get("status", {})
    for one in (*(status.get("initContainerStatuses") or ()), *_statuses(pod)):
        state = one.get("state") or {}
        waiting = state.get("waiting") or {}
        reason, told = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
        image = one.get("image", "?")
        if reason in _HOPELESS:
            return f"its image {image} {_HOPELESS[reason]}: {told or reason}{_secret(told, pod)}"
        if reason == "ErrImagePull" and any(word in told.lower() for word in _FOR_GOOD):
            return f"its image {image} cannot be pulled: {told}{_secret(told, pod)}"
        if reason in _BAD_START:
            return f"its container {one.get('name')} cannot be started: {told or reason}"
    return ""


def why_not_cut(pod: dict[str, Any] | None) -> str:
    """Return why a pod's network could not be taken away, if that was tried in vain."""
    statuses = (pod or {}).get("status", {}).get("initContainerStatuses") or ()
    cut: dict[str, Any] = next((one for one in statuses if one.get("name") == CUT), {})
    ended = (cut.get("state") or {}).get("terminated") or {}
    if not ended.get("exitCode"):
        return ""
    told = str(ended.get("message") or ended.get("reason") or "").strip()
    return f"A pod's network could not be taken away from inside ({told}, code {ended['exitCode']})"


def end_of(pod: dict[str, Any] | None) -> End | None:
    """Return how a pod has ended; None while it has not. A pod that is gone is None."""
    if pod is None:
        return End("was deleted by somebody else")
    return _of_server(pod) or _of_pod(pod)


def _of_server(pod: dict[str, Any]) -> End | None:
    status = pod.get("status", {})
    reason, told = str(status.get("reason") or ""), str(status.get("message") or "").strip()
    if reason in ("Evicted", "Preempting", "Preempted", "NodeLost", "Shutdown", "Terminated"):
        return End(f"was ended by the cluster ({reason}): {told}")
    ended = _state(pod).get("terminated")
    if ended is not None:
        code, is_memory = ended.get("exitCode"), ended.get("reason") == "OOMKilled"
        return End(explain_exit(code, out_of_memory=is_memory), code, is_memory)
    return None


def _of_pod(pod: dict[str, Any]) -> End | None:
    status = pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp"):
        return End("is being deleted by somebody else, or by the cluster")
    if status.get("phase") in ("Failed", "Succeeded"):
        return End(f"has ended: {status.get('message') or status['phase']}")
    for condition in status.get("conditions") or ():
        if condition.get("reason") == "NodeLost" or (
            condition.get("type") == "DisruptionTarget" and condition.get("status") == "True"
        ):
            return End(f"is ended by the cluster: {condition.get('message') or 'its node is lost'}")
    return None


def _statuses(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return list(pod.get("status", {}).get("containerStatuses") or ())


def _state(pod: dict[str, Any]) -> dict[str, Any]:
    return dict(of_server(_statuses(pod)).get("state") or {})


def _secret(told: str, pod: dict[str, Any]) -> str:
    """Return which secret a registry that asks for one is given."""
    if not any(word in told.lower() for word in ("denied", "unauthorized", "authentication")):
        return ""
    names = [one["name"] for one in pod["spec"].get("imagePullSecrets") or ()]
    if names:
        return f" (pull secrets: {', '.join(names)})"
    return " (there is no pull secret: name one in --sandbox-pod-template, under imagePullSecrets)"
