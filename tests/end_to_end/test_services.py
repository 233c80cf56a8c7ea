"""Services beside sandboxes, as tests use them: a real PostgreSQL, and what is told of it."""

from __future__ import annotations

import json
from collections.abc import Callable

from pytest_agent_sandbox.llm.replies import say, tool
from tests.end_to_end.test_cassettes import record
from tests.support.project import Project
from tests.support.services_image import ENTRYPOINT

CONFTEST = """
import os
import pytest
from pytest_agent_sandbox import Service

def postgres(**more):
    return Service(
        os.environ["SERVICES_IMAGE"],
        entrypoint=["ENTRYPOINT"],
        command=[],
        user="postgres",
        env={"POSTGRES_USER": "app", "POSTGRES_PASSWORD": "correct-horse-battery"},
        ports=[5432],
        start_timeout=120,
        **more,
    )
"""

TESTS = """
import psycopg
import pytest
from conftest import postgres
from pytest_agent_sandbox import SandboxDied, expect, say, tool

ASK = "PGPASSWORD=correct-horse-battery psql -h db -U app -tAc "

def ask(service, sql):
    with psycopg.connect(
        host="127.0.0.1", port=service.host_port, user="app", password="correct-horse-battery"
    ) as connection:
        return connection.execute(sql).fetchall()

@pytest.mark.agent_services(db=postgres())
@pytest.mark.agent_sandbox(network="isolated")
class TestIsolated:
    def test_an_agent_uses_it(self, agent_services, agent_conversation, agent_workspace):
        conversation = agent_conversation(script=[
            tool("terminal", command=f'{ASK} "create table done as select 42 as x"'),
            say("Done."),
        ])
        conversation.send_message("Put 42 into the table done.")
        conversation.run(timeout=120)
        assert ask(agent_services.db, "select x from done") == [(42,)]
        wrong = agent_workspace.execute_command("PGPASSWORD=wrong psql -h db -U app -c 'select 1'")
        assert "password authentication failed" in wrong.stderr
        out = agent_workspace.execute_command("curl -sS -m 5 --noproxy '*' http://1.1.1.1/")
        assert out.exit_code != 0
        print("HOST_PORT", agent_services.db.host_port)
        assert agent_services.db.url == "postgresql://db:5432"
        pytest.fail("to see the evidence")

    @pytest.mark.agent_sandbox(isolation="recycled")
    @pytest.mark.parametrize("turn", [1, 2])
    def test_recycled(self, agent_services, agent_workspace, turn):
        agent_workspace.execute_command(f'{ASK} "create table of_one_test(x int)"').check()

    @pytest.mark.agent_sandbox(security="strict")
    def test_strict(self, agent_services, agent_workspace):
        agent_workspace.execute_command(f'{ASK} "select 1"').check()

def empty(services):
    ask(services.db, "drop table if exists left_behind; select 1")

@pytest.mark.parametrize("turn", [1, 2])
def test_shared(agent_workspace, agent_services, turn):
    db = agent_services.shared(db=postgres(), reset=empty).db
    agent_workspace.execute_command(f'{ASK} "create table left_behind(x int)"').check()
    print("NAME", db.container.name)

def test_two_of_a_name(agent_services):
    services = agent_services(db=postgres(), db_two=postgres())
    assert services["db-two"] is services.db_two
    assert len(services) == 2
    with pytest.raises(Exception, match="this test has a service 'db' already"):
        agent_services(db=postgres())
    with pytest.raises(Exception, match="nothing=1 is no Service; use nothing=Service"):
        agent_services(nothing=1)
    with pytest.raises(AttributeError, match="has no service 'other' here; there are: none"):
        agent_services.other
"""


