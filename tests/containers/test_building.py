"""Building an agent-server image: what goes in, what stays out, and what a failure says."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from pytest_agent_sandbox.containers import building, images, recipes
from pytest_agent_sandbox.containers.building import build_agent_server, make_default
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_names import (
    BUILT_REPOSITORY,
    MINIMAL_TARGET,
    TARGET_LABEL,
    VERSION_LABEL,
)
from pytest_agent_sandbox.containers.images import Image, find_local
from pytest_agent_sandbox.containers.progress import Silence
from pytest_agent_sandbox.errors import ImageBuildFailed, SettingsError
from pytest_agent_sandbox.host.host_network import HostNetwork

_USUAL_BASES = (
    "python:3.13-slim-trixie",
    "pytest-agent-sandbox/debian-python:trixie",
)


class Recording(Silence):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.lines: list[str] = []
        self.notes: list[str] = []

    def update(self, activity: str, done: int = 0, total: int = 0, unit: str = "bytes") -> None:
        if unit == "steps":
            self.steps.append((done, total))

    def output(self, line: str) -> None:
        self.lines.append(line)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def base_image(engine: ContainerEngine) -> str:
    """A base image with Python that is here already."""
    if chosen := os.environ.get("SANDBOX_TEST_BASE_IMAGE"):
        return chosen
    for reference in _USUAL_BASES:
        if find_local(engine, reference) is not None:
            return reference
    reason = f"no base image to build from: set SANDBOX_TEST_BASE_IMAGE, or pull {_USUAL_BASES[0]}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def built(engine: ContainerEngine, base_image: str) -> Image:
    """A real image, with everything; found where scripts/setup has built the same already."""
    return build_agent_server(engine, base_image=base_image)


@pytest.fixture(scope="module")
def derived(engine: ContainerEngine, base_image: str) -> Iterator[DerivedImages]:
    """Makes base images by a few lines of Dockerfile, and removes them and what was built."""
    images = DerivedImages(engine, base_image)
    yield images
    images.remove()


class DerivedImages:
    def __init__(self, engine: ContainerEngine, base_image: str) -> None:
        self._engine = engine
        self._base_image = base_image
        self._references: list[str] = []
        self._mark = f"pytest-agent-sandbox.tests={uuid.uuid4().hex}"

    def make(self, lines: str) -> str:
        reference = f"pytest-agent-sandbox/tests:{uuid.uuid4().hex[:12]}"
        self._engine.client.images.build(
            fileobj=io.BytesIO(f"FROM {self._base_image}\nLABEL {self._mark}\n{lines}\n".encode()),
            tag=reference,
            rm=True,
            forcerm=True,
        )
        self._references.append(reference)
        return reference

    def remove(self) -> None:
        for reference in self._references:
            filters = {"label": f"{building.BASE_LABEL}={reference}"}
            for image in self._engine.client.images.list(filters=filters):
                for tag in image.tags:
                    self._engine.client.images.remove(tag)
            self._engine.client.images.remove(reference)
        # What failed builds leave, as they do everywhere: a cache for the next try.
        self._engine.client.images.prune(filters={"dangling": True, "label": self._mark})


def run_in(engine: ContainerEngine, image: Image, script: str) -> str:
    output = engine.client.containers.run(
        image.id, entrypoint=["sh", "-c"], command=[script], remove=True
    )
    return bytes(output).decode()


def test_second_build_costs_nothing(engine: ContainerEngine, base_image: str, built: Image) -> None:
    progress = Recording()
    started = time.monotonic()
    again = build_agent_server(engine, base_image=base_image, progress=progress)
    assert time.monotonic() - started < 0.5
    assert again == built
    assert not progress.steps


def test_labels_say_what_it_is(built: Image, base_image: str) -> None:
    assert built.reference.startswith(f"{BUILT_REPOSITORY}:1.58.0-source-minimal-")
    assert built.labels[VERSION_LABEL] == "1.58.0"
    assert built.labels[TARGET_LABEL] == "source-minimal"
    assert built.labels[building.BASE_LABEL].startswith(base_image)


def _normal(requirement: str) -> str:
    name, _, version = requirement.partition("==")
    return f"{re.sub('[-_.]+', '-', name).lower()}=={version}"


def test_pinned_packages_and_no_leftovers(engine: ContainerEngine, built: Image) -> None:
    pins = (Path(building.__file__).parent / "image/requirements-1.58.0.txt").read_text()
    lines = [line.split()[0] for line in pins.splitlines() if not line.startswith(" ")]
    assert pins.count("--hash=sha256:") >= len(lines)
    wanted = {_normal(line) for line in lines}
    installed = run_in(engine, built, "/agent-server/.venv/bin/python -m pip freeze 2>/dev/null")
    assert {_normal(line) for line in installed.split()} <= wanted
    assert "openhands-agent-server==1.58.0" in installed
    folders = "/var/lib/apt/lists /var/cache/apt/archives ~/.cache /root/.cache"
    left = run_in(engine, built, f"sudo find {folders} -type f ! -name lock 2>/dev/null || :")
    assert left.split() == []


def test_the_bill_of_materials_lists_what_is_installed(
    engine: ContainerEngine, built: Image
) -> None:
    bill = json.loads(run_in(engine, built, "cat /opt/agent-sandbox/sbom.cdx.json"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    purls = {component["purl"] for component in bill["components"]}
    assert "pkg:pypi/openhands-agent-server@1.58.0" in purls
    _, version = run_in(engine, built, "dpkg-query -W git").split()
    assert f"pkg:deb/debian/git@{quote(version, safe='')}" in purls
    installed = run_in(engine, built, "/agent-server/.venv/bin/python -m pip freeze 2>/dev/null")
    assert len([purl for purl in purls if "/pypi/" in purl or ":pypi/" in purl]) >= len(
        installed.split()
    )


def test_user_may_become_root_and_owns_the_workspace(engine: ContainerEngine, built: Image) -> None:
    script = "id -u; id -un; sudo -n id -u; touch /workspace/project/x && echo owner; git --version"
    uid, name, root, owner, git = run_in(engine, built, script).splitlines()
    assert (uid, name, root, owner) == ("10001", "openhands", "0", "owner")
    assert git.startswith("git version")


def test_server_answers(engine: ContainerEngine, built: Image) -> None:
    container = engine.client.containers.run(
        built.id, detach=True, ports={8000: ("127.0.0.1", None)}
    )
    try:
        container.reload()
        port = container.ports["8000/tcp"][0]["HostPort"]
        script = f"curl -sf --retry 100 --retry-delay 1 --retry-all-errors localhost:{port}/health"
        assert subprocess.check_output(["sh", "-c", script], timeout=90).startswith(b"{")
    finally:
        container.remove(force=True, v=True)


def test_becomes_the_default(engine: ContainerEngine, built: Image, derived: DerivedImages) -> None:
    labels = {VERSION_LABEL: "0.0.1", TARGET_LABEL: "source-minimal"}
    named = Image(built.reference, built.id, None, built.platform, labels)
    default = make_default(engine, named)
    try:
        assert default.reference == f"{BUILT_REPOSITORY}:0.0.1"
        assert default.id == built.id
        own = images.find_built(engine, "0.0.1", target="source-minimal")
        assert own is not None
        assert own.id == built.id
        assert images.find_built(engine, "0.0.1", target="source") is None
    finally:
        engine.client.images.remove(default.reference)
        engine.client.images.remove(f"{BUILT_REPOSITORY}:0.0.1-source-minimal")


def test_every_input_changes_the_name(
    engine: ContainerEngine, base_image: str, built: Image
) -> None:
    base = find_local(engine, base_image)
    assert base is not None
    plain = HostNetwork()
    other_ca = HostNetwork(certificates=("-----BEGIN CERTIFICATE-----x",))
    made = [
        recipes.server_recipe(base, "1.58.0", plain),
        recipes.server_recipe(base, "1.58.1", plain),
        recipes.server_recipe(base, "1.58.0", other_ca),
        recipes.server_recipe(built, "1.58.0", plain),
    ]
    made += [recipes.full_recipe(base, recipe.version, recipe) for recipe in made]
    made += [recipes.agents_recipe(recipe, ["codex"]) for recipe in made]
    made.append(recipes.agents_recipe(made[0], ["claude-code"]))
    made.append(recipes.agents_recipe(made[0], ["claude-code", "codex"]))
    assert len({recipe.key for recipe in made}) == 18
    again = recipes.agents_recipe(made[0], ["codex", "claude-code", "codex"])
    assert again == made[-1], "in any order"


@pytest.mark.parametrize(
    ("target", "advice"),
    [
        ("binary", "use 'source', which runs the same server"),
        ("binary-minimal", "use 'source-minimal', which runs the same server"),
        ("desk", "no target 'desk'; use 'source-minimal', or 'source'"),
    ],
)
def test_target_that_is_not_there(engine: ContainerEngine, target: str, advice: str) -> None:
    with pytest.raises(SettingsError, match=advice):
        build_agent_server(engine, base_image="x", target=target)


def test_what_agents_work_with(engine: ContainerEngine, built: Image) -> None:
    """A name to commit by, and pytest, for the Python that they find."""
    script = (
        "set -e; cd $(mktemp -d); git init -q; echo 'def test_it(): pass' > test_it.py; "
        "git add .; git commit -qm First; git log --format='%an <%ae>'; git branch --show-current; "
        "pytest -q; python3 -m pytest -q; command -v pytest"
    )
    lines = run_in(engine, built, script).splitlines()
    assert lines[:2] == ["Agent <agent@sandbox.invalid>", "main"]
    assert sum("1 passed" in line for line in lines) == 2
    assert lines[-1] == "/usr/local/bin/pytest"
    bill = json.loads(run_in(engine, built, "cat /opt/agent-sandbox/sbom.cdx.json"))
    purls = {component["purl"].partition("@")[0] for component in bill["components"]}
    assert "pkg:pypi/pytest" in purls


def test_what_the_base_image_has_goes_before(
    engine: ContainerEngine, derived: DerivedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its git identity, its pytest, and its versions of what pytest needs.

    The server, of which nothing is looked at and which takes longest, is left out.
    """
    texts = recipes._texts

    def without_server(folder: str, *names: str) -> dict[str, str]:
        found = texts(folder, *names)
        if "install-server" in found:
            venv, rest = found["install-server"].split("# Of a version whose", 1)
            tools = rest[rest.index("# The programs that") : rest.index("# pip may give way")]
            found["install-server"] = venv + tools
        return found

    monkeypatch.setattr(recipes, "_texts", without_server)
    base = derived.make(
        "RUN git config --system user.name Ours 2>/dev/null "
        "|| printf '[user]\\n\\tname = Ours\\n' > /etc/gitconfig\n"
        "RUN site=$(python3 -c 'import site; print(site.getsitepackages()[0])') "
        "&& mkdir -p $site && echo 'mine = 1' > $site/iniconfig.py\n"
        "RUN printf '#!/bin/sh\\necho ours\\n' > /usr/local/bin/pytest "
        "&& chmod 755 /usr/local/bin/pytest"
    )
    image = build_agent_server(engine, base_image=base)
    script = "git config user.name; pytest; python3 -c 'import iniconfig; print(iniconfig.mine)'"
    assert run_in(engine, image, script).splitlines() == ["Ours", "ours", "1"]


