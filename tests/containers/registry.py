"""A real registry on loopback, with or without a password, and images pushed into it by hand.

By hand rather than through the engine: so an image can be of any platform, and the engine does not
have it already.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

USER, PASSWORD = "tester", "let-me-in"
# bcrypt, the one kind that the registry takes.
_HTPASSWD = f"{USER}:$2b$05$qvlJACwxySR3e3le25s3zO1ZMEhP87SrBk74AF13Pz33zs8oGnONu\n"
_LISTENING = re.compile(r"listening on (127\.0\.0\.1:\d+)")
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


@dataclass(frozen=True)
class Registry:
    """A registry that runs.

    Attributes:
        address: Host and port, as in an image's name.
        log_path: What it logged so far, a line per request.
    """

    address: str
    log_path: Path

    def push(
        self, name: str, *, platform: str = "linux/amd64", content: bytes = b"", tag: str = "1"
    ) -> str:
        """Pushes an image of one layer with one file; returns the manifest's digest."""
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as archive:
            entry = tarfile.TarInfo("content")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        packed = gzip.compress(layer.getvalue(), 1)
        system, architecture = platform.split("/")
        config = json.dumps(
            {
                "os": system,
                "architecture": architecture,
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer.getvalue())]},
            }
        ).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._upload(name, config) | {"mediaType": _CONFIG},
            "layers": [self._upload(name, packed) | {"mediaType": _LAYER}],
        }
        return self._put_manifest(name, tag, _MANIFEST, manifest)

    def push_list(self, name: str, platforms: list[str], tag: str = "1") -> None:
        """Pushes an image that is there for several platforms."""
        manifests = []
        for number, platform in enumerate(platforms):
            digest = self.push(name, platform=platform, tag=f"part-{number}")
            system, architecture = platform.split("/")
            with self._client() as client:
                size = len(client.get(f"/v2/{name}/manifests/{digest}").content)
            manifests.append(
                {
                    "mediaType": _MANIFEST,
                    "digest": digest,
                    "size": size,
                    "platform": {"os": system, "architecture": architecture},
                }
            )
        body = {"schemaVersion": 2, "mediaType": _LIST, "manifests": manifests}
        self._put_manifest(name, tag, _LIST, body)

    def _client(self) -> httpx.Client:
        return httpx.Client(
            base_url=f"http://{self.address}",
            auth=(USER, PASSWORD),
            headers={"Accept": f"{_MANIFEST}, {_LIST}"},
            trust_env=False,
        )

    def _upload(self, name: str, data: bytes) -> dict[str, object]:
        digest = _digest(data)
        with self._client() as client:
            place = client.post(f"/v2/{name}/blobs/uploads/").headers["Location"]
            answer = client.put(place, params={"digest": digest} | _query(place), content=data)
            assert answer.status_code == httpx.codes.CREATED, answer.text
        return {"digest": digest, "size": len(data)}

    def _put_manifest(self, name: str, tag: str, kind: str, body: dict[str, object]) -> str:
        data = json.dumps(body).encode()
        with self._client() as client:
            answer = client.put(
                f"/v2/{name}/manifests/{tag}", content=data, headers={"Content-Type": kind}
            )
            assert answer.status_code == httpx.codes.CREATED, answer.text
        return _digest(data)


@contextlib.contextmanager
def running_registry(folder: Path, *, password: bool = False) -> Iterator[Registry]:
    """A registry for the time of a `with` statement, its data and log in the folder."""
    program = shutil.which("docker-registry")
    if program is None:
        reason = "needs the program docker-registry (Debian's package of that name)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    settings: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": "127.0.0.1:0"},
    }
    if password:
        (folder / "htpasswd").write_text(_HTPASSWD)
        settings["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(settings))
    log_path = folder / "registry.log"
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with (
        log_path.open("wb") as log,
        subprocess.Popen(
            [program, "serve", str(folder / "config.yml")],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        ) as process,
    ):
        try:
            yield Registry(_address(log_path, process), log_path)
        finally:
            process.terminate()


def _address(log_path: Path, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        found = _LISTENING.search(log_path.read_text())
        if found:
            return found.group(1)
        time.sleep(0.02)
    pytest.fail(f"the registry did not start: {log_path.read_text()}")


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _query(place: str) -> dict[str, str]:
    return dict(httpx.URL(place).params)
