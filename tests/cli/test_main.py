"""`agent-sandbox` as a user types it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from pytest_agent_sandbox.containers import images
from pytest_agent_sandbox.containers.building import add_name
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.llm.cassettes.cassette import Cassette

PROGRAM = Path(sys.executable).parent / "agent-sandbox"


def agent_sandbox(
    *arguments: str, folder: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("LLM_")}
    done = subprocess.run(
        [PROGRAM, *arguments],
        env=variables | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback (most recent call last)" not in done.stderr
    return done


@pytest.fixture(scope="module")
def server_image(engine: ContainerEngine, agent_server_image: str) -> images.Image:
    """An agent-server image that is here."""
    image = images.find_local(engine, agent_server_image)
    assert image is not None
    return image


def test_version() -> None:
    done = agent_sandbox("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"agent-sandbox \d+\.\d+\.\d+\n", done.stdout)


def test_without_a_command_it_says_how_it_is_used() -> None:
    done = agent_sandbox()
    assert done.returncode == 2
    assert "usage: agent-sandbox" in done.stderr


def test_doctor_on_a_good_machine(server_image: images.Image) -> None:
    done = agent_sandbox("doctor", "--image", server_image.reference, "--start")
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        r"ok +engine +\w+ [\d.]+ at .+, for linux/\w+",
        r"ok +host route +sandboxes reach this machine as .+",
        rf"ok +image +{re.escape(images.describe(server_image))}, .* [GM]B",
        r"ok +sandbox +started in [\d.]+ s, and ran a command",
        r"-- +live LLM +LLM_MODEL, LLM_API_KEY not set",
    ):
        assert re.search(rf"^{line}$", done.stdout, re.MULTILINE), done.stdout
    assert done.stdout.endswith("All that tests need is here.\n")


def test_doctor_without_an_engine() -> None:
    done = agent_sandbox("doctor", DOCKER_HOST="unix:///nowhere/docker.sock")
    assert done.returncode == 1
    assert "FAIL engine" in done.stdout
    assert "unix:///nowhere/docker.sock (from DOCKER_HOST): there is no such socket" in done.stdout
    assert "Start Docker" in done.stdout


@pytest.mark.usefixtures("engine")
def test_doctor_with_an_image_that_cannot_be_had() -> None:
    done = agent_sandbox("doctor", "--image", "127.0.0.1:9/nobody/nothing:1", "--start")
    assert done.returncode == 1
    assert "FAIL image        127.0.0.1:9/nobody/nothing:1 is not here." in done.stdout
    assert "connection refused" in done.stdout
    assert not re.search(r"^\w+ +sandbox ", done.stdout, re.MULTILINE), "nothing to start"


def test_doctor_never_shows_values(server_image: images.Image) -> None:
    done = agent_sandbox(
        "doctor",
        "--image",
        server_image.reference,
        LLM_MODEL="openai/secret-model",
        LLM_API_KEY="secret-key",
    )
    assert re.search(r"^ok +live LLM +LLM_MODEL, LLM_API_KEY set$", done.stdout, re.MULTILINE)
    assert "secret-" not in done.stdout + done.stderr


def test_doctor_knows_models_that_cannot_be_asked() -> None:
    done = agent_sandbox("doctor", LLM_MODEL="azure/gpt-4o", LLM_API_KEY="secret-key")
    assert done.returncode == 1
    assert re.search(
        r"^FAIL +live LLM +The model 'azure/gpt-4o' .*openai/gpt-4o", done.stdout, re.M
    )
    assert "secret-" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "desktop"], r"no target 'desktop'; use 'source-minimal', or 'source'"),
        (["--target", "binary"], r"use 'source', which runs the same server"),
        (["--base-image", "127.0.0.1:9/x:1"], r"registry 127\.0\.0\.1:9 is out of reach"),
        (["--base-image", "Not A Name"], r"'Not A Name' is no image reference"),
        (["--ca-bundle", "/nowhere/ca.pem"], r"/nowhere/ca\.pem cannot be read: No such file"),
    ],
)
def test_build_that_cannot_be(engine: ContainerEngine, arguments: list[str], message: str) -> None:
    done = agent_sandbox("build", *arguments)
    assert done.returncode == 1
    assert re.search(f"^agent-sandbox: .*{message}", done.stderr)


def test_build_with_a_name_of_its_own(engine: ContainerEngine, server_image: images.Image) -> None:
    """From the base that the image was built from, so that it is found, not built."""
    base = server_image.labels.get("pytest-agent-sandbox.base")
    if base is None:
        pytest.skip("the agent-server image was pulled, not built here")
    default = images.find_built(engine)
    name = f"pytest-agent-sandbox/tests:{uuid.uuid4().hex[:12]}"
    done = agent_sandbox("build", "--base-image", base, "--tag", name)
    assert done.returncode == 0, done.stderr
    try:
        assert f"--sandbox-image={name}" in done.stdout
        assert images.find_local(engine, name)
        assert images.find_built(engine) == default
    finally:
        engine.client.images.remove(name)


def test_names_are_given_to_images(engine: ContainerEngine, server_image: images.Image) -> None:
    name = f"pytest-agent-sandbox/tests:{uuid.uuid4().hex[:12]}"
    assert add_name(engine, server_image, name).id == server_image.id
    images.remove_image(engine, server_image.__class__(name, server_image.id, None, "linux/amd64"))
    assert images.find_local(engine, name) is None


def test_cassettes_without_a_test_are_named(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_kept(agent_llm): pass\n"
        "@pytest.mark.parametrize('x', ['a/b'])\n"
        "def test_each(x): pass\n"
        "@pytest.mark.agent_sandbox(llm_cassettes='elsewhere')\n"
        "def test_elsewhere(): pass\n"
    )
    names = ("test_it/test_kept", "test_it/test_gone", "test_gone/test_x", "test_it/test_each")
    for name in (f"cassettes/{name}" for name in names):
        file = tmp_path / f"{name}.json"
        Cassette("test", "openai/gpt-4o").save(file)
    Cassette("test", "openai/gpt-4o").save(tmp_path / "elsewhere/test_it/test_elsewhere.json")
    (tmp_path / "cassettes/test_it/test_kept.json").write_text("{}")
    conflict = tmp_path / "elsewhere/test_it/test_elsewhere.json"
    conflict.write_text(f"<<<<<<< HEAD\n{conflict.read_text()}=======\n{{}}\n>>>>>>> other\n")
    done = agent_sandbox("cassettes", "check", folder=tmp_path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    unused = [line.partition(":")[0] for line in lines if "no test uses it: delete it" in line]
    assert unused == [
        "cassettes/test_gone/test_x.json",
        "cassettes/test_it/test_each.json",
        "cassettes/test_it/test_gone.json",
    ]
    assert "test_kept.json is no cassette of pytest-agent-sandbox" in done.stdout
    assert "test_elsewhere.json cannot be read: it has merge conflict marks" in done.stdout
    assert lines[-1] == "agent-sandbox: 5 cassettes, 5 with problems"


def test_cassettes_of_tests_that_cannot_be_collected(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import nowhere\n")
    done = agent_sandbox("cassettes", "check", folder=tmp_path)
    assert done.returncode == 1
    assert "pytest cannot collect the tests" in done.stderr
    assert "No module named 'nowhere'" in done.stderr


def test_a_marker_that_cannot_be_read_is_named_with_its_file(tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_one.py").write_text(
        "import pytest\n\n"
        "@pytest.mark.agent_sandbox(memroy='1g')\n"
        "def test_a(agent_workspace): pass\n"
        "@pytest.mark.agent_sandbox(memory='1 giraffe')\n"
        "class TestB:\n"
        "    def test_b(self, agent_workspace): pass\n"
        "    def test_c(self, agent_workspace): pass\n"
    )
    (tests / "test_two.py").write_text(
        "import pytest\n@pytest.mark.agent_sandbox('1g')\ndef test_d(agent_workspace): pass\n"
    )
    # What a plugin says of itself has no place here, whether it warns or prints.
    (tmp_path / "conftest.py").write_text(
        "import sys, warnings\n"
        "def pytest_configure(config):\n"
        "    warnings.warn('of a plugin')\n"
        "    print('of a plugin', file=sys.stderr)\n"
    )
    done = agent_sandbox("cassettes", "check", folder=tmp_path)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "agent-sandbox: Markers that cannot be read:"
    places = [line.partition(": @")[0].replace(os.sep, "/") for line in lines[1:]]
    assert places == [
        "tests/test_one.py:3: test_a",
        "tests/test_one.py:7: TestB.test_b",
        "tests/test_two.py:2: test_d",
    ]
    assert "memory='1 giraffe': must be a size such as 512m or 2g" in done.stderr


def test_cassettes_that_are_all_well(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_kept(agent_llm): pass\n")
    Cassette("test", "openai/gpt-4o").save(tmp_path / "cassettes/test_it/test_kept.json")
    done = agent_sandbox("cassettes", "check", folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout == "agent-sandbox: 1 cassettes, 0 with problems\n"
