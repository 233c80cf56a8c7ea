"""What services beside a sandbox, and whoever gets into one, can reach and do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_agent_sandbox import Service
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SettingsError

from .service_checking import MEANT, OF_SANDBOXES, check_privileges, check_services, shell, started

# What whoever is in a service may, of what sandboxes are tried for: nothing leads out of it.
CAPABILITIES = {"come by a capability (bounding set)"}
OPEN = {
    "its user": CAPABILITIES,
    "root": CAPABILITIES
    | {"have a capability", "write to the root file system", "write to /etc"}
    | {"become root by sudo"},
}
ELSEWHERE = {"use io_uring", "make a user namespace"}


def test_services_lead_nowhere_else(
    engine: ContainerEngine, agent_server_image: str, tmp_path: Path
) -> None:
    outcomes = check_services(engine, agent_server_image, tmp_path)
    assert len(outcomes) == 5
    for (place, who), found in outcomes.items():
        assert len(found) == 20
        opened = {name: found[name].words for name in found if not found[name].is_held}
        if place == "in one with a network":
            # The same attempts are no blank shots.
            assert {"reach the engine's bridge", "have a network interface but the loopback"} <= {
                *opened
            }
            assert "reach a server of this machine, on all addresses" in opened
        else:
            assert opened.keys() == {MEANT}, (place, who, opened)


def test_what_a_service_holds(
    engine: ContainerEngine, agent_server_image: str, tmp_path: Path
) -> None:
    for (_, who), found in check_privileges(engine, agent_server_image, tmp_path).items():
        opened = {name for name in found if not found[name].is_held} - ELSEWHERE
        assert opened == OPEN[who], {name: found[name].words for name in opened}
        for name in ("reach the internet", "reach a cloud's metadata", "open a raw socket"):
            assert found[name].is_held
        assert found["gain privileges by a setuid program"].is_held


def test_the_tables_are_of_these_checks() -> None:
    folder = Path(__file__).parent
    page = (folder.parents[1] / "docs" / "security-checks.md").read_text("utf-8")
    (part,) = re.findall(r"\n## With services beside a sandbox\n(.*?)\n## ", page, re.S)
    reached, _, done = part.partition("What a service can do to the machine")
    for table, file in ((reached, "service_checks_inside.py"), (done, "checks_inside.py")):
        names = re.findall(r"^    \"([^\"]+)\": ", (folder / file).read_text("utf-8"), re.M)
        rows = {name for name in names if f"| {name} |" in table}
        wanted = {name for name in names if " " in name}
        wanted -= {name for name in names if any(word in name for word in OF_SANDBOXES)}
        assert rows == wanted
        assert len(rows) >= 20


def test_the_limits_of_a_service(
    engine: ContainerEngine, agent_server_image: str, tmp_path: Path
) -> None:
    with started(engine, agent_server_image, tmp_path, db=shell(image=agent_server_image)) as ours:
        shown = engine.client.api.inspect_container(ours["db"].container.id)["HostConfig"]
    assert shown["CapDrop"] == ["ALL"]
    assert not {"NET_RAW", "NET_ADMIN", "MKNOD", "SETFCAP"} & {
        name.removeprefix("CAP_") for name in shown["CapAdd"]
    }
    assert shown["PidsLimit"] == 4096
    assert shown["Memory"] == 4 << 30
    assert shown["Privileged"] is False
    assert shown["SecurityOpt"] == ["no-new-privileges"]
    assert shown["PortBindings"] in (None, {})


@pytest.mark.parametrize("source", ["/run/docker.sock", "/var/run", "/"])
def test_the_engines_socket_is_not_mounted_in_a_service(
    engine: ContainerEngine, agent_server_image: str, tmp_path: Path, source: str
) -> None:
    service = Service(agent_server_image, volumes=[f"{source}:/mounted"])
    with (
        pytest.raises(SettingsError, match="holds the engine's socket"),
        started(engine, agent_server_image, tmp_path, db=service),
    ):
        pass


def test_this_machines_network_is_refused() -> None:
    with pytest.raises(SettingsError, match="gives it this machine's network"):
        Service("postgres:17", network="host")
