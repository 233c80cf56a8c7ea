"""Without sandbox tests the plugin is not there: no output, no imports, next to no time."""

import re
import subprocess
import sys

HEAVY = "docker httpx pydantic websockets starlette uvicorn rich filelock requests"

CHECK_IMPORTS = f"""
import sys

def pytest_sessionfinish():
    heavy = [name for name in {HEAVY.split()!r} if name in sys.modules]
    ours = sorted(n for n in sys.modules if n.startswith("pytest_agent_sandbox."))
    print("HEAVY", heavy, "OURS", ours)
"""


def test_no_output_and_no_heavy_import(project):
    project.write("test_it.py", "def test_x(): pass")
    _, with_plugin = project.run()
    _, without = project.run("-p", "no:agent_sandbox")

    def told(output):
        lines = [line for line in output.splitlines() if not line.startswith("plugins:")]
        return [line.partition(" in ")[0] for line in lines]

    assert told(with_plugin) == told(without)

    project.write("conftest.py", CHECK_IMPORTS)
    _, output = project.run("-s")
    ours = [
        *("plugin", "plugin.fixtures", "plugin.hooks", "plugin.options", "plugin.quiet_logs"),
        *("sandbox", "sandbox.started"),
        *("settings", "settings.engines", "settings.kinds", "settings.setting", "settings.table"),
    ]
    assert f"HEAVY [] OURS {[f'pytest_agent_sandbox.{name}' for name in ours]}" in output


def test_workers_load_nothing_heavy_either(project):
    project.write("test_it.py", "def test_x(): pass\ndef test_y(): pass")
    project.write(
        "conftest.py",
        CHECK_IMPORTS.replace("docker", "docker pytest_agent_sandbox.engines.docker").replace(
            'print("HEAVY", heavy, "OURS", ours)', "print(f'HEAVY {heavy} END')"
        ),
    )
    _, output = project.run("-s", "-n1")
    (heavy,) = re.findall(r"HEAVY (.*) END", output)  # of the process that starts the workers
    assert "docker" not in heavy
    assert "requests" not in heavy


def test_collecting_sandbox_tests_starts_nothing(project):
    project.write("test_it.py", "def test_x(agent_workspace): pass")
    code, output = project.run("--collect-only", "-q")
    assert code == 0
    assert "test_it.py::test_x" in output
    assert not (project.folder / "agent-results").exists()


def test_the_plugin_can_be_switched_off(project):
    project.write("test_it.py", "def test_x(agent_workspace): pass")
    _, output = project.run("-p", "no:agent_sandbox")
    assert "fixture 'agent_workspace' not found" in output


def test_importing_the_package_imports_none_of_its_parts():
    code = "import sys, pytest_agent_sandbox; print([m for m in sys.modules if 'sandbox.' in m])"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"
