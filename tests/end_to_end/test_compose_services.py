"""Redis from a compose file and a PostgreSQL of testcontainers, beside isolated sandboxes."""

from __future__ import annotations

from collections.abc import Callable

from pytest_agent_sandbox.containers.cleanup import find
from pytest_agent_sandbox.containers.engine import ContainerEngine
from tests.support.project import Project
from tests.support.services_image import ENTRYPOINT

COMPOSE = """
services:
  cache:
    image: ${REDIS_IMAGE:?it is missing}
    command: --appendonly no
    ports: ["6379"]
    volumes: ["kept:/tmp/kept"]
    healthcheck:
      test: redis-cli ping
volumes:
  kept:
"""

TESTS = """
import os
import psycopg
import pytest
import redis
from testcontainers.community.postgres import PostgresContainer
from pytest_agent_sandbox import say, tool

pytestmark = pytest.mark.agent_sandbox(network="isolated")

def run(agent_conversation, command):
    conversation = agent_conversation(script=[tool("terminal", command=command), say("Done.")])
    conversation.send_message("Do it.")
    conversation.run(timeout=120)

@pytest.mark.agent_services("compose.yaml")
def test_redis(agent_services, agent_conversation):
    run(agent_conversation, "redis-cli -h cache set word compose")
    with redis.Redis(port=agent_services.cache.host_port) as client:
        assert client.get("word") == b"compose"

def test_postgres(agent_services, agent_conversation):
    container = PostgresContainer(os.environ["SERVICES_IMAGE"], driver=None, password="of-a-test")
    db = agent_services(
        db=container.with_kwargs(entrypoint="ENTRYPOINT", user="postgres")
    ).db
    assert db.container.spec.has_no_network
    sql = "create table word as select 'testcontainers' as it"
    run(agent_conversation, f'PGPASSWORD=of-a-test psql -h db -U test -c "{sql}"')
    with psycopg.connect(container.get_connection_url()) as connection:
        assert connection.execute("select it from word").fetchone() == ("testcontainers",)

def test_a_file_that_is_missing(agent_services):
    with pytest.raises(Exception, match="none.yaml"):
        agent_services("none.yaml")
"""


def test_files_and_container_objects_are_services_too(
    project: Project,
    engine: ContainerEngine,
    services_image: str,
    redis_image: str,
    sandboxes: Callable[[], list[str]],
) -> None:
    project.environment |= {
        "SERVICES_IMAGE": services_image,
        "PYTEST_SANDBOX_IMAGE": services_image,
        "REDIS_IMAGE": redis_image,
    }
    volumes = {one.name for one in find(engine) if one.kind == "volume"}
    project.write("compose.yaml", COMPOSE)
    project.write("test_it.py", TESTS.replace("ENTRYPOINT", ENTRYPOINT))
    code, output = project.run("-n", "2", "-W", "default", timeout=600)
    assert code == 0, output
    assert "3 passed" in output
    assert sandboxes() == []
    assert {one.name for one in find(engine) if one.kind == "volume"} <= volumes
