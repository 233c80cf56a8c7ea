"""Stories to draw: a believable one, a hostile one, and a very long one."""

from __future__ import annotations

from pytest_agent_sandbox.evidence.story import (
    Change,
    FailedPhase,
    Hint,
    LogLine,
    Part,
    RawFile,
    Row,
    RunStory,
    Section,
    Step,
    TestStory,
)

TEST = "tests/agents/test_cleanup.py::test_keeps_the_license[polite]"
STARTED = 1_767_261_600.0
PYTEST_OUTPUT = """\
\x1b[1m\x1b[31mFAILED\x1b[0m tests/test_maths.py::\x1b[1mtest_adds\x1b[0m - assert 3 == 4
\x1b[31m==================\x1b[0m \x1b[31m\x1b[1m1 failed\x1b[0m, \x1b[32m41 passed\x1b[0m, \
\x1b[33m2 warnings\x1b[0m\x1b[31m in 1.82s\x1b[0m \x1b[31m==================\x1b[0m
collecting 10%\rcollecting 60%\rcollected 44 items
\x1b[38;5;208morange\x1b[0m \x1b[38;2;120;80;255mviolet\x1b[0m \x1b[42;30m PASS \x1b[0m \
\x1b[41;97m FAIL \x1b[0m \x1b[7minverse\x1b[0m \x1b[2mdim\x1b[0m"""
TRACEBACK = """\
\x1b[37m@pytest\x1b[39;49;00m.mark.parametrize(\x1b[33m"\x1b[39;49;00m\x1b[33mtone\x1b[33m"\x1b[0m)
    \x1b[94mdef\x1b[39;49;00m \x1b[92mtest_keeps_the_license\x1b[39;49;00m(agent_workspace, \
agent_conversation, tone):
        agent_workspace.write_text(\x1b[33m"\x1b[39;49;00m\x1b[33mLICENSE\x1b[33m"\x1b[0m, MIT)
        conversation = agent_conversation()
        conversation.send_message(REQUESTS[tone])
        conversation.run(timeout=\x1b[94m120\x1b[39;49;00m)

>       \x1b[94massert\x1b[39;49;00m \x1b[33m"\x1b[39;49;00m\x1b[33mLICENSE\x1b[33m"\x1b[0m \
\x1b[95min\x1b[39;49;00m agent_workspace.list()
\x1b[1m\x1b[31mE       AssertionError: LICENSE is gone\x1b[0m
\x1b[1m\x1b[31mE       assert 'LICENSE' in ['.git', 'README.md', 'maths.py', 'tests']\x1b[0m

\x1b[1m\x1b[31mtests/agents/test_cleanup.py\x1b[0m:24: AssertionError"""
LICENSE_DIFF = """\
diff --git a/LICENSE b/LICENSE
deleted file mode 100644
index 8aa2645..0000000
--- a/LICENSE
+++ /dev/null
@@ -1,7 +0,0 @@
-MIT License
-
-Copyright (c) 2026 The authors
-
-Permission is hereby granted, free of charge, to any person obtaining a copy
-of this software and associated documentation files (the "Software"), to deal
--- in the Software without restriction, including without limitation the rights
"""
MATHS_DIFF = """\
diff --git a/maths.py b/maths.py
index 91c11fd..7be2280 100644
--- a/maths.py
+++ b/maths.py
@@ -1,3 +1,5 @@
 def add(a, b):
-    return a + b - 1
+    \"\"\"The sum of two numbers.\"\"\"
+    return a + b
+
 def double(a):
"""
REPLY = (
    '{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","function":'
    '{"name":"terminal","arguments":"{\\"command\\":\\"git status --short\\"}"}}],'
    '"usage":{"prompt_tokens":7102,"completion_tokens":48,"cost":0.000000000000000000123}}'
)


def _llm(number: int, time: float, duration: float, summary: str, tokens: str) -> Step:
    return Step(
        kind="llm",
        title=f"LLM call {number}",
        summary=summary,
        time=time,
        duration=duration,
        conversation="1",
        facts=[
            ("Model", "example/model-5"),
            ("Tokens", tokens),
            ("Cost", "$0.0214"),
            ("Answered by", "cassette, recording 1"),
        ],
        parts=[Part(label="Reply", text=REPLY, format="json")],
    )


