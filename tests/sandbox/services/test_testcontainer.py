"""Container objects of testcontainers: started by us, and they think they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer, Reaper
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from pytest_agent_sandbox.containers.cleanup import find
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SandboxStartFailed, SettingsError
from pytest_agent_sandbox.sandbox.services.running_service import RunningService
from pytest_agent_sandbox.sandbox.services.service import Service
from pytest_agent_sandbox.sandbox.services.starting import ServiceHost, ServicesStart
from pytest_agent_sandbox.sandbox.services.testcontainer import is_testcontainer, service_of
from tests.support.services_image import ENTRYPOINT


@pytest.fixture(autouse=True)
def nothing_left(engine: ContainerEngine, tmp_path: Path) -> Iterator[None]:
    threads = set(threading.enumerate())
    yield
    assert find(engine, {"run": tmp_path.name}) == []
    assert set(threading.enumerate()) <= threads
    assert Reaper._instance is None, "no Ryuk was started"


@pytest.fixture
def made() -> Iterator[list[DockerContainer]]:
    """Objects whose clients are closed at the end, as their own stop() does."""
    made: list[DockerContainer] = []
    yield made
    for one in made:
        one.get_docker_client().client.close()


@pytest.fixture
def host(engine: ContainerEngine, agent_server_image: str, tmp_path: Path) -> ServiceHost:
    return ServiceHost(
        engine,
        agent_server_image,
        {"run": tmp_path.name},
        log_path=lambda name: tmp_path / f"{name}.log",
        scratch=tmp_path,
    )


def postgres(image: str, **kwargs: Any) -> PostgresContainer:
    container = PostgresContainer(image, driver=None, password="not-in-the-log", **kwargs)
    return container.with_kwargs(entrypoint=ENTRYPOINT, user="postgres")


def started(start: ServicesStart) -> RunningService:
    (service,) = start.wait()
    return service


def test_an_object_is_as_it_has_started_itself(
    engine: ContainerEngine, services_image: str, host: ServiceHost, made: list[DockerContainer]
) -> None:
    db = postgres(services_image)
    made.append(db)
    spec = service_of("db", db)
    assert is_testcontainer(db)
    assert spec.env == {
        "POSTGRES_USER": "test",
        "POSTGRES_PASSWORD": "not-in-the-log",
        "POSTGRES_DB": "test",
    }
    assert (spec.ports, spec.user, spec.network) == ([5432], "postgres", "none")
    with ServicesStart(host, {"db": spec}) as start:
        service = started(start)
        assert service.url == "postgresql://db:5432"
        assert db.get_container_host_ip() == "127.0.0.1"
        assert db.get_exposed_port(5432) == service.host_port
        with psycopg.connect(db.get_connection_url()) as connection:
            assert connection.execute("select 40 + 2").fetchone() == (42,)
        assert db.get_wrapped_container().id == service.container.id
        assert db.exec("id -un").output == b"postgres\n"
        assert b"ready to accept connections" in b"".join(db.get_logs())
        info = db.get_container_info()
        assert info is not None
        assert info.Id == service.container.id
        about = engine.client.api.inspect_container(service.container.id)
        assert about["HostConfig"]["NetworkMode"] == "none"
        assert not about["HostConfig"]["PortBindings"]
        with db as again:
            assert again is db
        db.stop()
        service.check()
        assert service_of("db", db) is spec, "a shared one, asked for again"
    with pytest.raises(Exception, match="not started"):
        db.get_container_id()
    with ServicesStart(host, {"db": service_of("db", db)}) as start:
        assert started(start).host_port == db.get_exposed_port(5432)


def test_one_object_is_one_service(
    services_image: str, host: ServiceHost, made: list[DockerContainer]
) -> None:
    db = postgres(services_image)
    made.append(db)
    first, second = service_of("db", db), service_of("other", db)
    with ServicesStart(host, {"db": first}) as start:
        started(start).check()
        with (
            pytest.raises(SettingsError, match="is another service already"),
            ServicesStart(host, {"other": second}) as again,
        ):
            again.wait()
        assert db.get_exposed_port(5432)


def test_its_own_way_to_wait_has_our_bound(
    services_image: str, host: ServiceHost, made: list[DockerContainer]
) -> None:
    never = LogMessageWaitStrategy("never printed").with_startup_timeout(3)
    asleep = DockerContainer(services_image, command="60").with_kwargs(entrypoint="sleep")
    made.append(asleep.waiting_for(never))
    spec = service_of("asleep", asleep)
    assert spec.start_timeout == 3
    with (
        pytest.raises(SandboxStartFailed, match=r"not ready within 3 s|does not find it ready"),
        ServicesStart(host, {"asleep": spec}) as start,
    ):
        start.wait()


def test_one_that_ends_is_told_with_its_log(
    services_image: str, host: ServiceHost, made: list[DockerContainer]
) -> None:
    db = postgres(services_image).with_command("sh -c 'echo gone wrong; exit 3'")
    made.append(db)
    with (
        pytest.raises(SandboxStartFailed, match="ended while it started") as caught,
        ServicesStart(host, {"db": service_of("db", db)}) as start,
    ):
        start.wait()
    assert "gone wrong" in "".join(caught.value.__notes__)


class OwnStart(DockerContainer):
    def start(self) -> Any:
        return self


class FailsFirst(DockerContainer):
    def start(self) -> Any:
        raise KeyError("what it needs")


def of_other_network() -> DockerContainer:
    network = Network.__new__(Network)
    network.name = "other"
    return DockerContainer("a", network=network)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DockerContainer("a", privileged=True), "privileged=… is not supported"),
        (lambda: DockerContainer("a").with_kwargs(network_mode="host"), "network_mode=…"),
        (lambda: DockerContainer("a").with_bind_ports(80, 8080), "bound to one of this machine"),
        (lambda: DockerContainer("a").with_exposed_ports("53/udp"), "53/udp is not TCP"),
        (lambda: DockerContainer("a").with_name("mine"), r"with_name\(\)"),
        (
            lambda: DockerContainer("a").with_copy_into_container(b"a", "/a"),
            r"with_copy_into_container\(\)",
        ),
        (of_other_network, r"with_network\(\)"),
        (lambda: OwnStart("a"), "starts no container"),
        (lambda: FailsFirst("a"), "what it needs"),
    ],
)
def test_what_is_refused_by_name(made: list[DockerContainer], make: Any, words: str) -> None:
    container = make()
    made.append(container)
    with pytest.raises(SettingsError, match=words) as caught:
        service_of("db", container)
    assert f"db={type(container).__name__}" in str(caught.value)


def test_one_that_was_started_is_refused(made: list[DockerContainer]) -> None:
    container = DockerContainer("a")
    made.append(container)
    container._container = object()  # type: ignore[assignment]
    with pytest.raises(SettingsError, match="was started by the test already"):
        service_of("db", container)


def test_what_the_object_asks_for(made: list[DockerContainer], tmp_path: Path) -> None:
    container = (
        DockerContainer("a", command="b 'c d'", env={"PORT": 80})  # type: ignore[dict-item]
        .with_exposed_ports(80, "81/tcp")
        .with_volume_mapping("data", "/data", "rw")
        .with_tmpfs_mount("/t", "5m")
        .with_tmpfs_mount("/u")
        .with_kwargs(mem_limit="1g", platform="linux/amd64", hostname="h")
    )
    made.append(container)
    spec = service_of("a", container)
    assert spec == Service(
        "a",
        env={"PORT": "80"},
        ports=[80, 81],
        command="b 'c d'",
        volumes={"data": {"bind": "/data", "mode": "rw"}},
        tmpfs=["/t:5m", "/u"],
        memory="1g",
        platform="linux/amd64",
        hostname="h",
        ready=spec.ready,
        start_timeout=spec.start_timeout,
        adopted=spec.adopted,
    )
