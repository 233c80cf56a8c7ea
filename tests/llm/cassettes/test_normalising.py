"""What differs from run to run gets a name, and nothing else does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_agent_sandbox.host.redaction import Redactor
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser

UUID = "3f2a9c41-7d05-4e1b-9c3a-0123456789ab"

VOLATILE = [
    # Dates, as programs and people write them
    ("Today is 2026-11-24.", "Today is <date>."),
    ("at 2026-11-24T13:30:22.123Z", "at <date>"),
    ("at 2026-11-24T13:30:22.123456+00:00!", "at <date>!"),
    ("2026-11-24 13:30:22 +0100", "<date>"),
    ("2026-11-24 13:30:22,123 - root", "<date> - root"),
    ("Tue Nov 24 13:30:22 UTC 2026", "<date>"),
    ("Tue Nov  4 01:30:22 PM CET 2026", "<date>"),
    ("Tue, 24 Nov 2026 13:30:22 +0000", "<date>"),
    ("Date: Tue, 24 Nov 2026 13:30:22 GMT", "Date: <date>"),
    ("November 24, 2026", "<date>"),
    ("on 24 November 2026 it", "on <date> it"),
    ("-rw-r--r-- 1 root root 12 Nov 24 13:30 a.txt", "-rw-r--r-- 1 root root 12 <date> a.txt"),
    ("-rw-r--r-- 1 root root 12 Nov 24  2025 a.txt", "-rw-r--r-- 1 root root 12 <date> a.txt"),
    ("[13:30:22] done", "[<date>] done"),
    ("mtime 1764000000", "mtime <date>"),
    ("mtime 1764000000.25,", "mtime <date>,"),
    ('{"ts": 1764000000123}', '{"ts": <date>}'),
    # Ids
    (f"id={UUID}", "id=<uuid>"),
    (UUID.upper(), "<uuid>"),
    (UUID.replace("-", ""), "<uuid>"),
    # Ports that nobody chose
    ("http://localhost:45123/x", "http://localhost:<port>/x"),
    ("127.0.0.1:32768", "127.0.0.1:<port>"),
    ("http://host.docker.internal:60999", "http://host.docker.internal:<port>"),
    # Others
    ("/tmp/tmpab12_xyz/file", "<path>/file"),
    ("/tmp/pytest-of-root/pytest-12/test_x0/a", "<path>/test_x0/a"),
    ("<object at 0x7f12ab34cd56>", "<object at <address>>"),
    ("in: x/browser_screenshot_abeaa279.png", "in: x/browser_screenshot_<picture>.png"),
    ("2 passed in 0.12s", "2 passed in <duration>"),
    ("ran in 1.25 seconds", "ran in <duration>"),
]

# What is found only since a later release: cassettes of earlier ones hold it as it was said.
LATER = [
    ("due 30/11/2026.", "due <date>."),
    ("Date: 11/30/2026", "Date: <date>"),
    ("2026/11/30 ok", "<date> ok"),
    ("am 30.11.2026, um", "am <date>, um"),
    ("Monday, 30/11/2026", "<date>"),
    ("30/11/2026 14:05:33", "<date> <date>"),
    ("Today is Monday.", "Today is <date>."),
    ("Today: Mon", "Today: <date>"),
    ("It is 14:05 UTC.", "It is <date>."),
    ("30/11/2026 2:05 PM", "<date>"),
    ("30.11.2026, 2:05 pm", "<date>"),
    ("2026-11-24, 2:05 PM", "<date>, <date>"),
    ("Today is Monday 2:05 PM 3:05 PM.", "Today is <date>."),
    ("The time is 14:05.", "The time is <date>."),
    ("Current time: 9:05", "Current time: <date>"),
    ("job 01K5XG8W7Q4M3N2P1R0S9T8V7W done", "job <ulid> done"),
    ("user_01k5xg8w7q4m3n2p1r0s9t8v7w", "user_<ulid>"),
    ("took 12 ms", "took <duration>"),
    ("Took: 3.5s", "Took: <duration>"),
    ("elapsed: 1.50 seconds", "elapsed: <duration>"),
    ("Finished in 350ms", "Finished in <duration>"),
    ("3 passed in 12 ms", "3 passed in <duration>"),
    ("real\t0m0.123s", "real\t<duration>"),
    ("[main 3f2a9c4] Add it", "[main <commit>] Add it"),
    ("[main 1234567] Add it", "[main <commit>] Add it"),
    ("[fix/a-b 3f2a9c4] Add it", "[fix/a-b <commit>] Add it"),
    ("[x (root-commit) 1234567] Add", "[x (root-commit) <commit>] Add"),
    ("[main (root-commit) 3f2a9c4] Add", "[main (root-commit) <commit>] Add"),
    ("x\n[detached HEAD 3f2a9c417d] Add", "x\n[detached HEAD <commit>] Add"),
    (f"commit {'3f2a9c41' * 5}\nAuthor: A", "commit <commit>\nAuthor: A"),
    (f"x\ncommit {'3f2a9c41' * 5} (HEAD -> main)", "x\ncommit <commit> (HEAD -> main)"),
    ("Merge: 3f2a9c4 4d05e1b", "Merge: <commit>"),
    ("HEAD is now at 3f2a9c4 Add", "HEAD is now at <commit> Add"),
    ("Updating 3f2a9c4..4d05e1b\n", "Updating <commit>\n"),
    ("   3f2a9c4..4d05e1b  main -> main", "   <commit>  main -> main"),
]

KEPT = [
    "",
    "Meet on Monday; every Sunday; Today Monday is a word",
    "Monday, November",
    "main.c:14:05: error, at 14:05, from 14:05 to 15:10, 14:05 Uhr",
    "1/2/3, 30/11, 30/11/26, /2026/11/30/a.txt, a/30/11/2026, 99/99/2026",
    "version 1.12.2026, 10.11.2026.5 and 30.11.26",
    "wait 12 ms, timeout: 12 ms, in 5 seconds, finished in 5 minutes, after 12 ms, (12 ms)",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV, 01K5XG8W7Q4M3N2P1R0S9T8V7WX, 01I5XG8W7Q4M3N2P1R0S9T8V7W",
    "revert commit 3f2a9c417d053f2a9c417d053f2a9c417d053f2a",
    "{1000000..2000000}, index 3f2a9c4..4d05e1b 100644, 3f2a9c4 Add it",
    "[job 1234567, [1234567] and [a b 1234567] x",
    "[ticket 1234567] Fix the login",
    "[ticket defaced] Fix the login",
    "Remind me at 9:30 AM, set alarm time: 07:30, the alarm time is 07:30",
    "The query took 5 seconds, took 900 minutes, took 3s, elapsed: 1.5 minutes",
    "updated 2:05 PM by",
    "The query took 5 m",
    "Version 1.2.3, 2.0.0rc1 and v3.11.7 of Python 3.11",
    "numpy==1.26.4",
    "42, 1000, 1,000,000, 3.14, 1e10, 123456789 and 12345678901",
    "4096 bytes, 12K, 1.5M, 3.2 GB",
    "10.0.0.1, 192.168.178.20 and 172.17.0.2:8000",
    "http://localhost:8000/v1",
    "127.0.0.1:8080 and localhost:5432",
    "commit 3f2a9c4, 3f2a9c417d05 and 3f2a9c417d",
    "3f2a9c417d053f2a9c417d053f2a9c417d053f2a",
    "Mayor, march, Maybe, Junior, Decision, August",
    "In May 24 people came.",
    "line 12:5, ratio 16:9, verse 3:16, at 13:30",
    "exit code 1 in 5 steps",
    "1500 of 2024 in 2025",
    "call_abc123",
    "0x1f and 0xff",
    "screenshot_abeaa279.png, browser_screenshot_abeaa279.txt, my_browser_screenshot_abeaa279.png",
    "/tmp/out.txt, /tmp/tmp and /workspace/tests",
    "-1 +1 --flag=2 a_b c-d",
    "Grüße, 你好, 🎉 \ud800",
    "<date> <uuid> <volatile>",
]


@pytest.mark.parametrize(("text", "expected"), [*VOLATILE, *LATER])
def test_what_differs_in_every_run_gets_a_name(text: str, expected: str) -> None:
    assert Normaliser()(text) == expected


@pytest.mark.parametrize("text", KEPT)
def test_what_means_something_is_kept(text: str) -> None:
    assert Normaliser()(text) == text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2026-11-24 13:30:22 INFO ready", "2026-11-24 13:30:22 ERROR ready"),
        ("2026-11-24 13:30:22 PASS", "2026-11-24 13:30:22 FAIL"),
        ("rw 12 Nov 24 13:30 TODO", "rw 12 Nov 24 13:30 MAKE"),
    ],
)
def test_the_word_after_a_date_is_kept(one: str, other: str) -> None:
    assert Normaliser()(one) != Normaliser()(other)


def test_a_file_s_name_after_its_date_is_kept() -> None:
    normalise = Normaliser()
    assert normalise("rw 12 Nov 24 13:30 1234") != normalise("rw 12 Nov 24 13:30 5678")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Today is Tuesday, November 24, 2026.", "Today is Wednesday, November 25, 2026."),
        ("Today is Tue, Nov 24, 2026.", "Today is Wed, Nov 25, 2026."),
        ("Tuesday, 24 November 2026", "Wednesday, 25 November 2026"),
        ("Tue Nov 24 2026", "Wed Nov 25 2026"),
        ("Tuesday, 2026-11-24", "Wednesday, 2026-11-25"),
        ("2026-11-24 (Tuesday)", "2026-11-25 (Wednesday)"),
    ],
)
def test_a_weekday_is_part_of_its_date(one: str, other: str) -> None:
    assert Normaliser()(one) == Normaliser()(other)


@pytest.mark.parametrize("number", ["1610612736", "2147483647", "2147483648", "2000000000"])
def test_round_and_binary_numbers_are_no_times(number: str) -> None:
    assert Normaliser()(number) == number


@pytest.mark.parametrize(
    "text",
    [
        "Decision 12 2024",
        "10 Marines 2024",
        "Section Mark 10, 1234",
        "part 1234-56-78",
        "9999-99-99",
    ],
)
def test_what_only_resembles_a_date_is_kept(text: str) -> None:
    assert Normaliser()(text) == text


@pytest.mark.parametrize("number", ["0xffffffff", "0xdeadbeef", "0x7fffffff"])
def test_constants_in_code_are_no_addresses(number: str) -> None:
    assert Normaliser()(f"x & {number}") == f"x & {number}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/tmp/tmp.AbCdEf1234/x", "/tmp/tmp.ZyXwVu9876/x"),
        ("Serving on http://0.0.0.0:45123", "Serving on http://0.0.0.0:33871"),
        ("/tmp/pytest-of-root/pytest-1/popen-gw0/a0", "/tmp/pytest-of-root/pytest-2/popen-gw1/a0"),
        ("1 passed in 61.23s (0:01:01)", "1 passed in 62.07s (0:01:02)"),
    ],
)
def test_more_that_differs_in_every_run(one: str, other: str) -> None:
    assert Normaliser()(one) == Normaliser()(other)


@pytest.mark.parametrize(
    ("said", "in_the_cassette"),
    [
        *((text, text) for text, _ in LATER),
        ("30/11/2026 14:05:33", "30/11/2026 <date>"),
        ("30/11/2026 2026-11-24", "30/11/2026 <date>"),
        (f"Merge: 3f2a9c4 4d05e1b {UUID}", "Merge: 3f2a9c4 4d05e1b <uuid>"),
        ("took 12 ms in 0.12s", "took 12 ms in <duration>"),
        ("30/11/2026/tmp/tmpab12_xyz", "30/11/2026<path>"),
    ],
)
def test_cassettes_of_earlier_releases_fit(said: str, in_the_cassette: str) -> None:
    """What is found by now has been left in them, beside what was found then."""
    assert Normaliser()(said) == Normaliser()(in_the_cassette)


IDEMPOTENT = [
    *(text for text, _ in [*VOLATILE, *LATER]),
    *KEPT,
    " ".join(text for text, _ in VOLATILE),
    "".join(text for text, _ in VOLATILE),
    "2026-11-24-2026-11-24",
    "13:30:22:13:30:22:13:30:22",
    "02:42:11:00:00:02",
    f"{UUID}{UUID}",
    f"{UUID} 2026-11-24T13:30:22Z{UUID}",
    "Nov 24 2026-11-24 13:30:22 2026",
    "localhost:45123:45123",
    "in in 0.12s 0.12s",
    "17640000001764000000",
    "/tmp/tmpab12_xyz/tmp/tmpab12_xyz",
    "2026-11-24 2026 2026",
    "30.11.2026.0m0.123s",
    "30/11/2026/0m0.123s",
    "14:05 UTC 2:05 PM, 3:05 AM 2026-11-24 4:05 PM, 5:05 PM 30/11/2026 2:05 PM",
    "Tue Tue Nov 24 13:30:22 Nov 24 13:30:22 2026",
    "host-7 host-7host-7 job-1 job-12026-11-24",
]


@pytest.mark.parametrize("text", IDEMPOTENT)
@pytest.mark.parametrize("patterns", [(), (r"job-\d+", r"\d+ bytes")], ids=["usual", "own"])
def test_twice_is_as_good_as_once(text: str, patterns: tuple[str, ...]) -> None:
    normalise = Normaliser(Redactor(), patterns, known={"host-7": "host"})
    once = normalise(text)
    assert normalise(once) == once
    # Neither has it in its cache.
    assert Normaliser(Redactor(), patterns, known={"host-7": "host"})(once) == once


def test_known_values_get_their_names_the_longest_first() -> None:
    normalise = Normaliser(known={"3f2a": "short", "3f2a9c417d05": "host"})
    assert normalise("root@3f2a9c417d05:/ 3f2a") == "root@<host>:/ <short>"


def test_what_is_learned_later_counts_for_texts_seen_before() -> None:
    normalise = Normaliser()
    assert normalise("root@3f2a9c417d05") == "root@3f2a9c417d05"
    normalise.learn({"3f2a9c417d05": "host"})
    assert normalise("root@3f2a9c417d05") == "root@<host>"


def test_an_empty_value_is_no_known_value() -> None:
    assert Normaliser(known={"": "host"})("abc") == "abc"


def test_the_user_s_patterns() -> None:
    normalise = Normaliser(patterns=[r"job-\d+", "(?i)build [a-f0-9]{7}"])
    assert normalise("job-17, Build 3F2A9C4.") == "<volatile>, <volatile>."


def documented_patterns() -> list[str]:
    text = (Path(__file__).parents[3] / "docs" / "recording.md").read_text("utf-8")
    block = text.partition("llm_volatile =\n")[2].partition("llm_volatile_fields")[0]
    return [line.strip() for line in block.splitlines()]


@pytest.mark.parametrize(("text", "expected"), [*VOLATILE, *LATER])
def test_the_documented_patterns_cut_nothing_that_is_known(text: str, expected: str) -> None:
    assert Normaliser(patterns=documented_patterns())(text) == expected


def test_the_documented_patterns_find_what_they_are_for() -> None:
    normalise = Normaliser(patterns=documented_patterns())
    said = "build number 7, built from 3f2a9c4, open on Monday, closes at 14:05, latency: 12 ms"
    assert normalise(said) == ", ".join(["<volatile>"] * 5)


def test_the_user_s_patterns_do_not_disturb_each_other() -> None:
    """Groups are counted anew in each, and flags are each one's own."""
    normalise = Normaliser(patterns=[r"(a)x", r"(\w)\1", r"(?i)q"])
    assert normalise("ax bb Q AX") == "<volatile> <volatile> <volatile> AX"