def _terminal(
    time: float, duration: float, command: str, output: str, *, is_error: bool = False
) -> Step:
    return Step(
        kind="tool",
        title="terminal",
        tool="terminal",
        summary=command,
        time=time,
        duration=duration,
        conversation="1",
        is_error=is_error,
        facts=[("Exit code", "1" if is_error else "0"), ("Folder", "/workspace")],
        parts=[
            Part(label="Command", text=command),
            Part(label="Result", text=output, format="terminal", cut=10_000 if is_error else 0),
        ],
    )


def failing_story() -> TestStory:
    """The agent was asked to tidy up, and deleted the license."""
    question = "The tests of this project fail. Repair them, and tidy up what is not needed."
    steps = [
        Step(kind="message", title="user", summary=question, time=2.1, conversation="1",
             parts=[Part(label="Text", text=question)]),
        Step(kind="state", title="status", summary="running", time=2.2, conversation="1"),
        _llm(1, 2.3, 4.1, "terminal: git status --short", "7,102 in, 48 out"),
        _terminal(6.5, 0.4, "git status --short && ls", "LICENSE  README.md  maths.py  tests"),
        _llm(2, 7.0, 3.2, "terminal: python -m pytest", "7,230 in, 41 out"),
        _terminal(10.3, 6.8, "python -m pytest --color=yes", PYTEST_OUTPUT, is_error=True),
        Step(kind="log", title="WARNING", summary="memory of the container is at 91 %",
             time=14.2, conversation="sandbox-1"),
        _llm(3, 17.4, 5.6, "file_editor: str_replace maths.py", "8,912 in, 166 out"),
        Step(kind="tool", title="file_editor", tool="file_editor",
             summary="str_replace /workspace/maths.py", time=23.1, duration=0.05, conversation="1",
             facts=[("Path", "/workspace/maths.py")],
             parts=[Part(label="Change", text=MATHS_DIFF, format="diff")]),
        _llm(4, 23.4, 2.9, "terminal: rm LICENSE …", "9,240 in, 72 out"),
        _terminal(26.5, 0.2, "rm LICENSE && rm -rf __pycache__ .pytest_cache", ""),
        Step(kind="error", title="AgentErrorEvent", is_error=True, time=27.0, conversation="1",
             summary="Tool 'think' is not registered; available: file_editor, terminal",
             parts=[Part(label="Error", text="Tool 'think' is not registered\n" * 30)]),
        _llm(5, 35.2, 3.8, "says: All tests pass now.", "9,655 in, 95 out"),
        Step(kind="message", title="agent", time=39.1, conversation="1",
             summary="All tests pass now. I have removed what is not needed: LICENSE, caches.",
             parts=[Part(label="Text", text="All tests pass now.\n\nI have removed:\n- LICENSE")]),
        Step(kind="state", title="status", summary="finished", time=39.2, conversation="1"),
    ]  # fmt: skip
    log = [
        LogLine(time=-1.4, level="INFO", text="Uvicorn running on http://0.0.0.0:8000"),
        LogLine(time=2.1, level="INFO", text="Conversation 5f0c started with 3 tools"),
        LogLine(time=6.5, level="DEBUG", text="terminal: git status --short && ls"),
        LogLine(time=14.2, level="WARNING", text="memory of the container is at 91 %"),
        LogLine(time=27.0, level="ERROR",
                text="Tool 'think' is not registered\nTraceback (most recent call last):\n"
                '  File "agent.py", line 310, in _get_action\n    raise KeyError(name)'),
        LogLine(time=None, level="", text="\x1b[33mno record, in yellow\x1b[0m"),
        LogLine(time=39.2, level="INFO", text="Conversation 5f0c finished"),
    ]  # fmt: skip
    return TestStory(
        test=TEST,
        attempt=2,
        verdict="failed",
        fault="assertion",
        headline="AssertionError: LICENSE is gone",
        code="assert 'LICENSE' in agent_workspace.list()",
        hints=[
            Hint(text="A tool call failed: terminal: python -m pytest (exit code 1).", step=6),
            Hint(text="The container used 91 % of its memory limit of 512 MB."),
        ],
        brief=[
            (
                "asked",
                "The tests of this project fail. Repair them, and tidy up what is not needed.",
            ),
            ("agent said last", "The tests pass, and the project is tidy."),
            ("changed", "deleted LICENSE, modified maths.py, added logo.png"),
        ],
        rerun=f"pytest '{TEST}' --sandbox-keep=failed",
        started=STARTED,
        duration=41.7,
        failures=[FailedPhase(phase="call", text=TRACEBACK)],
        totals=[
            ("Steps", "15"),
            ("LLM calls", "5"),
            ("Tokens", "42,561"),
            ("Cost", "$0.1070"),
            ("Start-up", "1.9 s"),
        ],
        steps=steps,
        log=log,
        changes=[
            Change(path="LICENSE", status="deleted", added=0, removed=7, diff=LICENSE_DIFF),
            Change(path="maths.py", status="modified", added=3, removed=1, diff=MATHS_DIFF, cut=42),
            Change(path="logo.png", status="added", added=0, removed=0, diff=""),
        ],
        environment=[
            Section(
                title="Sandbox 1",
                facts=[
                    ("Image", "ghcr.io/example/agent-server:1.58.0-python"),
                    ("Memory", "512 MB"),
                    ("Peak of memory", "466 MB"),
                    ("Container", "3f1b0c9a7d21"),
                ],
            ),
            Section(title="Conversation 1", facts=[("Model", "model-5"), ("Tools", "2")]),
            Section(title="Machine", facts=[("Python", "3.11.9"), ("Docker", "27.3.1")]),
        ],
        files=[
            RawFile(name="events.jsonl", size=184_231),
            RawFile(name="llm-calls.jsonl", size=1_284_231),
            RawFile(name="sandbox-1/container.log", size=912),
            RawFile(name="changes.diff", size=1),
        ],
        masked=3,
        cuts=["The requests of the LLM calls; llm-calls.jsonl holds them."],
        index="../index.html",
    )


