"""Where a test's cassette is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_agent_sandbox.plugin.cassette_files import cassette_file, own_node_id

FILE = Path("/project/tests/test_x.py")


def name(node_id: str, folder: str = "cassettes") -> str:
    return cassette_file(FILE, node_id, folder).as_posix()


@pytest.mark.parametrize(
    ("node_id", "file"),
    [
        ("tests/test_x.py::test_a", "test_a.json"),
        ("tests/test_x.py::TestB::test_a", "TestB.test_a.json"),
        ("tests/test_x.py::test_a@group", "test_a.json"),
    ],
)
def test_it_is_beside_the_test_under_its_name(node_id: str, file: str) -> None:
    assert name(node_id) == f"/project/tests/cassettes/test_x/{file}"


def test_it_does_not_depend_on_where_pytest_was_started() -> None:
    assert name("tests/test_x.py::test_a[b c]") == name("test_x.py::test_a[b c]")
    assert name("test_x.py::test_a[b@c]@group") == name("test_x.py::test_a[b@c]")


def test_names_that_are_spelled_alike_are_told_apart() -> None:
    ids = ["a/b", "a-b", "a b", "../../x", "A" * 300, "ü", "\ud800"]
    names = [name(f"test_x.py::test_a[{i}]") for i in ids]
    assert len(set(names)) == len(ids)
    for one in names:
        assert one.startswith("/project/tests/cassettes/test_x/test_a")
        assert len(Path(one).name) < 130


@pytest.mark.parametrize("folder", ["/shared", "../cassettes"])
def test_a_folder_that_many_share_keeps_equal_names_apart(folder: str) -> None:
    files = {
        cassette_file(Path(f"/project/{part}/test_x.py"), f"{part}/test_x.py::test_a", folder)
        for part in ("a", "b")
    }
    assert len({file.resolve() for file in files}) == 2


def test_a_group_is_no_part_of_a_test() -> None:
    assert own_node_id("a/test_x.py::test_a@g-1") == "a/test_x.py::test_a"
    assert own_node_id("a@b/test_x.py::test_a[c@d]") == "a@b/test_x.py::test_a[c@d]"