def test_base_image_without_python_nor_apt(engine: ContainerEngine, derived: DerivedImages) -> None:
    base = derived.make("RUN rm -f /usr/bin/apt-get /usr/bin/python3* /usr/local/bin/python3*")
    progress = Recording()
    with pytest.raises(ImageBuildFailed, match=r"has no apt-get, and lacks:.* tini") as caught:
        build_agent_server(engine, base_image=base, progress=progress)
    assert base in str(caught.value)
    assert "in the step `RUN /bin/sh /opt/agent-sandbox/prepare-system`" in str(caught.value)
    assert "agent-sandbox: the base image has no apt-get" in caught.value.__notes__[0]
    assert (1, progress.steps[0][1]) == progress.steps[0]


def test_base_image_with_an_old_python_only(
    engine: ContainerEngine, derived: DerivedImages
) -> None:
    """As Debian 12 is: apt-get is there, yet gives a Python that is too old."""
    old = '#!/bin/sh\\ncase "$*" in *platform*) echo Python 3.11.2;; *) exit 1;; esac\\n'
    base = derived.make(
        "RUN rm -f /usr/bin/python3* /usr/local/bin/python* && printf '#!/bin/sh\\n' "
        f"> /usr/bin/apt-get && printf '{old}' > /usr/bin/python3 && chmod 755 /usr/bin/python3"
    )
    with pytest.raises(ImageBuildFailed, match=r"needs Python >= 3.12.*offers Python 3.11.2"):
        build_agent_server(engine, base_image=base)


