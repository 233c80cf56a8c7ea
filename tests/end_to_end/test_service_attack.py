"""A database that runs programs, as agents that have its password make it do."""

from __future__ import annotations

import json
import re

from tests.support.project import Project
from tests.support.services_image import ENTRYPOINT

ATTACK = f"""
import base64, socket
import pytest
from pathlib import Path
from pytest_agent_sandbox import Service

DATABASE = Service(
    "IMAGE", entrypoint=["{ENTRYPOINT}"], command=[], ports=[5432], user="0",
    env={{"POSTGRES_PASSWORD": "known-to-the-agent"}},
)

@pytest.mark.agent_services(db=DATABASE)
@pytest.mark.agent_sandbox(network="isolated", image="IMAGE")
def test_attack(agent_services, agent_workspace):
    agent_workspace.write_text("attack.sql", Path("attack.sql").read_text())
    ran = agent_workspace.execute_command(
        "PGPASSWORD=known-to-the-agent psql -h db -U postgres -qtA -f attack.sql", timeout=120
    )
    print("FOUND", ran.check().stdout)
    ran = agent_workspace.execute_command("PGPASSWORD=wrong psql -h db -U postgres -c 'select 1'")
    assert "password authentication failed" in ran.stderr
"""

PROBES = r"""
import json, socket
def tcp(place):
    socket.create_connection(place, 3).close()
def way(host):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect((host, 53))
found = {}
for name, attempt in {
    "itself": lambda: tcp(("db", 5432)),
    "internet": lambda: way("1.1.1.1"),
    "metadata": lambda: tcp(("169.254.169.254", 80)),
    "bridge": lambda: way("172.17.0.1"),
    "machine": lambda: socket.getaddrinfo("host.docker.internal", 80),
    "dns": lambda: socket.getaddrinfo("example.com", 80),
    "server": lambda: tcp(("127.0.0.1", 8000)),
    "gateway": lambda: tcp(("127.0.0.1", 7411)),
    "packets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3),
}.items():
    try:
        attempt()
    except OSError:
        continue
    found[name] = "reached"
print(json.dumps(found))
"""


def test_a_database_that_runs_programs_is_no_way_out(project: Project, services_image: str) -> None:
    coded = PROBES.encode().hex()
    program = f"python3 -c \"exec(bytes.fromhex(''{coded}''))\""
    project.write(
        "attack.sql",
        "create table found(text text);\n"
        f"copy found from program '{program}';\n"
        "select * from found;\n",
    )
    project.write("test_it.py", ATTACK.replace("IMAGE", services_image))
    code, output = project.run("-rP")
    assert code == 0
    (found,) = re.findall(r"^FOUND (.*)$", output, re.M)
    assert json.loads(found) == {"itself": "reached"}
