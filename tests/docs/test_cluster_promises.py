"""What docs/kubernetes.md promises of clusters has tests, of each trouble that others have had."""

from __future__ import annotations

import pytest

from tests.docs.markdown import ROOT
from tests.support.named_tests import check_there_is

PAGE = " ".join((ROOT / "docs" / "kubernetes.md").read_text("utf-8").split())

#: What the page says, in its own words, and the tests of that.
PROMISES = {
    # Streams that break off, and nobody notices; or a command that is run again.
    "nothing: the stream is taken up again where it broke off, no request is lost or sent twice": [
        "kubernetes/test_cut_streams.py::test_what_is_cut_goes_on_and_nothing_is_lost_or_done_twice",
        "kubernetes/test_api_server.py::"
        "test_a_killed_api_server_that_comes_back_loses_no_request_and_repeats_no_command",
        "host/test_resumption.py::test_whatever_breaks_off_arrives_once_and_in_order",
    ],
    "After 30 seconds without success, `SandboxDied`: `is out of reach`": [
        "kubernetes/test_cut_streams.py::"
        "test_what_cannot_be_taken_up_again_ends_its_sandbox_and_no_other",
        "kubernetes/test_api_server.py::"
        "test_an_api_server_that_stays_away_ends_the_sandbox_within_the_bound",
    ],
    # "Container not found", and no word of what became of it; pods out of memory that stay.
    "`SandboxDied` with the pod's events and its log, within seconds": [
        "kubernetes/test_sandboxes.py::test_a_deleted_pod_ends_its_test_at_once_and_keys_are_nowhere",
        "engines/kubernetes/test_pods.py::test_an_end_is_told_in_words",
    ],
    "the loss of a node (told as `NodeLost` or `DisruptionTarget`, from a pod's status)": [
        "engines/kubernetes/test_pods.py::test_an_end_is_told_in_words"
    ],
    # A failed start that leaves pods; orphans that fill nodes.
    "After `kill -9` nothing is left within a minute": [
        "kubernetes/test_sandboxes.py::"
        "test_a_killed_run_leaves_nothing_and_what_is_kept_stays_without_an_owner",
        "kubernetes/test_refused_starts.py::test_a_refused_start_says_why",
    ],
    "deletes those that were kept and those of processes that have ended": [
        "kubernetes/test_command_line.py::test_prune_deletes_what_nobody_uses",
        "engines/kubernetes/test_cleanup.py::test_a_keeper",
    ],
    # Port-forwards that gVisor refuses; kubectl, which uses another context; stdin without an end.
    "no port-forward and no public address": [
        "kubernetes/test_refused_starts.py::test_that_role_is_enough"
    ],
    # `get` or `create` on pods/exec, as the cluster's version is.
    "the verb, the resource and the Role that is needed": [
        "kubernetes/test_refused_starts.py::test_who_may_not_is_told_the_role_that_is_needed",
        "engines/kubernetes/test_pods.py::test_the_page_shows_the_role_that_is_needed",
    ],
    # Slow pulls; pods that are called warm while they start.
    "the registry's answer, and the pull secrets that were used": [
        "kubernetes/test_refused_starts.py::test_a_refused_start_says_why",
        "engines/kubernetes/test_pods.py::test_a_hopeless_start_is_told_in_words",
    ],
    "`exceeded quota`, with the setting to lower": [
        "kubernetes/test_refused_starts.py::test_a_quota_that_is_used_up",
        "kubernetes/test_room.py::test_a_quota_full_of_warm_ones_starves_nobody",
    ],
    "`no node takes it: … Insufficient memory`": [
        "kubernetes/test_refused_starts.py::test_a_refused_start_says_why"
    ],
}


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_is_made_and_has_its_tests(promise: str) -> None:
    assert promise in PAGE
    for name in PROMISES[promise]:
        check_there_is(name)


def test_each_row_of_what_fails_has_tests() -> None:
    rows = PAGE.partition("## When something fails")[2].partition("Each is a fault")[0]
    told = [row for row in rows.split("| |")[1:] if "---" not in row]
    assert len(told) > 5
    for row in told:
        assert any(promise in row for promise in PROMISES), row
