"""Admission control of one namespace of a real cluster: a webhook of this process."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.host.closing import Closing
from tests.support.certificates import make_certificate

_PATH = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"

#: Looks at a pod: a message refuses it; it may change the pod's spec.
Look = Callable[[dict[str, Any]], str]


def capabilities(pod: dict[str, Any]) -> set[str]:
    """Return those that a pod's containers ask for."""
    spec = pod["spec"]
    return {
        one
        for container in (*(spec.get("initContainers") or ()), *spec["containers"])
        for one in (container["securityContext"].get("capabilities") or {}).get("add") or ()
    }


class Admission(Closing):
    """Decides which pods of a namespace are made, and changes them.

    Args:
        cluster: The cluster, as its administrator sees it in that namespace.
        folder: For its certificate.
        look: Decides.
    """

    def __init__(self, cluster: Cluster, folder: Path, look: Look) -> None:
        self._cluster = cluster
        file = make_certificate(folder)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(file)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                asked = json.loads(self.rfile.read(size))["request"]
                answer = json.dumps(_answer(asked, look)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True)
        self._thread.start()
        name = f"pytest-agent-sandbox-{cluster.namespace}"
        self._name = name
        label = {"metadata": {"labels": {"admission": cluster.namespace}}}
        cluster.request(
            "PATCH",
            f"/api/v1/namespaces/{cluster.namespace}",
            "label the namespace",
            body=label,
            kind="application/merge-patch+json",
        )
        authority = file.read_bytes().partition(b"-----BEGIN PRIVATE")[0]
        hook = {
            "name": f"{cluster.namespace}.policy.example",
            "clientConfig": {
                "url": f"https://127.0.0.1:{self._server.server_port}/",
                "caBundle": base64.b64encode(authority).decode(),
            },
            # Nobody else's pods.
            "namespaceSelector": {"matchLabels": {"admission": cluster.namespace}},
            "rules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["pods"],
                    "scope": "Namespaced",
                }
            ],
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "timeoutSeconds": 5,
        }
        body = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [hook],
        }
        cluster.request("POST", _PATH, "make a webhook", body=body)

    def close(self) -> None:
        self._cluster.request("DELETE", f"{_PATH}/{self._name}", "delete a webhook")
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _answer(asked: dict[str, Any], look: Look) -> dict[str, Any]:
    pod = asked["object"]
    answer: dict[str, Any] = {"uid": asked["uid"]}
    refused = look(pod)
    answer["allowed"] = not refused
    if refused:
        answer["status"] = {"code": 403, "message": refused}
    else:
        patch = [{"op": "replace", "path": "/spec", "value": pod["spec"]}]
        answer |= {
            "patchType": "JSONPatch",
            "patch": base64.b64encode(json.dumps(patch).encode()).decode(),
        }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}
