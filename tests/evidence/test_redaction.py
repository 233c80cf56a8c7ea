"""Secrets in evidence."""

import json

from pytest_agent_sandbox.evidence.redaction import Redactor


def test_known_values_are_masked_wherever_they_stand():
    redactor = Redactor()
    redactor.add("sk-abcdef123456")
    assert redactor("key=sk-abcdef123456;sk-abcdef123456") == "key=***;***"


def test_a_secret_that_holds_another_is_masked_whole():
    redactor = Redactor()
    redactor.add("password", "password-and-more")
    assert redactor("password-and-more password") == "*** ***"


def test_empty_and_very_short_values_garble_nothing():
    redactor = Redactor()
    redactor.add("", "a", "yes")
    assert redactor("yes, a day") == "yes, a day"


def test_a_value_is_masked_as_json_spells_it_too():
    redactor = Redactor()
    redactor.add('line one\n"two" \u00e9')
    assert redactor(json.dumps({"key": 'line one\n"two" \u00e9'})) == '{"key": "***"}'
    assert redactor(json.dumps('line one\n"two" \u00e9', ensure_ascii=False)) == '"***"'


def test_a_line_break_at_a_secret_s_end_does_not_hide_it():
    redactor = Redactor()
    redactor.add("sk-secret-0123456789\n")
    assert redactor("key sk-secret-0123456789.") == "key ***."
