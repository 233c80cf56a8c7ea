"""The certificates by which an engine behind TLS and its user know each other."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docker.tls import TLSConfig

from pytest_agent_sandbox.errors import EngineUnavailable


def tls_from_environment(variables: Mapping[str, str]) -> Any:
    """Return the SDK's TLS configuration by docker's variables; None for a plain connection.

    Args:
        variables: `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`, among others.

    Raises:
        EngineUnavailable: A certificate is missing, or cannot be used.
    """
    folder, verify = variables.get("DOCKER_CERT_PATH"), bool(variables.get("DOCKER_TLS_VERIFY"))
    if not folder and not verify:
        return None
    place = Path(folder or Path.home() / ".docker").absolute()
    says = f"DOCKER_CERT_PATH={folder}" if folder else "DOCKER_TLS_VERIFY"
    ca, cert, key = (place / f"{name}.pem" for name in ("ca", "cert", "key"))
    # As the docker command line has it, the user's own are left out where there are none at all.
    has_own = cert.exists() or key.exists()
    return tls_of(ca, cert if has_own else None, key if has_own else None, says, verify=verify)


def tls_of(
    ca: Path | None, cert: Path | None, key: Path | None, says: str, *, verify: bool
) -> TLSConfig:
    """Return the SDK's TLS configuration.

    Args:
        ca: The certificate of the authority that the engine's is signed by; None for the system's.
        cert: The user's own certificate; None where the engine asks for none.
        key: Its key.
        says: Who says so, in words for an error.
        verify: Whether the engine's certificate is looked at.

    Raises:
        EngineUnavailable: One of them is missing, or cannot be used.
    """
    if verify and ca is not None:
        _check_readable(ca, says)
    if cert is None or key is None:
        if cert is not key:
            raise EngineUnavailable(f"{says}: a certificate and its key belong together; one lacks")
        return TLSConfig(ca_cert=_path(ca), verify=verify)
    for file in (cert, key):
        _check_readable(file, says)
    # OpenSSL would ask for a passphrase at the terminal, where nobody may be.
    if b"ENCRYPTED" in key.read_bytes():
        raise EngineUnavailable(
            f"{says}: the key {key} has a passphrase, which docker does not support either. Remove "
            "it: `openssl pkey -in key.pem -out key.pem`."
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key)
    except (OSError, ValueError) as error:
        raise EngineUnavailable(
            f"{says}: the certificate {cert} and the key {key} cannot be used together: {error}"
        ) from error
    return TLSConfig(client_cert=(str(cert), str(key)), ca_cert=_path(ca), verify=verify)


def _path(file: Path | None) -> str | None:
    return None if file is None else str(file)


def _check_readable(file: Path, says: str) -> None:
    if not os.access(file, os.R_OK):
        reason = "cannot be read" if file.exists() else "does not exist"
        raise EngineUnavailable(f"{says}: {file} {reason}")


def why_no_tls(error: ssl.SSLError) -> str:
    """Say in a few words why two ends did not come together by TLS, and what to do.

    Args:
        error: What the connection raised.
    """
    reason = str(error.reason or error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not accepted: {error.verify_message}. ca.pem has to be of the "
            "authority that signed it, and it has to name the host as the address does"
        )
    if "ALERT" in reason:
        told = reason.rpartition("ALERT_")[2].replace("_", " ").lower()
        return (
            f"it does not accept this machine's certificate ({told}): cert.pem and key.pem have to "
            "be signed by the authority that the engine trusts (its --tlscacert)"
        )
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return "it does not speak TLS at that port: unset DOCKER_TLS_VERIFY and DOCKER_CERT_PATH"
    return f"TLS failed: {reason}"
