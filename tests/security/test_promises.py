"""SECURITY.md promises nothing that no test would miss: here are its promises and their tests."""

from __future__ import annotations

import re

import pytest

from tests.docs.markdown import ROOT
from tests.support.named_tests import check_there_is

#: What is promised, in the page's own words, and its tests.
PROMISES = {
    "is trusted no more than the sandbox": [
        "end_to_end/test_service_attack.py::test_a_database_that_runs_programs_is_no_way_out"
    ],
    "A service has no network interface but its own loopback": [
        "security/test_services.py::test_services_lead_nowhere_else",
        "sandbox/services/test_ways_out.py::test_a_service_does_not_reach_what_has_a_port_of_its_own",
    ],
    "reach the ports that a service declares, and nothing more of it": [
        "security/test_services.py::test_services_lead_nowhere_else",
        "end_to_end/test_service_ends.py::test_services_of_two_workers_do_not_meet",
    ],
    "A service with a `network` leads whoever": [
        "security/test_services.py::test_services_lead_nowhere_else"
    ],
    "It gains no new privileges": [
        "security/test_services.py::test_what_a_service_holds",
        "security/test_services.py::test_the_limits_of_a_service",
        "security/test_services.py::test_the_engines_socket_is_not_mounted_in_a_service",
    ],
    "It ends with its scope, and however the run ends": [
        "end_to_end/test_service_ends.py::test_nothing_is_left_of_services_when_pytest_is_killed"
    ],
    "goes to that API and nowhere else": [
        "engines/hosted/test_hosted.py::test_keys_are_told_nowhere",
        "end_to_end/test_hosted.py::test_tests_use_it",
    ],
    "above for the profiles `default` and `strict`, for `isolated`, `allow` and `none` holds": [
        "kubernetes/test_security.py::test_strict_means_what_it_means_on_docker_and_says_what_it_lacks",
        "kubernetes/test_security.py::test_what_a_pod_holds",
        "kubernetes/test_sandboxes.py::test_the_plugins_areas_and_the_examples",
    ],
    "An engine behind `ssh://` is reached by your own ssh": [
        "containers/test_ssh.py::test_requests_share_an_ssh_that_asks_nobody",
        "end_to_end/test_remote_engines.py::test_open_behind_a_context_that_is_the_current_one",
        "end_to_end/test_remote_engines.py::test_who_does_not_trust_whom_is_told",
    ],
    "A pod has no service-account token": [
        "engines/kubernetes/test_pods.py::test_a_pod_is_given_no_more_than_it_needs"
    ],
    "no privileges that its template could add": [
        "engines/kubernetes/test_pods.py::test_a_template_gives_no_privileges",
        "engines/kubernetes/test_pods.py::test_a_template_adds_and_takes_nothing_away",
    ],
    "Its keys are in no object of the cluster": [
        "kubernetes/test_sandboxes.py::test_a_deleted_pod_ends_its_test_at_once_and_keys_are_nowhere",
        "engines/kubernetes/test_pods.py::test_what_the_server_gets_of_this_process_is_in_no_pod",
    ],
    "is owned by a Job, which ends within a minute": [
        "kubernetes/test_sandboxes.py::test_a_killed_run_leaves_nothing_and_what_is_kept_stays_without_an_owner"
    ],
    "real connections are tried from inside of each before a test gets it": [
        "kubernetes/test_isolation.py::test_a_policy_that_is_enforced_isolates_and_was_tried_from_inside",
        "engines/kubernetes/test_reach_inside.py",
    ],
    "Where one gets out, the start fails": [
        "kubernetes/test_isolation.py::test_a_policy_that_nobody_enforces_isolates_nothing_and_is_refused"
    ],
    "is in a folder of mode 0700 that is yours": ["host/test_lock_folder.py"],
    "chooses the profile": ["security/test_profiles.py::test_what_a_sandbox_holds"],
    "| capabilities | none |": ["security/test_profiles.py::test_what_a_sandbox_holds"],
    "| seccomp |": ["security/test_profiles.py::test_what_a_sandbox_holds"],
    "| new privileges": ["security/test_profiles.py::test_root_is_nobody_in_a_strict_sandbox"],
    "never root, or the test ends with an error": ["end_to_end/test_users.py"],
    "| root file system |": ["security/test_profiles.py::test_what_a_sandbox_holds"],
    "| network | `open` unless set |": ["end_to_end/test_network.py"],
    "| memory, processes and threads |": [
        "containers/test_container.py::test_limits_hold_inside",
        "containers/test_container.py::test_limits_and_settings_reach_the_engine",
    ],
    "| engine's log of the container | 64 MB |": [
        "containers/test_container.py::test_limits_and_settings_reach_the_engine"
    ],
    "a volume that holds one at its usual places is an error": [
        "security/test_profiles.py::test_the_engines_socket_is_not_mounted"
    ],
    "the ports are on 127.0.0.1 only, each with a random key": [
        "security/test_profiles.py::test_ports_are_on_loopback_only_and_want_the_key"
    ],
    "where the engine has such a runtime": ["security/test_profiles.py::test_an_unknown_runtime"],
    "does nothing without that sandbox's key": [
        "end_to_end/test_network.py::test_open_sandboxes_find_closed_doors_at_each_other",
        "end_to_end/test_apart.py::test_an_engine_on_another_machine",
    ],
    "the container has no network interface but its own loopback": [
        "end_to_end/test_network.py::test_an_isolated_sandbox_reaches_its_llm_and_nothing_else"
    ],
    "It never falls back to `open`": ["containers/test_tunnel.py::test_it_fails_closed"],
    "The LLM gateway answers to the tokens of open conversations only": [
        "llm/test_gateway.py::test_only_the_token_opens_a_lane",
        "llm/test_gateway.py::test_a_closed_lane_lets_nobody_in",
    ],
    "what was asked for is counted and named in the report": [
        "end_to_end/test_network.py::test_what_was_refused_is_named_in_the_report"
    ],
    "the name is not followed there": [
        "host/test_egress.py::test_an_allowed_name_does_not_lead_to_this_machine",
        "sandbox/test_forwards.py::test_what_is_allowed_leads_past_all_checks",
    ],
    "what listens there leads to that one place": [
        "engines/docker/test_raw_tcp.py::test_what_is_said_on_a_connection_leads_nowhere_else"
    ],
    "what is connected to is the address that was looked at": [
        "host/test_egress.py::test_a_name_is_looked_up_once"
    ],
    "judge in a container that the agent was never in": [
        "engines/docker/test_verification.py",
        "end_to_end/test_verification.py",
    ],
    "not even an LLM": ["end_to_end/test_network.py::test_none_has_files_and_commands_and_no_llm"],
    "values of `env` and `headers` of MCP servers": [
        "client/test_secret_fields.py",
        "client/test_resources.py::test_what_is_secret_is_told_before_it_is_sent",
    ],
    "The LLM's API key stays in the test process": [
        "end_to_end/test_live.py::"
        "test_the_key_stays_on_this_machine_and_a_forwarded_secret_is_in_no_evidence"
    ],
    "are masked in logs, events, files, cassettes, reports and errors": [
        "end_to_end/test_evidence_edges.py",
        "evidence/test_recorder.py::test_secrets_are_in_no_file_and_no_section",
        "llm/cassettes/player/test_secrets.py::test_no_secret_is_written",
        "host/test_secret_variables.py::test_names_of_secrets",
    ],
    "also as JSON, base64 and addresses spell them": [
        "host/test_redaction.py::test_a_value_is_masked_in_base64",
        "host/test_redaction.py::test_a_value_is_masked_in_addresses",
    ],
    "Neither can be read, written, traced or looked into by the agent": [
        "security/test_recycled.py::test_the_keys_are_nowhere_that_the_agent_can_read"
    ],
    "in a recycled one, this one test": [
        "security/test_recycled.py::test_the_key_of_the_test_before_opens_nothing"
    ],
    "What such a token can do at the provider": [
        "llm/test_door.py::test_a_token_opens_these_paths_and_no_others"
    ],
    "| `POST /chat/completions`": ["llm/test_door.py::test_security_md_tells_what_a_token_opens"],
    "| `POST /messages/count_tokens`": [
        "llm/test_door.py::test_security_md_tells_what_a_token_opens"
    ],
    "| `GET /models`": ["llm/test_door.py::test_security_md_tells_what_a_token_opens"],
    "Everything else is refused before it reaches the provider": [
        "llm/test_door.py::test_whatever_is_asked_only_these_paths_are_reached",
        "llm/test_door.py::test_a_path_that_can_be_read_in_two_ways_is_refused",
        "llm/test_door.py::test_a_setting_opens_further_paths",
    ],
    "Connections to the gateway are at most a quarter": ["llm/test_crowd.py"],
    "Bodies are read here and passed on as they were read": [
        "llm/test_strict_json.py::test_an_unclear_body_is_refused",
        "llm/test_strict_json.py::test_however_a_provider_reads_it_no_tool_of_its_own_is_asked_for",
    ],
    "Both are refused, with the provider's own tools": [
        "llm/test_provider_tools.py::test_a_provider_s_tool_is_refused"
    ],
    "All others stay here": [
        "llm/live/test_live.py::test_a_header_that_no_provider_needs_stays_here"
    ],
    "are passed on: they lead to what the key has stored": [
        "llm/live/test_live.py::test_a_request_is_passed_on_as_it_was_read"
    ],
    "What such a token can take from other conversations of the test process is bounded": [
        "llm/test_room.py::test_thirty_bodies_without_an_end_take_the_memory_of_a_lane"
    ],
    "| one body | 32 MB": [
        "llm/test_room.py::test_a_body_that_is_too_large_is_refused_by_its_length",
        "llm/test_room.py::test_a_body_that_does_not_come_is_waited_for_only_so_long",
        "llm/test_strict_json.py::test_a_body_of_hundreds_of_thousands_of_values_is_refused",
    ],
    "| all bodies of a conversation |": [
        "llm/test_room.py::test_unfinished_bodies_of_a_lane_have_a_bound"
    ],
    "| all bodies | 256 MB": ["llm/test_room.py::test_what_others_hold_is_not_missing"],
    "| requests of a conversation at once |": [
        "llm/test_room.py::test_a_lane_has_so_many_requests_at_once"
    ],
    "The room is given back": [
        "llm/test_room.py::test_room_is_given_back",
        "llm/test_heavy.py::test_other_lanes_do_not_wait",
    ],
    "The folder of evidence is made for its user alone (mode 0700)": [
        "evidence/test_folders.py::test_no_other_user_may_look_into_an_output_folder_that_we_make",
        "evidence/test_folders.py::test_an_output_folder_that_is_there_keeps_its_permissions",
    ],
    "sizes, depths, pages and times are bounded": ["client/test_hostile.py"],
    "file names from the sandbox never decide where something is written here": [
        "client/test_archives.py::test_nothing_is_written_outside"
    ],
    "and never through a link": [
        "client/test_archives.py::test_what_was_there_before_is_not_written_through"
    ],
    "terminal sections hold no control characters": [
        "evidence/test_sections.py::test_nothing_steers_the_terminal"
    ],
    "runs no script but their own and loads nothing": ["evidence/test_hostile.py"],
    "is logged at the first, tenth, hundredth, … time": ["host/test_seldom.py"],
    "Each call of a workspace or a conversation has one deadline": [
        "client/test_deadlines.py::test_all_that_there_is_to_call_is_tried_here"
    ],
    "no process of the agent's or the server's serves two tests": ["end_to_end/test_pristine.py"],
}

#: Blocks that promise nothing: they explain, or tell what to do.
_EXPLAIN = (
    "| |",
    "| request, below",
    "| of requests under way",
    "|---",
    "What else a request can make of the key",
    "What you forward with",
)


def blocks() -> list[str]:
    """The paragraphs, bullets and rows of the section on what is promised."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    promised = text.partition("## What is promised, by profile")[2]
    promised = promised.partition("## What is not promised")[0]
    found = re.split(r"\n\n|\n(?=- |\|)", promised)
    return [_joined(block) for block in found if block.strip() and not block.startswith("###")]


def _joined(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_is_made_and_has_its_tests(promise: str) -> None:
    assert promise in _joined((ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    for name in PROMISES[promise]:
        check_there_is(name)


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block[:40])
def test_each_part_of_the_page_has_a_promise_with_tests(block: str) -> None:
    if not block.startswith(_EXPLAIN):
        assert any(promise in block for promise in PROMISES), f"no test is named for: {block}"
