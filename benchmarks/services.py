"""Services beside sandboxes: a test waits for the slower of the two, and not for both.

Three runs of a test take turns: with a sandbox alone, with a service alone, and with both by a
marker. The time of each is that of its set-up, as pytest tells it. No sandbox is started ahead of
another test. The service is a server in the sandboxes' image that is ready after some seconds: as
long as a database takes to be made.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import Report, Size, read_arguments

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import choose_image, ensure_image

_SUITE = """
import pytest
from pytest_agent_sandbox import Service

SERVER = (
    "import socket, time; time.sleep({seconds})\\n"
    "server = socket.create_server(('0.0.0.0', 7000))\\n"
    "while True: server.accept()[0].close()"
)
db = Service("{image}", entrypoint=["python3", "-c", SERVER], ports=[7000])

def test_sandbox(agent_workspace): pass

@pytest.mark.agent_services(db=db)
def test_service(agent_services): pass

@pytest.mark.agent_services(db=db)
def test_both(agent_services, agent_workspace): pass
"""
_SETUP = re.compile(r"^ *([\d.]+)s setup +\S+::test_([a-z]+)", re.M)


def measure(rounds: int, seconds: int, engine: ContainerEngine, image: str) -> Report:
    report = Report(
        "Services",
        image=image,
        engine=engine.description,
        rounds=str(rounds),
        service=f"ready after {seconds} s",
    )
    with tempfile.TemporaryDirectory() as folder:
        suite = _SUITE.format(image=image, seconds=seconds)
        Path(folder, "test_it.py").write_text(suite, encoding="utf-8")
        # The first one reads the image into the page cache.
        _run(folder, image, "-k", "test_both")
        for _ in range(rounds):
            # Each in a run of its own: no sandbox is started while another test waits.
            for name in ("sandbox", "both", "service"):
                ((took, _name),) = _SETUP.findall(_run(folder, image, "-k", f"test_{name}"))
                report.add(name, float(took))
    for name in ("sandbox", "service"):
        report.ratio(f"both / {name}", "both", name)
    slower = max(("sandbox", "service"), key=report.median)
    report.ratio("both / slower", "both", slower)
    return report


def _run(folder: str, image: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider", "--durations=0", "-vv"]
    command += ["--sandbox-pool-size=0", "--sandbox-artifacts=none", f"--sandbox-image={image}"]
    ran = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        raise SystemExit(ran.stdout)
    return ran.stdout


def main() -> None:
    arguments = read_arguments(
        __doc__, rounds=5, seconds=Size(2, 1, "seconds until the service is ready")
    )
    with ContainerEngine.connect() as engine:
        image = ensure_image(
            engine, choose_image(engine, os.environ.get("PYTEST_SANDBOX_IMAGE"))
        ).reference
        measure(arguments.rounds, arguments.seconds, engine, image).finish(arguments.json)


if __name__ == "__main__":
    main()
