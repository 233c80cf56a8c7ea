from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_agent_sandbox.containers.endpoints import Endpoint, find_endpoints
from pytest_agent_sandbox.errors import EngineUnavailable
from tests.support.certificates import Authority

ADDRESS = "tcp://192.0.2.1:2376"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_HOST", ADDRESS)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    return Authority("an authority").write(tmp_path, "192.0.2.1")


def test_an_endpoint_tells_another_process_of_itself_without_a_key(folder: Path) -> None:
    (endpoint,) = find_endpoints()
    told = json.dumps(endpoint.as_json())
    again = Endpoint.of_json(json.loads(told))
    assert "BEGIN" not in told
    assert (again.address, again.words) == (ADDRESS, "from DOCKER_HOST, by TLS")
    assert vars(again.tls) == vars(endpoint.tls)


def test_who_has_no_certificate_of_his_own_trusts_the_authority(folder: Path) -> None:
    for name in ("cert", "key"):
        (folder / f"{name}.pem").unlink()
    (endpoint,) = find_endpoints()
    assert endpoint.tls.cert is None
    assert endpoint.tls.verify is True


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(EngineUnavailable, match=f"DOCKER_CERT_PATH=.*{name} does not exist"):
        find_endpoints()


def test_a_key_with_a_passphrase_asks_nobody(folder: Path) -> None:
    Authority("an authority").write(folder, "192.0.2.1", passphrase=b"open sesame")
    with pytest.raises(EngineUnavailable, match=r"key\.pem has a passphrase") as caught:
        find_endpoints()
    assert "sesame" not in str(caught.value)


def test_a_key_of_another_certificate_is_told(folder: Path) -> None:
    key = (folder / "key.pem").read_bytes()
    Authority("an authority").write(folder, "192.0.2.1")
    (folder / "key.pem").write_bytes(key)
    with pytest.raises(EngineUnavailable, match="cannot be used together"):
        find_endpoints()


def test_certificates_are_of_no_use_to_a_socket(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/docker.sock")
    (folder / "ca.pem").unlink()
    (endpoint,) = find_endpoints()
    assert endpoint.tls is None


def test_a_context_is_found_without_a_config_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONTEXT", "far")
    place = hashlib.sha256(b"far").hexdigest()
    meta = tmp_path / "contexts" / "meta" / place / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Endpoints": {"docker": {"Host": ADDRESS}}}))
    tls = tmp_path / "contexts" / "tls" / place / "docker"
    tls.mkdir(parents=True)
    Authority("an authority").write(tls, "192.0.2.1")
    for name in ("cert", "key"):
        (tls / f"{name}.pem").unlink()
    (endpoint,) = find_endpoints()
    assert endpoint.words == "docker context 'far', by TLS"
    assert endpoint.tls.verify is True