def test_an_agent_works_with_a_database(
    project: Project, services_image: str, sandboxes: Callable[[], list[str]]
) -> None:
    project.environment |= {
        "SERVICES_IMAGE": services_image,
        "PYTEST_SANDBOX_IMAGE": services_image,
    }
    project.write("conftest.py", CONFTEST.replace("ENTRYPOINT", ENTRYPOINT))
    project.write("test_it.py", TESTS)
    code, output = project.run("-n", "2", "-v", "-rP", timeout=600)
    assert code == 1, output
    assert "1 failed, 6 passed" in output
    assert "FAILED test_it.py::TestIsolated::test_an_agent_uses_it" in output
    assert sandboxes() == []
    names = {line for line in output.splitlines() if line.startswith("NAME agent-sandbox-db-")}
    assert len(names) <= 2, output  # one for each worker that had such a test

    result = json.loads((project.results[0] / "result.json").read_text("utf-8"))
    (facts,) = result["services"]
    assert facts["name"] == "db"
    assert facts["state"] == "running"
    assert facts["ports"] == "db:5432"
    assert "password authentication failed" in output  # in the service's log
    story = project.story
    assert story["services"] == ["db"]
    lines = [line for line in story["log"] if line["container"] == "db"]
    assert any("ready to accept connections" in line["text"] for line in lines)
    times = [line["time"] for line in lines]
    assert times == sorted(times)
    assert times[0] is not None
    assert any(line["level"] == "ERROR" for line in lines)


RECORDED = """
import os, secrets
import pytest
from pytest_agent_sandbox import Service

PASSWORD = secrets.token_urlsafe(16)
IDLE = Service(
    os.environ["IMAGE"], entrypoint=["sleep", "100"], command=[], env={"DB_PASSWORD": PASSWORD}
)

@pytest.mark.agent_services(db=IDLE)
def test_recorded(agent_services, agent_conversation):
    name = agent_services.db.container.name
    conversation = agent_conversation()
    conversation.send_message(f"The database of container {name} has the password {PASSWORD}.")
    conversation.run(timeout=60)
    assert conversation.status == "finished"
    print("TOLD", name)
"""


def test_what_is_new_in_a_service_each_time_is_replayed(
    project: Project, agent_server_image: str
) -> None:
    project.environment["IMAGE"] = agent_server_image
    project.write("test_it.py", RECORDED)
    recorded = record(project, [tool("terminal", command="hostname"), say("Done.")], "-s")
    for name in ("LLM_MODEL", "LLM_API_KEY", "LLM_BASE_URL"):
        project.environment.pop(name)
    code, replayed = project.run("-s", "--llm-record=none")
    assert code == 0
    names = [
        next(line for line in output.splitlines() if "TOLD" in line)
        for output in (recorded, replayed)
    ]
    assert names[0] != names[1]
    cassette = (project.folder / "cassettes/test_it/test_recorded.json").read_text("utf-8")
    assert "<db password>" in cassette
    assert "<db container>" in cassette


SECRET = """
import os
from pytest_agent_sandbox import Ready, Service

def test_told(agent_services):
    loud = Service(
        os.environ["IMAGE"],
        entrypoint=["sh", "-c"],
        command=["echo the token is $OUR_TOKEN; sleep 100"],
        env={"OUR_TOKEN": os.environ["OUR_TOKEN"]},
        ready=Ready.log("the token"),
    )
    print(agent_services(loud=loud).loud.logs())
    raise AssertionError("to see the evidence")
"""


def test_a_secret_that_a_service_has_from_outside_is_masked(
    project: Project, agent_server_image: str
) -> None:
    token = "outside-token-4f1c9e77"
    project.environment |= {"IMAGE": agent_server_image, "OUR_TOKEN": token}
    project.write("test_it.py", SECRET)
    code, output = project.run()
    assert code == 1
    assert "the token is" in output
    assert token not in output
    (folder,) = project.results
    assert "the token is" in (folder / "service-loud.log").read_text("utf-8")
    for file in project.folder.rglob("*"):
        if file.is_file():
            assert token.encode() not in file.read_bytes(), file