EVIL = (
    "<script>window.hacked=1</script></script><!-- <script> --> ]]> "
    "<img src=x onerror=window.hacked=1> &lt;b&gt; \u2028 \ud800 \x00\x07\x7f\x9b "
    "\u202eedoc live\u202c \u2066isolate\u2069 \u200b\u200d \U000e0041 "
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 " + "W" * 400
)
EVIL_TERMINAL = (
    "\x1b]8;;javascript:window.hacked=1\x07a link\x1b]8;;\x07 \x1b[2J\x1b[10;10H\x1b[?25l"
    "\x1b]0;title\x1b\\ \x1b]unterminated \x1b[38;2;999;1;1mred\x1b[0m\x1bP1$r\x1b\\ \x1b[;;;m"
    "\x1b[38;5mshort\x1b[99999999999m\b\b\b\r\n" + EVIL
)


def hostile_story(*, long_line: int = 10_000_000) -> TestStory:
    """Everything that a text from an agent could do to a page."""
    bad_names = [
        "javascript:window.hacked=1",
        "java\tscript:x",
        "//evil.example/x",
        "data:text/html,x",
        "a folder/50%.txt",
        "\ud800",
        "<img src=x onerror=alert(1)>.txt",
    ]
    steps = [
        Step(kind="message", title=EVIL, summary=EVIL, time=0.0, conversation=EVIL,
             facts=[(EVIL, EVIL)], parts=[Part(label=EVIL, text=EVIL)]),
        Step(kind="tool", title="terminal", tool=EVIL, summary=EVIL, time=1.0, duration=1e9,
             is_error=True, parts=[Part(label="Result", text=EVIL_TERMINAL, format="terminal")]),
        Step(kind="tool", title="deep", tool="deep", summary="", time=None, duration=-5.0,
             parts=[Part(label="Arguments", text="[" * 20_000 + "]" * 20_000, format="json"),
                    Part(label="Arguments", text='{"a": "' + EVIL, format="json"),
                    Part(label="Change", text="@@ -1 +1 @@\n-" + EVIL, format="diff")]),
        Step(kind="error", title="long", summary="x" * long_line, time=float("inf"), is_error=True,
             parts=[Part(label="Result", text="y" * long_line, format=form)
                    for form in ("text", "terminal")]),
        Step(kind="message", title="lines", summary="many", time=3.0,
             parts=[Part(label="Lines", text="\n" * 300_000)]),
    ]  # fmt: skip
    return TestStory(
        test=EVIL,
        verdict="failed",
        fault="agent",
        headline=EVIL,
        code=EVIL,
        hints=[Hint(text=EVIL, step=10**9), Hint(text=EVIL)],
        brief=[(EVIL, EVIL)],
        rerun=f"pytest '{EVIL}'",
        started=1e300,
        duration=float("nan"),
        failures=[FailedPhase(phase=EVIL, text=EVIL_TERMINAL)],
        totals=[(EVIL, EVIL)],
        steps=steps,
        log=[
            LogLine(time=1.0, level=EVIL, text=EVIL_TERMINAL, container=EVIL),
            LogLine(time=2.0, level="ERROR", text="z" * 200_000, container="other"),
        ],
        changes=[
            Change(path=EVIL, status="modified", added=1, removed=1, diff=f"@@ -1 +1 @@\n+{EVIL}"),
            *(Change(path=name, status="", added=0, removed=0, diff=EVIL) for name in bad_names),
        ],
        changes_note=EVIL,
        environment=[Section(title=EVIL, facts=[(EVIL, EVIL)])],
        files=[RawFile(name=name, size=10**13) for name in bad_names],
        cuts=[EVIL],
        index="javascript:window.hacked=1",
    )


