"""Named volumes of services: shared while they run, gone with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_agent_sandbox.containers.cleanup import Found, find, remove_labelled
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SandboxError, SettingsError
from pytest_agent_sandbox.host.ownership import OWNER
from pytest_agent_sandbox.sandbox.services.readiness import Ready
from pytest_agent_sandbox.sandbox.services.service import Service
from pytest_agent_sandbox.sandbox.services.starting import ServiceHost, ServicesStart
from pytest_agent_sandbox.sandbox.services.volumes import ServiceVolumes


def volumes_of(engine: ContainerEngine, labels: dict[str, str]) -> list[Found]:
    return [one for one in find(engine, labels) if one.kind == "volume"]


def test_each_start_has_volumes_of_its_own(engine: ContainerEngine, tmp_path: Path) -> None:
    labels = {"run": tmp_path.name, "test": "t"}
    specs = {
        "a": Service("x", volumes=["data:/a", f"{tmp_path}:/b:ro"]),
        "b": Service("x", volumes={"data": {"bind": "/c", "mode": "ro"}}),
        "c": Service("x"),
    }
    with ServiceVolumes(engine, specs, labels) as one, ServiceVolumes(engine, specs, labels) as two:
        (shared, folder), (again,) = one.specs["a"].volumes, one.specs["b"].volumes
        name = shared.partition(":")[0]
        assert (shared, again) == (f"{name}:/a:rw", f"{name}:/c:ro")
        assert folder == f"{tmp_path}:/b:ro"
        assert one.specs["c"] is specs["c"]
        assert two.specs["a"].volumes[0] != shared
        found = volumes_of(engine, labels)
        assert len(found) == 2
        assert {(one.use, one.labels["test"]) for one in found} == {("alive", "t")}
    assert volumes_of(engine, labels) == []
    one.close()


def test_whatever_fails_none_is_left(engine: ContainerEngine, tmp_path: Path) -> None:
    labels = {"run": tmp_path.name}
    specs = {"a": Service("x", volumes=["data:/a"]), "b": Service("x", volumes=["no mount"])}
    with pytest.raises(SettingsError, match="no mount"):
        ServiceVolumes(engine, specs, labels)
    assert volumes_of(engine, labels) == []


def test_services_share_them_and_kept_ones_keep_them(
    engine: ContainerEngine, agent_server_image: str, tmp_path: Path
) -> None:
    labels = {"run": tmp_path.name}
    host = ServiceHost(
        engine,
        agent_server_image,
        labels,
        log_path=lambda name: tmp_path / f"{name}.log",
        scratch=tmp_path,
    )
    writes = Service(
        agent_server_image,
        entrypoint=["sh", "-c", "echo kept > /data/a; sleep 600"],
        volumes=["data:/data"],
        user="0",
        ready=Ready.command("test -s /data/a"),
    )
    reads = Service(
        agent_server_image,
        entrypoint=["sleep", "600"],
        volumes=["data:/data:ro"],
        user="0",
        after=["writes"],
    )
    with ServicesStart(host, {"writes": writes, "reads": reads}) as start:
        services = {service.name: service for service in start.wait()}
        assert services["reads"].execute_command("cat /data/a").stdout == "kept\n"
        assert len(volumes_of(engine, labels)) == 1
        services["reads"].keep()
    (volume,) = volumes_of(engine, labels)
    assert volume.use == "kept"
    remove_labelled(engine, {OWNER: engine.owner.id, **labels})
    with pytest.raises(SandboxError, match="in use"):
        volume.remove(engine)
    kept = find(engine, labels)
    assert [one.kind for one in kept] == ["container", "volume"], "the order in which they can go"
    for one in kept:
        one.remove(engine)
    assert find(engine, labels) == []
