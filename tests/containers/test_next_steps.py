"""Errors of starts that say the next step, by settings that exist."""

from types import SimpleNamespace

import pytest

from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.containers.images import _why_not_pulled
from pytest_agent_sandbox.containers.readiness import wait_until
from pytest_agent_sandbox.errors import SandboxStartFailed


def test_an_image_that_is_not_to_be_pulled():
    said = _why_not_pulled("acme/agent:1", "linux/arm64", "never")
    assert "--sandbox-pull=never forbids to pull it" in said
    assert "`docker pull --platform linux/arm64 acme/agent:1`" in said


@pytest.mark.parametrize("pull", ["never", "missing"])
def test_an_image_that_is_given_by_its_id(pull):
    said = _why_not_pulled(f"sha256:{'a' * 64}", "linux/arm64", pull)
    assert "it is given by its id" in said
    assert "Name it as its registry does." in said


def test_a_container_that_does_not_answer_in_time():
    container = SimpleNamespace(
        name="box",
        image="acme/agent:1",
        check=lambda: None,
        log_tail=lambda: "still loading",
        wait_for_end=lambda _: None,
    )
    with pytest.raises(SandboxStartFailed, match="--sandbox-start-timeout=SECONDS") as told:
        wait_until(lambda: False, container, timeout=0.01)
    assert "the container's log below" in str(told.value)
    assert "still loading" in told.value.__notes__[0]


def test_a_server_that_does_not_answer_in_time():
    late = pytest.raises(SandboxStartFailed, match="--sandbox-start-timeout=SECONDS")
    with RemoteWorkspace("http://127.0.0.1:9") as workspace, late:
        workspace.wait_until_ready(0.1)
