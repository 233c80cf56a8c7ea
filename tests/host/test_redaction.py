"""Secrets in evidence."""

import base64
import json
import random
import textwrap
import threading
import time
from urllib.parse import quote, quote_plus

import httpx
import pytest

from pytest_agent_sandbox.host.redaction import MIN_LENGTH, Redactor

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


SPELLED = [
    SECRET,
    "p@ss w\u00f6rd/+?&~%x",
    KEY.strip(),
    "x" * MIN_LENGTH,
    "\u00ff\u00fe\u00fd>>>???~~~",
]


def letters_left(masked, whole):
    """How many letters of an encoded text are still there."""
    assert masked != whole
    return len(masked.replace("***", ""))


@pytest.mark.parametrize("secret", SPELLED)
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_value_is_masked_in_base64(secret, encode):
    whole = encode(secret.encode()).decode()
    redactor = knowing(secret)
    assert redactor(f"a {whole} b") == "a *** b"
    assert redactor(f"a {whole.rstrip('=')} b") == "a *** b"


@pytest.mark.parametrize("secret", SPELLED)
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("after", ["", "\n", "@host", " and more"])
@pytest.mark.parametrize("before", ["", "u", "us", "use", "user:", "some-user:", "x-token:"])
def test_a_value_is_masked_wherever_it_stands_in_what_base64_holds(secret, encode, before, after):
    whole = encode(f"{before}{secret}{after}".encode()).decode()
    masked, count = knowing(secret).count(whole)
    assert count == 1
    # Two letters at each side hold bits of the neighbours too.
    rest = len(base64.b64encode((before + after).encode()))
    assert letters_left(masked, whole) <= rest + 4


def test_the_password_of_basic_authentication_is_masked():
    request = httpx.Request("GET", "http://x")
    flow = httpx.BasicAuth("someone", SECRET).auth_flow(request)
    header = next(flow).headers["authorization"]
    assert knowing(SECRET)(header) == "Basic c29tZW9uZTp***"  # "someone:"


@pytest.mark.parametrize("width", [64, 76])
def test_a_long_value_is_masked_in_base64_that_is_cut_into_lines(width):
    secret = "".join(map(chr, range(33, 127))) * 3
    lines = textwrap.wrap(base64.b64encode(secret.encode()).decode(), width)
    assert all(knowing(secret)(line) == "***" for line in lines if len(line) >= MIN_LENGTH)


def lower(text):
    return "".join(part.lower() if n % 2 else part for n, part in enumerate(quoted_parts(text)))


def quoted_parts(text):
    """Split a text at its percent signs' codes: these are at the odd places."""
    first, *others = text.split("%")
    parts = [first]
    for other in others:
        parts += [f"%{other[:2]}", other[2:]]
    return parts


@pytest.mark.parametrize("case", [str, lower])
@pytest.mark.parametrize(
    "spell",
    [
        quote,
        quote_plus,
        lambda text: quote(text, safe=""),
        lambda text: quote(text, safe="!'()*"),  # encodeURIComponent
        lambda text: quote(text, safe=";,/?:@&=+$!*'()#"),  # encodeURI
        lambda text: str(httpx.URL("http://x", params={"q": text})).partition("?q=")[2],
        lambda text: quote(text).replace("~", "%7E"),
    ],
)
@pytest.mark.parametrize("secret", SPELLED)
def test_a_value_is_masked_in_addresses(secret, spell, case):
    assert knowing(secret)(f"https://x/?q={case(spell(secret))}&r=1") == "https://x/?q=***&r=1"


def test_short_words_are_not_garbled_in_any_spelling():
    short = "a b/c=d"
    assert len(short) < MIN_LENGTH
    text = f"{short} {quote(short, safe='')} {base64.b64encode(short.encode()).decode()}"
    assert knowing(short)(text) == text


def test_a_known_value_leaves_other_text_as_it_is():
    """Also what looks like it: the same letters elsewhere, parts of it, other base64."""
    generator = random.Random(1)
    redactor = knowing(*(generator.randbytes(20).hex() for _ in range(500)), "production", SECRET)
    text = " ".join(base64.b64encode(generator.randbytes(60)).decode() for _ in range(2000))
    assert redactor(text) == text
    assert redactor(f"product {SECRET[:-1]} {SECRET[1:]}") == f"product {SECRET[:-1]} {SECRET[1:]}"


@pytest.mark.parametrize("length", range(MIN_LENGTH, 24))
def test_a_value_is_found_at_whatever_place_of_a_text(length):
    secret = "".join(chr(ord("a") + n) for n in range(length))
    redactor = knowing(secret)
    for place in range(30):
        text = "." * place + secret + "-" * (30 - place)
        assert redactor(text) == text.replace(secret, "***")


def test_masking_takes_no_longer_where_many_secrets_are_known():
    line = json.dumps({"message": "Received an event of the kind ObservationEvent", "n": 1}) * 2

    def seconds(redactor):
        times = []
        for _ in range(5):
            started = time.perf_counter()
            for _ in range(500):
                redactor(line)
            times.append(time.perf_counter() - started)
        return min(times)

    generator = random.Random(1)
    few, many = (
        knowing(*(generator.randbytes(24).hex() for _ in range(count))) for count in (5, 2000)
    )
    assert seconds(many) < 5 * seconds(few)
