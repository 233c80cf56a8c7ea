"""The protocol suite: which tests show that the client and a server understand one another.

They are the client's own tests that run against a real server, by what they are about. One server
serves nearly all of them; together they take a minute and a half.
"""

from __future__ import annotations

_COMMANDS = "tests/client/test_commands.py"
_FILES = "tests/client/test_files.py"
_GIT = "tests/client/test_git.py"
_CONVERSATION = "tests/client/test_conversation.py"
_RUNS = "tests/client/test_runs.py"
_CALLBACKS = "tests/client/test_callbacks.py"
_STREAM = "tests/client/test_stream.py"

#: Tests by what they are about; a whole file, or single functions of it.
GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "start, key, state": {"tests/client/test_server.py": ()},
    "commands": {
        _COMMANDS: (
            "test_output_error_output_and_exit_code_are_kept_apart",
            "test_a_signal_is_128_and_its_number",
            "test_five_megabytes_of_multi_byte_text_arrive_whole",
            "test_a_timeout_of_half_a_second_strikes_after_half_a_second",
            "test_a_timeout_ends_what_ignores_it_and_keeps_the_output",
            "test_a_timeout_ends_background_processes_too",
            "test_a_background_process_is_not_waited_for_and_lives_on",
            "test_cwd_is_relative_to_the_working_dir_and_must_exist",
            "test_a_command_may_be_of_any_length",
            "test_commands_run_side_by_side",
        )
    },
    "files": {_FILES: ()},
    "git": {_GIT: ()},
    "conversation": {
        _CONVERSATION: (
            "test_two_messages_and_two_runs",
            "test_messages_may_be_given_in_the_servers_form",
            "test_there_is_no_such_conversation",
        )
    },
    "agent through the gateway": {"tests/llm/test_real_agent.py": ()},
    "waiting": {
        _RUNS: (
            "test_a_run_that_is_not_waited_for",
            "test_a_run_joins_one_that_is_under_way",
            "test_runs_without_anything_to_do_are_errors",
            "test_many_runs_in_a_row_end_promptly",
        )
    },
    "errors": {
        _RUNS: (
            "test_an_error_of_the_llm_is_told_in_its_words",
            "test_a_failed_conversation_can_go_on",
            "test_an_llm_that_cannot_be_reached_fails_within_seconds",
            "test_too_many_steps_are_a_failure_with_its_reason",
            "test_an_agent_that_repeats_itself_is_stuck",
        ),
        _CONVERSATION: (
            "test_an_agent_that_the_server_refuses",
            "test_an_unknown_tool_is_an_error",
        ),
    },
    "confirmation": {
        _CONVERSATION: ("test_a_confirmed_call_is_carried_out", "test_a_rejected_call_is_not")
    },
    "pause": {
        _RUNS: (
            "test_a_pause_takes_effect_after_the_step",
            "test_a_pause_while_the_llm_answers_ends_with_the_run",
        )
    },
    "interrupt": {
        _RUNS: (
            "test_an_interrupt_ends_a_long_tool_within_a_second",
            "test_a_timeout_interrupts_the_agent_and_says_what_it_was_doing",
        )
    },
    "secrets": {_CONVERSATION: ("test_secrets_reach_commands_and_nothing_else",)},
    "fork": {_CONVERSATION: ("test_a_fork_has_the_history_and_a_life_of_its_own",)},
    "attach": {
        _CONVERSATION: (
            "test_an_attached_conversation_has_all_events",
            "test_a_conversation_that_is_finished_can_be_attached_to",
        )
    },
    "events": {
        _CALLBACKS: ("test_callbacks_get_the_servers_log_in_order_and_what_it_does_not_keep",),
        _STREAM: (
            "test_a_thousand_events_arrive_once_and_in_order",
            "test_runs_end_promptly_over_a_socket_that_keeps_breaking",
            "test_an_end_that_the_socket_missed_is_found",
        ),
    },
    "costs, tokens": {_CONVERSATION: ("test_costs_and_tokens_add_up",)},
}


def suite() -> list[str]:
    """All tests of the suite, as pytest takes them."""
    return [
        "::".join(filter(None, (file, name)))
        for files in GROUPS.values()
        for file, names in files.items()
        for name in names or ("",)
    ]


def group_of(file: str, function: str) -> str:
    """The group that a test belongs to.

    Args:
        file: The test's file, from the project's root on.
        function: Its name, without parameters.
    """
    return next(
        group
        for group, files in GROUPS.items()
        if file in files and (not files[file] or function in files[file])
    )
