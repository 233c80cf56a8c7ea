"""Every Python example of the documentation runs, as a reader would run it, on the real engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.project import Project as Runner
from tests.support.provider import Provider, serving

from .examples import Project, projects_of
from .live_llm import answering
from .markdown import PAGES, ROOT, blocks
from .outcomes import wrong

MODEL = "openai/gpt-4o-mini"
#: What stands for the reader's key.
KEY = 'api_key="…"'
#: Pages whose examples start sandboxes of their own, or ask for what only those have. The others
#: are about agents and tests: they share a server that runs already, which spares them its start.
WITH_SANDBOXES = (
    "README.md",
    "docs/coding-agents.md",
    "docs/full-sandbox.md",
    "docs/recording.md",
    "docs/restarts.md",
    "docs/settings.md",
)
#: Those that ask for what only sandboxes have that are used once.
WITH_FRESH_SANDBOXES = ("docs/services.md",)
#: The fixtures that give the images which pages name.
IMAGES = {"source": "full_image", "coding-agents": "coding_agents_image"}
#: Published images that pages name, and fixtures that give others like them.
PUBLISHED = {"redis:8": "redis_image"}
#: Examples that cannot be run are bad examples.
MOST_NOT_RUN = 3


@pytest.mark.usefixtures("agent_server_image")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", [page for page in PAGES if blocks("python", page=page)])
def test_examples_run(page: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    own = blocks(page=page)
    problems = []
    with serving(Provider(answering(own))) as provider:
        for number, project in enumerate(projects_of(own)):
            folder = tmp_path / f"project{number}"
            folder.mkdir()
            runner = Runner(folder)
            runner.blocked.remove("anyio")
            key, url = provider.token, provider.base_url("127.0.0.1", MODEL)
            runner.environment |= {"LLM_MODEL": MODEL, "LLM_API_KEY": key, "LLM_BASE_URL": url}
            if page.startswith(WITH_FRESH_SANDBOXES):
                pass
            elif page.startswith(WITH_SANDBOXES):
                runner.environment["PYTEST_SANDBOX_ISOLATION"] = "recycled"
            else:
                runner.environment |= request.getfixturevalue("on_running_server")
            if project.image:
                image = request.getfixturevalue(IMAGES[project.image])
                runner.environment["PYTEST_SANDBOX_IMAGE"] = image
            for published, fixture in PUBLISHED.items():
                if any(published in text for text in project.files.values()):
                    project.replace(published, request.getfixturevalue(fixture))
            project.write(folder)
            problems += of_tests(project, runner)
            for name in project.programs:
                file = folder / name
                text = file.read_text("utf-8").replace(KEY, f'api_key="{key}", base_url="{url}"')
                file.write_text(text, "utf-8")
            problems += of_programs(project, runner)
    assert not problems, "\n".join(problems)


@pytest.mark.usefixtures("agent_server_image")
def test_the_files_in_examples_run(project: Runner, on_running_server: dict[str, str]) -> None:
    """The tests; test_programs.py runs the programs, test_looking_inside.py examples/full."""
    project.environment["PYTEST_SANDBOX_ISOLATION"] = "recycled"
    files = sorted(ROOT.glob("examples/test_*.py"))
    assert files
    failing = sorted(ROOT.glob("examples/failing/test_*.py"))
    for file in (*files, *failing):
        project.write(file.name, file.read_text("utf-8"))
    code, output = project.run("-W", "error", *(file.name for file in files))
    assert code == 0
    project.environment |= on_running_server
    code, output = project.run("-W", "error", *(file.name for file in failing))
    assert code == 1
    assert f"{len(failing)} failed in" in output


def of_tests(project: Project, runner: Runner) -> list[str]:
    """Runs the tests of a project, and tells what was not as it should be."""
    if not project.tests:
        return []
    options = ["-W", "error", "--rootdir=.", "--import-mode=importlib", "--junitxml=junit.xml"]
    options += ["-o", "junit_family=xunit1", "-o", "junit_logging=all"]
    if any("snapshot" in text for text in project.files.values()):
        options += ["--snapshot-update"]  # there are none before the first run
        runner.blocked.remove("syrupy")
    _, output = runner.run(*options, *project.tests)
    report = runner.folder / "junit.xml"
    if not report.exists():
        return [output]
    cases = list(ElementTree.parse(report).iter("testcase"))
    problems = []
    for path, block in project.tests.items():
        own = [case for case in cases if case.get("file") == path]
        if not own:
            problems.append(f"{block}: no test of it was run")
        problems += [f"{block}: {problem}" for case in own if (problem := wrong(case, block))]
    known = set(project.tests)
    problems += [
        f"{case.get('classname')}: {wrong(case, None)}"
        for case in cases
        if case.get("file") not in known
    ]
    return problems


def of_programs(project: Project, runner: Runner) -> list[str]:
    """Runs the programs of a project."""
    problems = []
    for path, block in project.programs.items():
        finished = subprocess.run(
            [sys.executable, "-W", "error", path],
            cwd=runner.folder,
            env=runner.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        print(finished.stdout)
        if finished.returncode or finished.stderr:
            problems.append(f"{block}: exit code {finished.returncode}\n{finished.stderr}")
    return problems


def test_nearly_all_blocks_are_run() -> None:
    not_run = [
        (str(block), block.notes["not run"]) for block in blocks() if "not run" in block.notes
    ]
    assert all(reason for _, reason in not_run)
    assert len(not_run) <= MOST_NOT_RUN, not_run
