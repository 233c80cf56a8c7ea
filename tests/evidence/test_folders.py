"""Where evidence is kept."""

from concurrent.futures import ThreadPoolExecutor

from pytest_agent_sandbox.evidence.folders import (
    begin_run,
    drop_if_empty,
    folder_name,
    make_folder,
)


def test_names_that_slug_alike_get_different_folders():
    names = {
        folder_name("tests/test_x.py::test_y[a/b]"),
        folder_name("tests/test_x.py::test_y[a-b]"),
    }
    assert len(names) == 2


def test_a_name_is_readable_and_fit_for_every_file_system():
    name = folder_name('tests/deep/test_x.py::TestIt::test_y[<weird>:"name"?*|' + "x" * 300 + "]")
    assert name.startswith("test_x-TestIt-test_y-weird-name")
    assert len(name) < 80
    assert not set(name) & set('<>:"/\\|?*[] ')


def test_attempts_at_one_test_have_their_own_folders():
    assert folder_name("t.py::test_x", 1) != folder_name("t.py::test_x", 2)


def test_a_slash_in_a_parameter_is_no_folder():
    assert folder_name("tests/test_x.py::test_a[a/b]").startswith("test_x-test_a-a-b-")


def test_a_new_run_removes_what_earlier_runs_left_once(tmp_path):
    output = tmp_path / "results"
    begin_run(output, "one")
    make_folder(output, "old")
    begin_run(output, "one")  # another worker of the same run
    assert (output / "old").exists()
    begin_run(output, "two")
    assert not (output / "old").exists()


def test_workers_that_begin_at_once_keep_what_each_has(tmp_path):
    for number in range(20):
        output = tmp_path / f"results-{number}"

        def begin(name, output=output):
            begin_run(output, "one")
            make_folder(output, name)

        names = [str(worker) for worker in range(8)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(begin, names))
        assert {path.name for path in output.iterdir() if path.is_dir()} == set(names)


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path):
    precious = tmp_path / "src"
    (precious / "package").mkdir(parents=True)
    begin_run(precious, "one")  # a user pointed --sandbox-output at it
    make_folder(precious, "test-folder")
    begin_run(precious, "two")
    assert (precious / "package").is_dir()


def test_an_output_folder_without_evidence_goes_away(tmp_path):
    output = tmp_path / "results"
    begin_run(output, "one")
    folder = make_folder(output, "x")
    drop_if_empty(output)
    assert folder.is_dir()
    folder.rmdir()
    drop_if_empty(output)
    assert not output.exists()
