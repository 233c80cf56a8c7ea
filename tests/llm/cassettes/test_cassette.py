"""The cassette's file: what is written comes back, and nothing good is ever lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox.errors import CassetteError
from pytest_agent_sandbox.llm.cassettes import readable_json
from pytest_agent_sandbox.llm.cassettes.canonical import CanonicalRequest
from pytest_agent_sandbox.llm.cassettes.cassette import (
    FORMAT,
    VERSION,
    Cassette,
    Interaction,
    RecordedAnswer,
    RecordedEvent,
)

USER = {"role": "user", "content": "Hello."}
ANSWER = RecordedAnswer(200, {"content-type": "application/json"}, 0.25, 1200, {"id": "x"})


def asked(body: Any, path: str = "/chat/completions") -> Interaction:
    return Interaction(CanonicalRequest("openai-chat", "POST", path, body), ANSWER)


def answered(**answer: Any) -> Interaction:
    fields: dict[str, Any] = {"status": 200, "headers": {}, "cost": None, "ms": 0}
    request = CanonicalRequest("openai-chat", "POST", "/chat/completions", {})
    return Interaction(request, RecordedAnswer(**fields | answer))


def saved(file: Path, *lane: Interaction) -> Cassette:
    """What is read of a lane after it was written."""
    Cassette("tests/test_x.py::test_y", "openai/gpt-4o", {"1": list(lane)}).save(file)
    return Cassette.load(file)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "test_x" / "test_y.json"


VALUES = [
    "",
    "one line",
    "one\ntwo",
    "one\n\n\ntwo\n",
    "\n",
    "\n\n",
    "\none",
    "one\r\ntwo\rthree\n",
    'tab\t quote " backslash \\ slash / null \0 bell \7 delete \x7f',
    "lines \u2028 \u2029 \x85 \x0b \x0c feeds",
    "Grüße, 你好, 🎉",
    "half \ud83c and \udf89 pairs",
    "half \ud83c\nof a pair",
    "\\ud83c",
    "$lines",
    '{"$lines": ["a"]}',
    "x" * 300,
    "\ufeffmark",
    {},
    [],
    {"$lines": ["a", "b"]},
    {"$lines": "a"},
    {"$lines": ["a", "b"], "more": 1},
    {"$$lines": ["a", "b"]},
    {"x$lines": 1, "$lines": 2, "$": 3, "lines": 4},
    {"$lines": {"$lines": ["a\nb"]}},
    {"events": [1, {"a": "b\nc"}, []], "other": {"events": []}},
    {"events": {"events": "a\nb"}},
    {"na\nme": "x", "\ud83c": "y", "": "z"},
    [[[]], [{}], [None, True, False]],
    [0, -0.0, 1.0, 1e300, 5e-324, 2**70, 0.1],
    None,
    True,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:40])
@pytest.mark.parametrize("name", ["text", "events", "$lines"])
def test_anything_in_json_comes_back(value: Any, name: str) -> None:
    for content in (value, {name: value}, {name: [value, value]}, [{"a": {name: value}}] * 2):
        text = readable_json.encode(content)
        assert repr(readable_json.decode(text)) == repr(content), "types and order too"
        assert text.encode().decode() == text
        assert text.endswith("\n")
        json.loads(text)


def test_what_can_be_read_is_read_in_the_file() -> None:
    second = "a line that is long enough " * 4
    text = readable_json.encode({"content": f"Grüße,\n\t{second}\n", "short": {"a": [1, 2]}})
    assert text == (
        "{\n"
        '  "content": {\n'
        '    "$lines": [\n'
        '      "Grüße,",\n'
        f'      "\\t{second}",\n'
        '      ""\n'
        "    ]\n"
        "  },\n"
        '  "short": {"a": [1, 2]}\n'
        "}\n"
    )


def test_a_changed_line_of_a_prompt_is_one_line_in_a_diff() -> None:
    prompt = "\n".join(f"Line {number} of it." for number in range(50))
    before = readable_json.encode({"messages": [{"role": "system", "content": prompt}]})
    after = readable_json.encode(
        {"messages": [{"role": "system", "content": prompt.replace("Line 20", "Line XX")}]}
    )
    changes = set(before.splitlines()) ^ set(after.splitlines())
    assert [line.strip() for line in sorted(changes)] == ['"Line 20 of it.",', '"Line XX of it.",']


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:40])
def test_requests_and_answers_come_back(file: Path, value: Any) -> None:
    given = [
        asked({"model": "m", "messages": [{"role": "user", "content": value}]}),
        asked(value),
        answered(
            body=value, status=400, headers={"content-type": "text/plain", "retry-after": "1"}
        ),
        answered(cost=0.0),
    ]
    loaded = saved(file, *given)
    assert loaded.lanes == {"1": given}
    assert repr(loaded.lanes["1"]) == repr(given)
    keys = [interaction.request.key for interaction in given]
    assert [interaction.request.key for interaction in loaded.lanes["1"]] == keys


def test_events_come_back_in_order_with_their_times(file: Path) -> None:
    events = (
        RecordedEvent(10, "", {"delta": "a\nb"}),
        RecordedEvent(10, "ping", {"type": "ping"}),
        RecordedEvent(25, "", {}),
        RecordedEvent(30, "odd", "no JSON,\nin two lines"),
        RecordedEvent(31, "", None),
        RecordedEvent(31, "", {"$lines": ["\ud83c"]}),
        RecordedEvent(40, "", "[DONE]"),
    )
    given = answered(events=events, headers={"content-type": "text/event-stream"}, ms=40)
    assert saved(file, given).lanes["1"] == [given]


def test_each_event_has_a_line_of_its_own(file: Path) -> None:
    events = [RecordedEvent(number, "", {"text": "x\n" * 90}) for number in range(20)]
    saved(file, answered(events=events))
    assert sum('{"ms": ' in line for line in file.read_text().splitlines()) == 20


def test_test_model_and_lanes_come_back(file: Path) -> None:
    lanes = {"2": [asked({})], "1": [], "ü\n": [asked({}), asked({})]}
    given = Cassette("tests/test_x.py::test_y[ü-1]", "anthropic/claude", lanes)
    given.save(file)
    assert Cassette.load(file) == given
    assert list(Cassette.load(file).lanes) == list(lanes)


def conversation(*contents: str, name: str = "messages", **other: Any) -> Interaction:
    return asked(
        {"model": "m", name: [{"role": "user", "content": text} for text in contents], **other}
    )


LANES = {
    "grows": [conversation("a"), conversation("a", "b"), conversation("a", "b", "c")],
    "is repeated": [conversation("a"), conversation("a"), conversation("a")],
    "goes on after another": [conversation("a"), conversation("x"), conversation("a", "b")],
    "becomes shorter": [conversation("a", "b"), conversation("a"), conversation("a", "c")],
    "has other tools": [conversation("a"), conversation("a", "b", tools=[1])],
    "lacks a field": [conversation("a", top_p=1), conversation("a", "b")],
    "has null for a field": [conversation("a"), conversation("a", "b", top_p=None)],
    "of responses": [conversation("a", name="input"), conversation("a", "b", name="input")],
    "has a text for input": [asked({"input": "a"}), asked({"input": "ab"})],
    "is no list": [asked({"messages": {"0": 1}}), asked({"messages": {"0": 1}})],
    "is empty": [conversation(), conversation("a"), conversation()],
    "has both": [conversation("a", input="b"), conversation("a", "b", input="b")],
    "is elsewhere": [asked({"messages": []}), asked({"messages": []}, "/messages")],
}


@pytest.mark.parametrize("lane", LANES.values(), ids=LANES)
def test_requests_that_go_on_come_back_whole(file: Path, lane: list[Interaction]) -> None:
    assert saved(file, *lane).lanes["1"] == lane


def test_what_goes_on_in_either_of_two_fields_comes_back(file: Path) -> None:
    lane = [conversation("a", input=["b"]), conversation("a", input=["b", "c"])]
    assert saved(file, *lane).lanes["1"] == lane


@pytest.mark.parametrize(
    "lane",
    [
        [conversation("a", temperature=1), conversation("a", "b", temperature=1.0)],
        [conversation("a", stream=True), conversation("a", "b", stream=1)],
    ],
    ids=["float", "bool"],
)
def test_numbers_that_are_equal_and_not_the_same_come_back(
    file: Path, lane: list[Interaction]
) -> None:
    loaded = saved(file, *lane).lanes["1"]
    keys = [interaction.request.key for interaction in lane]
    assert [interaction.request.key for interaction in loaded] == keys


def test_what_was_said_before_is_written_once(file: Path) -> None:
    texts = [f"message number {number}" for number in range(30)]
    lane = [conversation(*texts[:end]) for end in range(1, 31)]
    assert saved(file, *lane).lanes["1"] == lane
    written = file.read_text()
    assert all(written.count(f'"{text}"') == 1 for text in texts)


def test_saving_what_was_loaded_changes_no_byte(file: Path, tmp_path: Path) -> None:
    lanes = {name: list(lane) for name, lane in LANES.items()}
    lanes["values"] = [asked(value) for value in VALUES]
    lanes["events"] = [answered(events=[RecordedEvent(1, "n", value)]) for value in VALUES]
    Cassette("t", "m", lanes).save(file)
    again = tmp_path / "again.json"
    Cassette.load(file).save(again)
    assert again.read_bytes() == file.read_bytes()


def test_line_ends_of_another_system_do_no_harm(file: Path) -> None:
    given = [conversation("one\ntwo\r\nthree"), answered(body="a\nb")]
    saved(file, *given)
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert Cassette.load(file).lanes["1"] == given


def no_space(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def half_written(path: Path, text: str, **_: object) -> None:
    path.write_bytes(text.encode()[:10])
    no_space()


@pytest.mark.parametrize(
    ("step", "failing"), [("write_text", half_written), ("replace", no_space), ("mkdir", no_space)]
)
def test_a_failing_write_leaves_all_as_it_was(
    file: Path, monkeypatch: pytest.MonkeyPatch, step: str, failing: Callable[..., None]
) -> None:
    saved(file, conversation("old"))
    before = file.read_bytes()
    monkeypatch.setattr(Path, step, failing)
    with pytest.raises(CassetteError, match="No space left") as failure:
        Cassette("t", "m", {"1": [conversation("new")]}).save(file)
    monkeypatch.undo()
    assert str(file) in str(failure.value)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "cassettes").write_text("")
    file = tmp_path / "cassettes" / "test.json"
    with pytest.raises(CassetteError, match="cannot be written") as failure:
        Cassette("t", "m").save(file)
    assert str(file) in str(failure.value)


def content(**changes: Any) -> str:
    whole = {"format": FORMAT, "version": VERSION, "test": "t", "model": "m", "lanes": {}}
    return json.dumps(whole | changes)


def lane(request: Any = None, answer: Any = None, count: int = 1) -> dict[str, Any]:
    asked = {"dialect": "d", "method": "POST", "path": "/p", "body": {}}
    said = {"status": 200, "headers": {}, "cost": None, "ms": 1, "body": None}
    interaction = {
        "request": asked if request is None else request,
        "answer": said if answer is None else answer,
    }
    return {"lanes": {"1": [interaction] * count}}


CONTINUES = {
    "dialect": "d",
    "method": "POST",
    "path": "/p",
    "continues": 1,
    "new": {"messages": []},
}

DAMAGED = {
    "empty": "",
    "half a file": content()[:-1],
    "no JSON": "<<<<<<< HEAD",
    "foreign": "{}",
    "a list": "[]",
    "another format": content(format="vcr"),
    "too new": content(version=VERSION + 1),
    "no version": content(version=None),
    "no lanes": content(lanes=None),
    "lanes in a list": content(lanes=[]),
    "a lane is a number": content(lanes={"1": 5}),
    "no request": content(**lane(request={})),
    "no answer": content(**lane(answer={})),
    "an answer is a text": content(**lane(answer="x")),
    "events are no list": content(**lane(answer={"status": 200, "headers": {}, "events": 5})),
    "an event is empty": content(
        **lane(answer={"status": 200, "headers": {}, "cost": 0, "ms": 0, "events": [{}]})
    ),
    "goes on with nothing": content(**lane(request=CONTINUES)),
    "goes on with a text": content(**lane(request={**CONTINUES, "continues": "1"})),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_what_cannot_be_read_is_said_with_the_file_s_name(file: Path, text: str) -> None:
    expect_complaint(file, text.encode())


@pytest.mark.parametrize(
    "text",
    [
        # TypeError in readable_json._join, outside of what load() catches
        content(lanes={"$lines": None}),
        content(test={"$lines": [1, 2]}),
        # RecursionError of json.loads
        "[" * 100_000,
        # StopIteration: no turns to go on with
        content(
            lanes={"1": [*lane()["lanes"]["1"], *lane(request=CONTINUES)["lanes"]["1"]]},
        ),
        # Taken for the last one before
        content(
            lanes={
                "1": [
                    *lane(
                        request={
                            "dialect": "d",
                            "method": "POST",
                            "path": "/p",
                            "body": {"messages": []},
                        }
                    )["lanes"]["1"],
                    *lane(request={**CONTINUES, "continues": 0})["lanes"]["1"],
                ]
            },
        ),
        content(**lane(answer={"status": "x", "headers": {}, "cost": 0, "ms": 0, "body": 0})),
    ],
    ids=["lines", "numbers in lines", "deep", "no turns", "continues 0", "status"],
)
def test_more_that_cannot_be_read(file: Path, text: str) -> None:
    expect_complaint(file, text.encode())


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"\x00" * 10, '{"a": "\xe4"}'.encode("latin-1")])
def test_what_is_no_text_is_said_with_the_file_s_name(file: Path, data: bytes) -> None:
    expect_complaint(file, data)


WHOLE = content(test="ü", **lane(count=2)).encode()
DAMAGE = {
    # what the file holds, and what is said of it
    "a conflict": (
        WHOLE[:40] + b"\n<<<<<<< HEAD\n1\n=======\n2\n>>>>>>> other\n" + WHOLE[40:],
        ["has merge conflict marks", "in line 2", "--theirs"],
    ),
    "of three sides": (b"{\n<<<<<<< a\n||||||| b\n=======\n", ["has merge conflict marks"]),
    "with other line ends": (
        b"{\r\n<<<<<<< a\r\n",
        ["has merge conflict marks, the first in line 2"],
    ),
    "empty": (b"", ["it is empty"]),
    "white space": (b" \n\n", ["it is empty"]),
    "a pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
        ["Git LFS", "git lfs pull"],
    ),
    "truncated": (WHOLE[: len(WHOLE) // 2], ["before it is complete"]),
    "truncated in a text": (b'{"format": "pytest-agent', ["ends in line 1 before it is complete"]),
    "truncated in a name": (b'{\n"form', ["ends in line 2 before it is complete"]),
    "truncated after a comma": (b'{"format": "x",\n', ["before it is complete"]),
    "another encoding": ('{\n"test": "ü"}'.encode("latin-1"), ["is not UTF-8, in line 2"]),
    "a mark": (b"\xef\xbb\xbf" + WHOLE, ["byte order mark of UTF-8", "without one"]),
    "UTF-16": (WHOLE.decode().encode("utf-16"), ["byte order mark of UTF-16"]),
    "no JSON": (b"hello: world\n", ["is not JSON: Expecting value"]),
    "more after it": (WHOLE + b"}", ["is not JSON: Extra data"]),
    "another version": (content(version=2).encode(), ["version 2", "reads version 1", "update"]),
}


@pytest.mark.parametrize(("data", "words"), DAMAGE.values(), ids=DAMAGE)
def test_what_has_happened_to_a_file_is_said(file: Path, data: bytes, words: list[str]) -> None:
    said = expect_complaint(file, data)
    assert [word for word in words if word not in said] == []


def test_a_file_that_was_cut_anywhere_is_said_to_be_incomplete(file: Path) -> None:
    for cut in range(1, len(WHOLE) - 1):
        said = expect_complaint(file, WHOLE[:cut])
        # Or else it was in the middle of a letter.
        assert "before it is complete" in said or "is not UTF-8" in said, WHOLE[:cut]


def test_what_a_model_says_of_conflicts_is_none(file: Path) -> None:
    given = [conversation("<<<<<<< HEAD\na\n=======\nb\n>>>>>>> other")]
    assert saved(file, *given).lanes["1"] == given


def expect_complaint(file: Path, data: bytes) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    with pytest.raises(CassetteError) as failure:
        Cassette.load(file)
    assert str(file) in str(failure.value)
    assert "--llm-record=all" in str(failure.value)
    assert file.read_bytes() == data
    return str(failure.value)


def test_a_newer_version_is_told_by_its_number(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(content(version=VERSION + 1))
    with pytest.raises(CassetteError, match=f"version {VERSION + 1}, .*reads version {VERSION}"):
        Cassette.load(file)


def test_a_folder_and_nothing_cannot_be_read(tmp_path: Path) -> None:
    for file in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(CassetteError, match="cannot be read") as failure:
            Cassette.load(file)
        assert str(file) in str(failure.value)
