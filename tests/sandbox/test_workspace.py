"""What a workspace says of what it is asked for in vain."""

from __future__ import annotations

import pytest

from pytest_agent_sandbox.sandbox.workspace import Workspace


@pytest.mark.parametrize("name", ["container", "engine"])
def test_what_only_containers_have_is_refused_by_name(name: str) -> None:
    workspace = Workspace.__new__(Workspace)
    assert not hasattr(workspace, name)
    with pytest.raises(AttributeError, match=f"no '{name}': .*--sandbox-engine=docker") as caught:
        getattr(workspace, name)
    assert caught.value.name == name


def test_other_names_are_unknown_as_ever() -> None:
    with pytest.raises(AttributeError, match=r"^'Workspace' has no attribute 'nothing'$"):
        Workspace.__new__(Workspace).nothing  # noqa: B018
