"""Two tests get each other's sandbox only where nothing about it differs."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_agent_sandbox.containers.image_names import FULL_TARGET, TARGET_LABEL
from pytest_agent_sandbox.containers.images import Image
from pytest_agent_sandbox.engines.docker.plan import DockerPlan, plan_sandbox
from pytest_agent_sandbox.engines.engine import SandboxRequest
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.sandbox.network import WayToGateway
from pytest_agent_sandbox.settings.table import SandboxSettings

#: With a desktop, as `video` and `extra_ports` need.
IMAGE = Image("image", "sha256:1", None, "linux/amd64", {TARGET_LABEL: FULL_TARGET}, user="1000")
GATEWAY = WayToGateway()

#: Settings that make a sandbox another one, with values other than the default.
OF_A_SANDBOX: dict[str, list[Any]] = {
    "memory": ["1g", "2g"],
    "cpus": [1.0, 2.0],
    "pids": [100, 200],
    "shm_size": ["100m", "1g"],
    "tmpfs": [("/scratch",), ("/scratch:5m",)],
    "network": ["isolated", "none", "other"],
    "allow": [("a.example:443",), ("b.example:443", "a.example:443")],
    "user": ["1001", "root"],
    "security": ["strict", "sudo"],
    "runtime": ["runsc", "kata"],
    "volumes": [("data:/data",), ("data:/data:ro",)],
    "files": [("pyproject.toml:/a",), ("README.md:/a",), ("README.md:/b",)],
    "forward_env": [("A",), ("A", "B")],
    "secret_key_env": ["A", "B"],
    "quiet_boot": [False],
    "gpu": [True],
    "extra_ports": [True],
    "working_dir": ["/workspace/other", "/workspace/third"],
    "isolation": ["recycled", "shared"],
    "platform": ["linux/arm64", "linux/amd64"],
    "video": ["failed"],
}
#: Settings that are about the run, the test or its LLM; the image is looked at by itself.
OF_OTHERS = {
    *("url", "engine", "kube_context", "kube_namespace", "pod_template", "python"),
    *("image", "pull", "max", "max_reuses", "pool_size", "start_timeout"),
    *("run_timeout", "gateway_address", "output", "artifacts", "keep", "pause_on_failure", "live"),
    *("no_engine", "agent_trials"),
}


@pytest.fixture(autouse=True, scope="module")
def variables() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("A", "one that is long enough")
        patch.setenv("B", "two that is long enough")
        yield


def plan(test: str = "t", image: Image = IMAGE, **given: Any) -> DockerPlan:
    request = SandboxRequest(
        settings=replace(SandboxSettings(), **given), image=image.reference, test=test
    )
    return plan_sandbox(image, GATEWAY, request)


def what_matters(plan: DockerPlan) -> list[Any]:
    """All of a plan but the test's name, how long it waits, and what is brought to it later."""
    spec = plan.for_anybody().spec
    left_out = {"spec", "timeout", *(["variables"] if plan.is_deferrable else [])}
    return [
        *[getattr(spec, field.name) for field in fields(spec)],
        *[getattr(plan, field.name) for field in fields(plan) if field.name not in left_out],
    ]


def test_each_setting_is_of_a_sandbox_or_not() -> None:
    """A new one has to find its place here, and in a plan's kind."""
    names = {field.name for field in fields(SandboxSettings) if not field.name.startswith("llm_")}
    assert names == OF_A_SANDBOX.keys() | OF_OTHERS


@pytest.mark.parametrize("name", OF_A_SANDBOX)
def test_each_value_makes_it_another(name: str) -> None:
    base: dict[str, Any] = {"network": "isolated"} if name == "allow" else {}
    kinds = [plan(**base).kind]
    kinds += [plan(**{**base, name: value}).kind for value in OF_A_SANDBOX[name]]
    assert len(set(kinds)) == len(kinds)


SETTINGS = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(values) for name, values in OF_A_SANDBOX.items()}
)


@settings(max_examples=400, deadline=None, database=None)
@given(SETTINGS, SETTINGS, st.data())
def test_no_test_gets_the_sandbox_of_other_settings(
    one: dict[str, Any], other: dict[str, Any], data: st.DataObject
) -> None:
    if data.draw(st.booleans()):  # else they hardly ever are alike
        other = {**one, **{name: other[name] for name in list(other)[:1]}}
    images = st.sampled_from([IMAGE, replace(IMAGE, id="sha256:2")])
    try:
        first = plan("a", data.draw(images), **one)
        second = plan("b", data.draw(images), **other)
    except SettingsError:
        return
    assert (first.kind == second.kind) == (what_matters(first) == what_matters(second))
