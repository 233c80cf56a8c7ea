"""Where a cluster is, and what it lets us in by: of a kubeconfig, or of the pod that we run in."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_agent_sandbox.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What the extra is called that this engine needs.
EXTRA = "pytest-agent-sandbox[kubernetes]"
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class Credentials:
    """The way to a cluster's API server.

    The library reads them, with plug-ins of clouds and tokens that have to be renewed; requests are
    ours, for its classes of the API take 126 MB and differ from one of its versions to the next.

    Attributes:
        context: The context of the kubeconfig; empty in a cluster.
        namespace: The namespace to work in.
        configuration: What the library has read.
    """

    context: str
    namespace: str
    configuration: Any

    @property
    def address(self) -> str:
        """The API server's address."""
        return str(self.configuration.host).rstrip("/")

    @property
    def proxy(self) -> str | None:
        """The proxy that the kubeconfig names."""
        return self.configuration.proxy or None

    @property
    def server_name(self) -> str | None:
        """The name that the API server's certificate is for, where that is not its address."""
        return self.configuration.tls_server_name or None

    def tls(self) -> ssl.SSLContext | None:
        """Return how to speak TLS with the API server; None where it speaks none."""
        found = self.configuration
        if not self.address.startswith("https"):
            return None
        context = ssl.create_default_context(
            cafile=found.ssl_ca_cert, cadata=getattr(found, "ca_cert_data", None)
        )
        if not found.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if found.cert_file:
            context.load_cert_chain(found.cert_file, found.key_file)
        return context

    def headers(self) -> dict[str, str]:
        """Return what shows who we are: tokens are renewed when they have to be."""
        settings: Mapping[str, Any] = self.configuration.auth_settings()
        for found in settings.values():
            if found.get("in") == "header" and found.get("value"):
                return {"Authorization": str(found["value"])}
        if self.configuration.username and self.configuration.password:
            return {"Authorization": str(self.configuration.get_basic_auth_token())}
        return {}


def read_credentials(context: str | None, namespace: str | None) -> Credentials:
    """Read them: of `KUBECONFIG` or `~/.kube/config`, else of the pod that this process runs in.

    Args:
        context: The context to use; the kubeconfig's current one by default.
        namespace: The namespace; the context's by default.

    Raises:
        SettingsError: The library is missing, there are none, or they cannot be used.
    """
    try:
        import yaml
        from kubernetes import client, config
    except ImportError:
        raise SettingsError(
            f"--sandbox-engine=kubernetes needs a library: pip install '{EXTRA}'"
        ) from None
    configuration = client.Configuration()
    # Named each time: the library looks for it once, when it is loaded.
    place = os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        if context is None and _is_in_cluster():
            config.load_incluster_config(client_configuration=configuration)
            own = (_ACCOUNT / "namespace").read_text("utf-8").strip()
            return Credentials("", namespace or own, configuration)
        config.load_kube_config(place, context=context, client_configuration=configuration)
        contexts, active = config.list_kube_config_contexts(place)
    except (
        *(config.ConfigException, yaml.YAMLError),
        *(OSError, ValueError, KeyError, TypeError, AttributeError),
    ) as error:
        given = f" --sandbox-kube-context={context}:" if context else ""
        raise SettingsError(
            f"--sandbox-engine=kubernetes:{given} no cluster can be taken from {place}: {error}. "
            "Set KUBECONFIG to a file that `kubectl` works with."
        ) from error
    chosen = next((one for one in contexts if one["name"] == context), active)
    own = chosen["context"].get("namespace") or "default"
    return Credentials(str(chosen["name"]), namespace or own, configuration)


def _is_in_cluster() -> bool:
    has_config = "KUBECONFIG" in os.environ or Path("~/.kube/config").expanduser().is_file()
    is_pod = "KUBERNETES_SERVICE_HOST" in os.environ and (_ACCOUNT / "token").is_file()
    return is_pod and not has_config
