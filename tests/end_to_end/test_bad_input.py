"""Bad input: each has one clear error that says what to do, and no traceback of ours."""

import socket

import pytest

ONE_TEST = "def test_x(agent_workspace): pass"
SLEEPER = "local/agent-sandbox-test-sleeper"
DYING = "local/agent-sandbox-test-dying"


@pytest.fixture(scope="module")
def odd_images(engine_client):
    """Images of the default base whose "server" never answers, or dies at once."""
    from pytest_agent_sandbox.containers.engine import ContainerEngine
    from pytest_agent_sandbox.containers.images import choose_image

    with ContainerEngine.connect() as engine:
        base = choose_image(engine, None)
    made = {
        SLEEPER: ["sh", "-c", "echo I am up && sleep 600"],
        DYING: ["sh", "-c", "echo about to break >&2; exit 3"],
    }
    for name, command in made.items():
        container = engine_client.containers.create(base)
        try:
            quoted = ", ".join(f'"{word}"' for word in command)
            container.commit(name, changes=[f"ENTRYPOINT [{quoted}]", "CMD []"])
        finally:
            container.remove()
    yield
    for name in made:
        engine_client.images.remove(name, force=True)


def check(output, *expected):
    for text in expected:
        assert text in output
    assert "Traceback" not in output
    assert "pytest_agent_sandbox/" not in output.replace("site-packages", "")


def test_no_engine(project):
    project.environment["DOCKER_HOST"] = "tcp://127.0.0.1:1"
    project.write("test_it.py", ONE_TEST + "\ndef test_y(agent_workspace): pass")
    code, output = project.run()
    assert code == 1
    check(output, "EngineUnavailable", "tcp://127.0.0.1:1 (from DOCKER_HOST)", "2 errors")


def test_no_engine_may_be_a_reason_to_skip(project):
    project.environment["DOCKER_HOST"] = "tcp://127.0.0.1:1"
    project.write("test_it.py", ONE_TEST)
    code, output = project.run("--sandbox-no-engine=skip", "-rs")
    assert code == 0
    check(output, "1 skipped", "No container engine answers", "tcp://127.0.0.1:1")


@pytest.mark.usefixtures("engine")
def test_an_image_that_does_not_exist(project):
    project.write("test_it.py", ONE_TEST)
    _, output = project.run("--sandbox-image=no-such-image:1", "--sandbox-pull=never")
    check(output, "ImageNotFound", "no-such-image:1", "--sandbox-pull=never")


@pytest.mark.usefixtures("engine")
def test_a_registry_out_of_reach(project):
    project.write("test_it.py", ONE_TEST)
    _, output = project.run("--sandbox-image=127.0.0.1:1/x:1")
    check(output, "ImagePullFailed", "127.0.0.1:1/x:1")


@pytest.mark.usefixtures("odd_images")
def test_a_server_that_never_answers(project, sandboxes):
    project.write("test_it.py", ONE_TEST)
    before = sandboxes()
    _, output = project.run(
        f"--sandbox-image={SLEEPER}", "--sandbox-pull=never", "--sandbox-start-timeout=2"
    )
    check(output, "SandboxStartFailed", "did not answer within 2.0 s", "I am up")
    assert set(sandboxes()) <= set(before)


@pytest.mark.usefixtures("odd_images")
def test_a_container_that_dies_on_start(project, sandboxes):
    project.write("test_it.py", ONE_TEST)
    before = sandboxes()
    _, output = project.run(f"--sandbox-image={DYING}", "--sandbox-pull=never")
    check(output, "SandboxStartFailed", "exited with code 3", "about to break")
    # Its log and its error are kept as evidence too.
    (folder,) = project.results
    assert "about to break" in (folder / "container.log").read_text()
    assert '"fault": "sandbox"' in (folder / "result.json").read_text()
    assert set(sandboxes()) <= set(before)


@pytest.mark.usefixtures("engine")
def test_a_fixed_port_that_is_taken(project):
    project.write(
        "test_it.py",
        """
import pytest
from pytest_agent_sandbox import DockerWorkspace

@pytest.mark.parametrize("port", [int(PORT)])
def test_x(port):
    with DockerWorkspace(host_port=port):
        pass
""".replace("PORT", "__import__('os').environ['TAKEN_PORT']"),
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        project.environment["TAKEN_PORT"] = str(port)
        _, output = project.run()
    assert "SandboxStartFailed" in output
    assert f"port {port} of 127.0.0.1 is taken" in output


@pytest.mark.usefixtures("engine")
def test_a_marker_with_a_wrong_value(project):
    project.write(
        "test_it.py",
        "import pytest\n@pytest.mark.agent_sandbox(memory='lots')\n" + ONE_TEST,
    )
    _, output = project.run()
    check(output, "SettingsError", "@pytest.mark.agent_sandbox memory='lots': must be a size")


@pytest.mark.usefixtures("engine")
def test_a_forwarded_variable_that_is_not_set(project):
    project.write("test_it.py", ONE_TEST)
    _, output = project.run("--sandbox-forward-env=NO_SUCH_VARIABLE")
    check(output, "SettingsError", "NO_SUCH_VARIABLE")


def test_an_error_in_the_call_ends_at_the_tests_own_line(project, served):
    project.write(
        "test_it.py",
        "def test_x(agent_workspace):\n    agent_workspace.execute_command('ls', cwd='/nowhere')\n",
    )
    _, output = project.run()
    check(output, "/nowhere", "test_it.py:2:")


def test_a_folder_for_evidence_that_cannot_be_made(project):
    project.write("file", "")
    project.write("test_it.py", ONE_TEST)
    _, output = project.run("--sandbox-output=file/results")
    check(output, "SettingsError", "--sandbox-output: no evidence can be kept in", "file/results")
