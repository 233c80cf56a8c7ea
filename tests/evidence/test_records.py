"""Files of records: what is written, what is left out, what is read again."""

import json
import tracemalloc

import pytest

from pytest_agent_sandbox.evidence import limits, records
from pytest_agent_sandbox.evidence.records import Records


def lines(path):
    return path.read_text("utf-8").splitlines()


def numbers(path):
    return [record["n"] for record in records.read(path)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def test_a_record_is_on_disk_at_once_and_comes_back_as_it_was(path):
    record = {"text": "h\u00e9 \ud800 \u202e \x00\n", "n": [1, 2.5, None, True], "inner": {"a": {}}}
    Records(path, str).add(record)
    assert list(records.read(path)) == [record]


def test_what_json_has_no_word_for_becomes_text(path):
    Records(path, str).add({"path": path, 5: (1, 2), "bytes": b"x"})
    (record,) = records.read(path)
    assert record == {"path": str(path), "5": [1, 2], "bytes": "b'x'"}


@pytest.mark.parametrize("depth", [100, 500, 100_000])
def test_data_that_is_nested_too_deeply_becomes_a_text_and_can_be_read(path, depth):
    deep = "bottom"
    for _ in range(depth):
        deep = [deep]
    Records(path, lambda text: text.replace("bottom", "***")).add({"deep": deep})
    (record,) = records.read(path)
    assert "bottom" not in lines(path)[0]
    assert ("***" if depth < 1000 else "nested too deeply") in json.dumps(record)


def test_a_secret_is_masked_in_texts_and_names_but_numbers_stay(path):
    Records(path, lambda text: text.replace("95543647", "***")).add(
        {"received": 1795543647.25, "text": "pin 95543647", "inner": [{"95543647": 95543647}]}
    )
    (record,) = records.read(path)
    assert record == {
        "received": 1795543647.25,
        "text": "pin ***",
        "inner": [{"***": 95543647}],
    }


def test_a_long_text_loses_its_middle_after_it_was_masked(path, monkeypatch):
    monkeypatch.setattr(limits, "RECORDED_TEXT", 90)
    secret = "sk-0123456789"
    text = "a" * 55 + secret + "b" * 200 + secret + "c" * 10
    Records(path, lambda text: text.replace(secret, "***")).add({"text": text, "short": "s"})
    (record,) = records.read(path)
    assert record["short"] == "s"
    assert record["text"].startswith("a" * 55 + "***bb\n… 181 characters are left out here …\n")
    assert record["text"].endswith("b***" + "c" * 10)
    assert "sk-" not in record["text"]


def test_ten_megabytes_in_one_text(path):
    Records(path, str).add({"text": "x" * 10_000_000})
    (record,) = records.read(path)
    assert len(record["text"]) < limits.RECORDED_TEXT + 100
    assert f"{10_000_000 - limits.RECORDED_TEXT:,} characters are left out" in record["text"]


@pytest.mark.parametrize(("count", "left_out"), [(10, 0), (60, 0), (61, 1), (500, 440)])
def test_a_full_file_keeps_its_first_and_its_last_records(path, count, left_out):
    size = len(json.dumps({"n": 100, "pad": "x" * 50}))
    file = Records(path, str, limit=10 * size)
    for n in range(count):
        file.add({"n": n + 100, "pad": "x" * 50})
    assert file.left_out == left_out
    assert len(lines(path)) == 10  # the others wait
    file.end()
    kept = [*range(10), *range(max(count - 50, 10), count)]
    assert numbers(path) == [n + 100 for n in kept]
    marks = [json.loads(line)["left_out"] for line in lines(path) if "left_out" in line]
    assert marks == [left_out] * (left_out > 0)


def test_the_last_records_have_a_limit_in_characters_too(path, monkeypatch):
    monkeypatch.setattr(limits, "RECORDED_LAST", 1000)
    file = Records(path, str, limit=100)
    for n in range(20):
        file.add({"n": n, "pad": "x" * 280})
    file.end()
    assert numbers(path) == [17, 18, 19]
    assert file.left_out == 17


def test_one_record_that_is_larger_than_all_room_is_left_out_and_counted(path, monkeypatch):
    monkeypatch.setattr(limits, "RECORDED_LAST", 1000)
    file = Records(path, str, limit=100)
    file.add({"n": 0})
    file.add({"n": 1, "pad": ["x"] * 1000})
    file.add({"n": 2})
    file.end()
    assert [json.loads(line) for line in lines(path)] == [{"n": 0}, {"left_out": 1}, {"n": 2}]
    assert file.left_out == 1


def test_memory_does_not_grow_with_the_number_of_records(path):
    file = Records(path, str, limit=1_000_000)
    file.add({"text": "x" * 10_000})  # what is loaded once
    tracemalloc.start()
    try:
        for n in range(1000):
            file.add({"n": n, "text": "x" * 10_000})
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000


@pytest.mark.parametrize(
    "damage",
    [
        '{"n": 2, "text": "brok',
        "",
        "null",
        "[1, 2]",
        '"text"',
        "[" * 100_000,
        '{"n": ' + "9" * 5000 + "}",
        '{"left_out": 3}',
        "\x00\x00\x00",
    ],
)
def test_lines_that_are_no_records_are_passed_over(path, damage):
    path.write_text(f'{{"n": 1}}\n{damage}\n{{"n": 3}}\n{damage}', encoding="utf-8")
    assert numbers(path) == [1, 3]


def test_bytes_that_are_no_text_do_no_harm(path):
    path.write_bytes(b'{"n": 1, "text": "\xff\xfe"}\n\xff\n{"n": 2}\n{"n": 3, "text": "\xc3')
    assert numbers(path) == [1, 2]


def test_a_line_break_of_another_kind_does_not_end_a_record(path):
    Records(path, str).add({"n": 1, "text": "a\u2028b\x85c\rd\x0ce"})
    assert numbers(path) == [1]


def test_a_missing_file_has_no_records(path):
    assert list(records.read(path)) == []


def test_a_file_that_nothing_was_added_to_is_not_made(path):
    Records(path, str).end()
    assert not path.exists()


@pytest.mark.parametrize(
    "value", [None, "5", True, [], float("nan"), float("inf"), pytest.param(10**400, id="huge")]
)
def test_what_is_no_number_to_reckon_with(value):
    assert records.number(value) is None


def test_numbers():
    assert records.number(5) == 5.0
    assert records.number(-0.5) == -0.5