def test_version_that_does_not_exist(
    engine: ContainerEngine, base_image: str, derived: DerivedImages
) -> None:
    base = derived.make("LABEL nothing=else")
    progress = Recording()
    with pytest.raises(ImageBuildFailed, match=r"install-server.*agent-server==0\.0\.1") as caught:
        build_agent_server(engine, base_image=base, version="0.0.1", progress=progress)
    assert "openhands-agent-server==0.0.1" in caught.value.__notes__[0]
    assert any("no tested package versions are known" in note for note in progress.notes)


def test_index_credentials_and_proxies_stay_out_of_the_image(
    engine: ContainerEngine, derived: DerivedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With stand-ins for the long steps, which show what they were given."""
    base = derived.make("LABEL secrets=none")
    stand_ins = {
        "prepare-system": "useradd openhands; mkdir /agent-server; chown 1000 /agent-server",
        "install-server": "cat /opt/agent-sandbox/pip.conf; env; touch /agent-server/done",
        "install-vscode": "cat /opt/agent-sandbox/npmrc /opt/agent-sandbox/pip.conf; env; "
        "mkdir /openhands",
        "install-desktop": "env",
        "configure-vscode": "touch /openhands/configured",
    }
    texts = recipes._texts

    def quick(folder: str, *names: str) -> dict[str, str]:
        return texts(folder, *names) | {
            name: stand_ins[name] for name in names if name in stand_ins
        }

    monkeypatch.setattr(recipes, "_texts", quick)
    progress = Recording()
    network = HostNetwork(
        index_url="https://user:s3cret-index@index.example/simple",
        npm_registry="https://user:s3cret-node@packages.example",
        proxies={"FTP_PROXY": "http://user:s3cret-proxy@proxy.example:3128"},
    )
    image = build_agent_server(
        engine, base_image=base, target="source", host_network=network, progress=progress
    )

    seen = "\n".join(progress.lines)
    assert "s3cret-node" in seen, "the build did not get the npm registry"
    assert "s3cret-index" in seen, "the build did not get the index"
    assert "s3cret-proxy" in seen, "the build did not get the proxy"

    history = json.dumps(engine.client.api.history(image.id))
    attributes = json.dumps(engine.client.api.inspect_image(image.id))
    assert "s3cret" not in history + attributes
    layers = io.BytesIO(b"".join(engine.client.images.get(image.reference).save()))
    with tarfile.open(fileobj=layers) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            if file is not None:
                assert b"s3cret" not in file.read(), member.name
    for name in (image.reference, *minimal_names(engine, base)):
        left = engine.client.images.list(
            all=True, filters={"label": f"{building.INSTALLER_LABEL}={name[-12:]}"}
        )
        assert left == []


def minimal_names(engine: ContainerEngine, base_image: str) -> list[str]:
    filters = {
        "label": [
            f"{building.BASE_LABEL}={base_image}",
            f"{TARGET_LABEL}={MINIMAL_TARGET}",
        ]
    }
    names = [tag for image in engine.client.images.list(filters=filters) for tag in image.tags]
    assert names
    return names


class TestHostNetwork:
    def test_nothing_set(self) -> None:
        network = HostNetwork.from_environment({})
        assert network == HostNetwork()
        assert network.pip_configuration() == "[global]\n"
        assert network.npm_configuration() == ""

    def test_npm_registry(self) -> None:
        network = HostNetwork.from_environment({"npm_config_registry": "https://u:p%40w@n.example"})
        assert network.npm_configuration() == "registry=https://u:p%40w@n.example\n"
        assert "p%40w" not in repr(network)
        assert network.has_index_credentials

    def test_certificates_of_all_variables_each_once(self, tmp_path: Path) -> None:
        one, two = (
            f"-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----" for name in "ab"
        )
        (tmp_path / "one.pem").write_text(f"# a comment\n{one}\n")
        (tmp_path / "both.pem").write_text(f"{two}\n{one}\n".replace("\n", "\r\n"))
        network = HostNetwork.from_environment(
            {
                "SSL_CERT_FILE": str(tmp_path / "one.pem"),
                "PIP_CERT": str(tmp_path / "both.pem"),
                "CURL_CA_BUNDLE": str(tmp_path / "left-behind.pem"),
                "REQUESTS_CA_BUNDLE": "",
            }
        )
        assert network.certificates == (one, two)
        assert sorted(network.certificate_files().values()) == [f"{one}\n", f"{two}\n"]

    @pytest.mark.parametrize("content", [None, "no certificate"])
    def test_unusable_bundle(self, tmp_path: Path, content: str | None) -> None:
        bundle = tmp_path / "bundle.pem"
        if content is not None:
            bundle.write_text(content)
        with pytest.raises(SettingsError, match=r"bundle\.pem"):
            HostNetwork.from_environment({}, ca_bundle=bundle)

    def test_indexes(self) -> None:
        network = HostNetwork.from_environment(
            {
                "PIP_INDEX_URL": "https://a.example/simple",
                "UV_INDEX_URL": "https://b.example/simple",
                "PIP_EXTRA_INDEX_URL": "file:///opt/simple https://u:p%40w@c.example/simple",
                "PIP_TRUSTED_HOST": "a.example",
            }
        )
        assert network.index_url == "https://a.example/simple"
        assert network.extra_index_urls == ("https://u:p%40w@c.example/simple",)
        assert network.has_index_credentials
        assert "p%40w" not in repr(network)
        assert network.pip_configuration() == (
            "[global]\n"
            "index-url = https://a.example/simple\n"
            "extra-index-url =\n    https://u:p%40w@c.example/simple\n"
            "trusted-host =\n    a.example\n"
        )

    def test_index_without_credentials(self) -> None:
        network = HostNetwork.from_environment({"UV_INDEX_URL": "https://b.example/simple"})
        assert network.index_url == "https://b.example/simple"
        assert not network.has_index_credentials

    def test_proxies_in_either_case(self) -> None:
        network = HostNetwork.from_environment({"https_proxy": "http://p", "NO_PROXY": "x"})
        assert network.proxies == {"HTTPS_PROXY": "http://p", "NO_PROXY": "x"}