def test_secrets_are_masked_before_anything_else() -> None:
    redactor = Redactor()
    redactor.add("sk-2026-11-24-secret")
    normalise = Normaliser(redactor, patterns=["sk-"], known={"secret": "known"})
    assert normalise("key sk-2026-11-24-secret") == "key ***"
    assert normalise.scrub("key sk-2026-11-24-secret of 2026-11-24") == "key *** of 2026-11-24"


def test_a_secret_learned_later_is_masked_in_texts_seen_before() -> None:
    redactor = Redactor()
    normalise = Normaliser(redactor)
    normalise("key sk-secret-0123456789")
    redactor.add("sk-secret-0123456789")
    assert normalise("key sk-secret-0123456789") == "key ***"


@pytest.mark.parametrize(
    "line",
    [
        "You are a helpful agent. Use the tools at /workspace, on 2026-11-24, with care.\n",
        "May " * 20,
        "0123456789abcdef",
        "1 ",
        "12:" * 20,
        "/tmp/tmp",
        "in 1.1.1.1.1",
        "                                        ",
    ],
)
def test_a_long_prompt_takes_no_time(line: str) -> None:
    prompt = (line * (100_000 // len(line) + 1))[:100_000]
    fastest = min(_seconds(prompt) for _ in range(3))
    assert fastest < 0.25, "well under 50 ms on an idle machine"


def _seconds(text: str) -> float:
    normalise = Normaliser()
    begun = time.perf_counter()
    normalise(text)
    return time.perf_counter() - begun


def test_the_user_s_patterns_leave_what_stands_for_something_alone() -> None:
    normalise = Normaliser(patterns=[r"\b[a-z0-9]{8}\b"])
    once = normalise("abc12345 of 2026-11-24")
    assert once == "<volatile> of <date>"
    assert Normaliser(patterns=[r"\b[a-z0-9]{8}\b"])(once) == once
