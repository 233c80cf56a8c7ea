"""What requests mean for containers."""

from dataclasses import replace

import pytest

from pytest_agent_sandbox.containers.images import Image
from pytest_agent_sandbox.engines.docker.plan import plan_sandbox
from pytest_agent_sandbox.engines.engine import SandboxRequest
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.sandbox.network import WayToGateway
from pytest_agent_sandbox.settings.table import SandboxSettings

IMAGE = Image("image", "sha256:1", None, "linux/amd64")


def plan(**settings):
    request = SandboxRequest(settings=replace(SandboxSettings(), **settings), image="image")
    return plan_sandbox(IMAGE, WayToGateway(), request)


def test_shared_memory():
    assert plan(shm_size="512m").spec.shm_size == "512m"
    assert plan().spec.shm_size is None


def test_folders_in_memory():
    spec = plan(tmpfs=("/scratch:1.5g", "/big/", "/small:512b")).spec
    assert spec.tmpfs == {
        "/scratch": "exec,mode=1777,size=1610612736",  # the kernel takes no fractions, and no "b"
        "/big": "exec,mode=1777",
        "/small": "exec,mode=1777,size=512",
    }


def test_a_sandbox_with_folders_in_memory_is_not_used_again():
    assert plan(isolation="recycled").isolation == "recycled"
    assert plan(isolation="recycled", tmpfs=("/scratch",)).isolation == "fresh"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tmpfs": ("scratch",)}, r"tmpfs: 'scratch' is not of the form /folder\[:size\]"),
        ({"tmpfs": ("/",)}, "tmpfs: '/' is not of the form"),
        ({"tmpfs": ("/a/..",)}, "tmpfs: '/a/..' is not of the form"),
        ({"tmpfs": ("/x:lots",)}, "tmpfs: '/x:lots': 'lots' is not a size such as 2g"),
        ({"tmpfs": ("/x",), "files": ("conftest.py:/x/y",)}, "/x/y is in a volume, or in a folder"),
        ({"tmpfs": ("/x",), "volumes": ("data:/x",)}, "tmpfs: /x is mounted by volumes too"),
        ({"shm_size": "lots"}, "shm_size: 'lots' is not a size"),
        ({"working_dir": "x"}, "working_dir: 'x' is no absolute path"),
    ],
)
def test_what_cannot_be_used(settings, said):
    with pytest.raises(SettingsError, match=said):
        plan(**settings)
