"""What GitHub Actions shows of a run."""

from pathlib import Path

import pytest

from pytest_agent_sandbox.evidence.story import Row
from pytest_agent_sandbox.plugin.report import github_actions

FAILED = Row(
    test="tests/test_x.py::test_y",
    line=7,
    verdict="failed",
    fault="agent",
    headline="ConversationFailed: stuck",
    duration=12.34,
    llm_calls=3,
    tokens=12345,
    cost=0.25,
)
ON = {"GITHUB_ACTIONS": "true"}
LIMIT = 1024 * 1024


def failed(**fields):
    return Row(**vars(FAILED) | fields)


def commands(*rows, root="/repo", **environment):
    return list(github_actions.workflow_commands(rows, Path(root), ON | environment))


def table(*rows):
    return [
        line for line in github_actions.step_summary(rows).splitlines() if line.startswith("|")
    ][2:]


def shown(text):
    """What a reader of the Markdown sees of a text; fails where it is more than text."""
    cell = table(failed(headline=text))[0].split(" | ")[2]
    import html
    import re

    plain = re.sub(r"&#\d+;", "", cell)
    assert not set(plain) & set("\\`*_{}[]<>()#+!|~&@$.:-\n\r\x1b"), cell
    return html.unescape(cell)


def test_the_summary():
    passed = Row(test="tests/test_x.py::test_a", verdict="passed", duration=1.0, cost=0.0)
    text = github_actions.step_summary([passed, FAILED])
    assert "### Agent sandbox: 1 of 2 tests failed" in text
    assert text.startswith("\n")  # a heading is one only after an empty line
    assert text.endswith("\n\n")
    first, second = table(passed, FAILED)
    assert first.startswith("| ❌ | tests/test&#95;x&#46;py&#58;&#58;test&#95;y | Conversation")
    assert first.endswith(" | agent | 12.3 | 3 | 12,345 | $0.2500 |")
    assert second.startswith("| ✅ |")
    assert {line.replace("\\|", "").count("|") for line in (first, second)} == {9}


def test_the_summary_of_a_run_without_failures():
    text = github_actions.step_summary([Row(test="x", verdict="skipped")])
    assert "### Agent sandbox: 1 test, none failed" in text


def test_what_is_not_known():
    (line,) = table(failed(cost=None, duration=None, attempt=2))
    assert "(attempt 2)" in line
    assert line.endswith(" |  | 3 | 12,345 | ? |")


@pytest.mark.parametrize(
    "text",
    [
        "a | b",
        "`code` **bold** _x_ ~~gone~~",
        "<img src=x onerror=alert(1)> <!-- <script>",
        "[link](http://evil.example) ![image](http://evil.example/x.png)",
        "www.evil.example http://evil.example me@evil.example @maintainer #12",
        "&lt;b&gt; &#60;b&#62;",
        "\\| \\",
        "$x$ and $0.52 of $0.50",
        ":smile:",
        "--- +++ # ===",
    ],
)
def test_no_text_is_markdown(text):
    assert shown(text) == text


def test_a_text_is_one_line_without_control_characters():
    assert shown("a\nb\r\n| c\t\u2028d") == "a b | c d"
    assert shown("\x1b[31mred\x1b[0m\x07\u202e\ud800") == "red\ufffd\ufffd\ufffd"


def test_a_summary_stays_within_what_github_takes(tmp_path):
    rows = [failed(test=f"t.py::test_{n}[{'|' * 100}]", headline="|" * 300) for n in range(2000)]
    file = tmp_path / "summary.md"
    environment = {"GITHUB_STEP_SUMMARY": str(file)}
    github_actions.write_step_summary(rows, environment)
    size = file.stat().st_size
    assert 850_000 < size < LIMIT
    lines = file.read_text("utf-8").splitlines()
    shown = sum(line.startswith("| ❌") for line in lines)
    assert f"… and {2000 - shown} more tests" in lines
    # The same step runs pytest once more.
    github_actions.write_step_summary(rows, environment)
    github_actions.write_step_summary(rows, environment)
    assert file.stat().st_size < LIMIT
    assert "… and 2000 more tests" in file.read_text("utf-8").splitlines()


def test_a_summary_is_added_to_what_is_there(tmp_path):
    file = tmp_path / "summary.md"
    file.write_text("# mine\n")
    github_actions.write_step_summary([FAILED], {"GITHUB_STEP_SUMMARY": str(file)})
    text = file.read_text("utf-8")
    assert text.startswith("# mine\n\n### Agent sandbox")


@pytest.mark.parametrize("environment", [{}, {"GITHUB_STEP_SUMMARY": ""}])
def test_elsewhere_there_is_no_summary(environment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    github_actions.write_step_summary([FAILED], environment)
    assert list(tmp_path.iterdir()) == []


def test_failed_tests_are_marked_in_their_files():
    passed = Row(test="x", verdict="passed")
    assert commands(passed, FAILED, GITHUB_WORKSPACE="/") == [
        "::error file=repo/tests/test_x.py,line=7,title=tests/test_x.py%3A%3Atest_y::"
        "ConversationFailed: stuck (fault: agent)"
    ]


def test_paths_begin_at_the_repository():
    assert "file=tests/test_x.py," in commands(FAILED, GITHUB_WORKSPACE="/repo")[0]
    inner = commands(FAILED, root="/repo/python", GITHUB_WORKSPACE="/repo")[0]
    assert "file=python/tests/test_x.py," in inner
    assert "file=/repo/tests/test_x.py," in commands(FAILED, GITHUB_WORKSPACE="/other")[0]
    assert "file=/repo/tests/test_x.py," in commands(FAILED)[0]


def test_texts_are_escaped():
    row = failed(
        test="tests/a,b.py::test[50%,x:y\n]",
        headline="50%\r\n::error::x, y: z\x1b[2J\u202e ##[group]",
        fault="",
    )
    (line,) = commands(row)
    assert line == (
        "::error file=/repo/tests/a%2Cb.py,line=7,title=tests/a%2Cb.py%3A%3Atest[50%25%2Cx%3Ay%0A]"
        "::50%25%0A:\u200b:error::x, y: z\ufffd[2J\ufffd ##\u200b[group]"
    )


def test_github_shows_ten_of_a_step():
    assert len(commands(*[FAILED] * 50)) == 10


@pytest.mark.parametrize("environment", [{}, {"GITHUB_ACTIONS": "false"}])
def test_elsewhere_nothing_is_marked(environment):
    assert list(github_actions.workflow_commands([FAILED], Path("/repo"), environment)) == []
