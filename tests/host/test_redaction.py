"""Secrets in evidence."""

import json
import threading

import pytest

from pytest_agent_sandbox.host.redaction import Redactor

SECRET = "sk-abcdef123456"
KEY = '-----BEGIN KEY-----\nMIIEv"gIBAD\u00e4NBgkq\nhkiG9w0BAQ\\EFAASC\n-----END KEY-----\n'


def knowing(*secrets):
    redactor = Redactor()
    redactor.add(*secrets)
    return redactor


def test_known_values_are_masked_wherever_they_stand():
    assert knowing(SECRET)(f"key={SECRET};{SECRET}") == "key=***;***"


def test_each_place_counts_once():
    assert knowing(SECRET).count(f"key={SECRET};{SECRET}") == ("key=***;***", 2)
    assert knowing(SECRET).count("no key") == ("no key", 0)
    # Known as a whole, by its lines and as JSON spells it: still one secret in one place.
    assert knowing(KEY).count(f"before {KEY.strip()} after") == ("before *** after", 1)
    assert knowing(SECRET, f"{SECRET}\n", f" {SECRET}").count(SECRET) == ("***", 1)


def test_a_secret_that_holds_another_is_masked_whole():
    assert knowing("password", "password-and-more").count("password-and-more password") == (
        "*** ***",
        2,
    )


def test_empty_and_very_short_values_garble_nothing():
    assert knowing("", "a", "yes", "\n\n")("yes, a day\n\n") == "yes, a day\n\n"


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize(
    "secret", ['two "words" \u00e9\\', KEY.strip(), "a\tb\u4e2d\U0001f600cdef"]
)
def test_a_value_is_masked_as_json_spells_it_however_often_it_is_put_into_json(
    secret, levels, ascii_only
):
    text = secret
    for _ in range(levels):
        text = json.dumps({"key": text}, ensure_ascii=ascii_only)
    masked, count = knowing(secret).count(text)
    assert count == 1
    for _ in range(levels):
        masked = json.loads(masked)["key"]
    assert masked == "***"


def test_a_key_of_several_lines_is_masked_line_by_line():
    redactor = knowing(KEY)
    lines = [f"+{line}" for line in KEY.splitlines()]
    assert [redactor(line) for line in lines] == ["+***"] * 4


def test_a_line_break_at_a_secret_s_end_does_not_hide_it():
    assert knowing("sk-secret-0123456789\n")("key sk-secret-0123456789.") == "key ***."


def test_lone_surrogates_and_control_characters_do_no_harm():
    assert knowing("secret-\ud800-\x00\x1b")("a secret-\ud800-\x00\x1b b") == "a *** b"


def test_it_learns_while_it_is_used():
    redactor = Redactor()
    values = [f"secret-number-{n}" for n in range(200)]

    def learn(some):
        for value in some:
            redactor.add(value)
            assert redactor(value) == "***"

    threads = [threading.Thread(target=learn, args=[values[n::4]]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # None was lost to another thread that learned at the same time.
    assert redactor.count("\n".join(values))[0].split() == ["***"] * 200