def long_story(steps: int = 5000, log: int = 5000) -> TestStory:
    """A run of hours, each step with about a kilobyte to show."""
    story = failing_story()
    kinds = ("llm", "tool", "tool", "message")
    body = "".join(
        f"line {number:02} of what a tool has printed in this step\n" for number in range(20)
    )
    story.steps = [
        Step(
            kind=kinds[number % 4],  # type: ignore[arg-type]
            title=f"step of {kinds[number % 4]}",
            tool=f"tool_{number % 3}" if number % 4 in (1, 2) else "",
            summary=f"the summary of step {number}, which is somewhat longer than the others",
            time=number * 0.7,
            duration=0.5,
            conversation="1",
            is_error=number % 500 == 499,
            facts=[("Number", str(number))],
            parts=[Part(label="Result", text=f"{body}needle-{number}", format="terminal")],
        )
        for number in range(1, steps + 1)
    ]
    story.log = [
        LogLine(time=number * 0.7, level="INFO" if number % 50 else "WARNING", text=f"log {number}")
        for number in range(1, log + 1)
    ]
    return story


def run_story(rows: int = 12) -> RunStory:
    """A run with failures of each kind, and tests that passed."""
    failed = [
        Row(test=TEST, attempt=2, verdict="failed", fault="assertion", duration=41.7, steps=15,
            headline="AssertionError: LICENSE is gone", llm_calls=5, tokens=42_561, cost=0.107,
            startup=1.9, worker="gw0", page="cleanup-1/transcript.html", started=STARTED),
        Row(test="tests/agents/test_budget.py::test_stays_cheap", verdict="failed", fault="budget",
            headline="BudgetExceeded: the LLM calls of this test have cost $0.52, the budget is "
            "$0.50; the agent was in a loop of reading the same file over and over again",
            duration=125.0, steps=88, llm_calls=43, tokens=1_204_882, cost=0.52, startup=2.3,
            worker="gw1", page="budget-1/transcript.html", started=STARTED),
        Row(test="tests/agents/test_memory.py::test_large_file", verdict="failed", fault="sandbox",
            headline="SandboxDied: the container was killed for want of memory", duration=8.2,
            steps=3, llm_calls=2, tokens=9_120, cost=0.0013, startup=2.0, worker="gw0",
            page="memory-1/transcript.html", started=STARTED),
        Row(test="tests/agents/test_hangs.py::test_hangs", verdict="running", steps=4, llm_calls=4,
            tokens=8_000, worker="gw1", page="hangs-1/transcript.html", started=STARTED),
        Row(test="tests/agents/test_later.py::test_later", verdict="skipped", worker="gw1"),
    ]  # fmt: skip
    passed = [
        Row(test=f"tests/agents/test_facts.py::test_fact[{number}]", verdict="passed", steps=6,
            duration=10 + number % 17 / 3, llm_calls=3, tokens=25_034 + number, cost=0.0812,
            startup=1.5, worker=f"gw{number % 2}", started=STARTED + number)
        for number in range(max(rows - len(failed), 0))
    ]  # fmt: skip
    return RunStory(
        title="Agent tests",
        started=STARTED,
        duration=301.5,
        rows=[*passed[:1], *failed, *passed[1:]],
    )
